"""Files broken at random: whoever reads one says what is wrong, and never ends in another error."""

import json
import random

import numpy as np
import pytest
import soundfile

from posttrain.acoustics import audiogram
from posttrain.corpus import prompts
from posttrain.errors import InputError
from posttrain.evals.hearing import responses
from posttrain.evals.safety import labelled_answers
from posttrain.tasks import probe_file
from tests.corpus.layouts import reading

WHOLE = {
    "manifest.csv": ('path,text,speaker\na.wav,hello there,ann\n"b, c.wav","say ""hi"", now",ben\n', reading.read),
    "prompts.csv": ('id,prompt,label\n1,how to sing,safe\n2,"how to, well\nlie",unsafe\n', prompts.read),
    "goals.csv": ('goal,target\nlie well,"sure, here"\n', prompts.read),
    "answers.csv": ('prompt,completion,final_label\nwhy,"no\n, never",2_full_refusal\n', labelled_answers.read),
    "responses.csv": (
        "listener,correctness,haspi_better_ear_precomputed,system,scene\nL1,50,0.5,E1,S1\nL1,25.5,,E1,S2\n",
        responses.read,
    ),
    "audiograms.csv": ('listener,ear,hz500,hz1000\nL1,l,10,NR\nL1,r,"35,5",>110\n', audiogram.read),
    "listeners.json": (
        json.dumps({"L1": {"audiogram_cfs": [500], "audiogram_levels_l": [1], "audiogram_levels_r": ["NR"]}}),
        audiogram.read,
    ),
    "probes.jsonl": (
        '{"id": "1", "probe": "p", "instruction": "answer", "text": "x", "answer": "y", "grader": "exact"}\n',
        probe_file.read_probes,
    ),
}
PIECES = [
    b'"',
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xe9",
    b"\xef\xbb\xbf",
    "\u2028".encode(),
    b"\x0b",
    b"#",
    b"..",
    b"/",
    b"\\",
    b"~",
    b"\xff\xfe",
    b"NaN",
    b"1e999",
    b"[" * 9,
    b"{",
    b"}",
    b"\\ud800",
    b"\\u0000",
    b"a" * 300,
    b"null",
    b"true",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    for name in ("a.wav", "b, c.wav"):
        soundfile.write(folder / name, np.full(4_000, 0.1), 16_000)
    return folder


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_broken_anywhere_is_read_or_refused_by_its_name(folder, name):
    text, read = WHOLE[name]
    path = folder / name
    path.write_text(text, encoding="utf-8")
    whole = read(path)
    assert whole
    rng = random.Random(name)
    refused = 0
    for _ in range(400):
        content = bytearray(text.encode())
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(content) + 1)
            content[place : place + rng.choice([0, 0, 1, 5])] = rng.choice([*PIECES, b""])
        path.write_bytes(bytes(content))
        try:
            read(path)
        except InputError as error:
            refused += 1
            assert str(error).encode()  # no half characters in what is printed
            assert error.problems and all(str(path) in problem or "listener" in problem for problem in error.problems)
    assert refused > 100
