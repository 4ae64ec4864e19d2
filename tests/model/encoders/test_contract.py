"""Nothing outside the encoders needs a Parakeet: another implementation encodes, transcribes and is evaluated."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import byte_tokenizer, tiny_llama

from posttrain.__main__ import run as posttrain
from posttrain.config.sections import EvaluationConfig
from posttrain.corpus import store
from posttrain.corpus.types import Clip, Example
from posttrain.errors import InputError
from posttrain.evals import evaluate
from posttrain.model import checkpoint
from posttrain.model.adapters import speech_embedding_of
from posttrain.model.corpus_table import corpus_table, encode_corpus
from posttrain.model.encoders import loading
from posttrain.model.encoders.contract import run, state_hash
from posttrain.model.folder import check_folder
from posttrain.model.live_table import LiveTable
from posttrain.stages.training.enhance_losses import Recogniser
from posttrain.use import transcribe as transcribing
from tests import made_encoder
from tests.made_encoder import MadeEncoder

RATE = 16_000
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    made_encoder.add(monkeypatch)
    monkeypatch.setattr(transcribing, "MAX_NEW_TOKENS", 8)


def syllables(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(int(10 * seconds)).standard_normal(len(time))
    return (3_000 * noise * (np.sin(2 * np.pi * 4 * time) > -0.5)).astype(np.int16)


@pytest.fixture
def corpus(tmp_path):
    sounds = {"train/0": syllables(1.0), "test/0": syllables(2.0), "test/1": syllables(3.0)}
    clips = [
        Clip(name, "help me", "voice", name.split("/")[0], "made", "clean", None, 0, len(sound))
        for name, sound in sounds.items()
    ]
    items = [
        Example(f"wer/{i}", "test", "repeat", "repeat", "help me", f"test/{i}", "help me", "wer", "wer/clean")
        for i in range(2)
    ]
    texts = [{"split": "test", "text": "the room is quiet"}]
    return store.write(tmp_path / "corpus", zip(clips, sounds.values(), strict=True), [], items, [], texts, {"seed": 0})


@pytest.fixture
def folder(tmp_path, corpus):
    """Base, encoder and an untrained align checkpoint on them."""
    loading.save(MadeEncoder(), tmp_path / "ctc")
    tokenizer = byte_tokenizer()
    checkpoint.save_base(tmp_path / "base", tiny_llama(tokenizer), tokenizer)
    table = corpus_table(tmp_path / "ctc", corpus, "cpu")
    llama = checkpoint.create(tmp_path / "base", tmp_path / "ctc", table, stack=3)
    checkpoint.save(tmp_path / "align", llama, "align", {"llm": tmp_path / "base", "encoder": tmp_path / "ctc"})
    return tmp_path


def test_it_is_saved_checked_and_loaded_by_its_folders_model_type(folder):
    check_folder(folder / "ctc", "encoder")
    assert state_hash(loading.load(folder / "ctc").model) == state_hash(MadeEncoder().model)
    (folder / "ctc" / "config.json").write_text('{"model_type": "vits"}')
    with pytest.raises(InputError, match=r"ctc/config\.json: model_type is vits, expected .*parakeet_ctc.*; name"):
        loading.load(folder / "ctc")
    with pytest.raises(InputError, match="model_type is vits"):
        check_folder(folder / "ctc", "encoder")


def test_a_corpus_is_encoded_with_its_transcripts(folder, corpus):
    table = corpus_table(folder / "ctc", corpus, "cpu")
    assert table.dim == 12 and table.spans["test/0"][1] == 50
    assert table.hypotheses == {"train/0": "help help", "test/0": "help " * 3 + "help", "test/1": "help " * 5 + "help"}


def test_a_clip_that_is_longer_than_it_takes_is_refused_by_name(tmp_path, corpus):
    encoder = MadeEncoder()
    encoder.longest_samples = 2 * RATE
    with pytest.raises(ValueError, match=r"test/1 has 3\.0 s of sound, expected at most 2\.0 s"):
        encode_corpus(encoder, corpus, tmp_path, progress=False)


@pytest.mark.parametrize("task", ["repeat", "answer"])
def test_recordings_are_transcribed_and_answered(folder, task, capsys, monkeypatch):
    monkeypatch.setattr("posttrain.use.listen.with_speech", lambda parts: iter(list(parts)))
    soundfile.write(folder / "a.wav", syllables(2.0), RATE)
    (folder / "m.csv").write_text("path,text\na.wav,help me\n")
    arguments = ["--manifest", folder / "m.csv", "--checkpoint", folder / "align", "--task", task, "--json"]
    out = folder / "out.jsonl"
    assert posttrain(["transcribe", *map(str, arguments), "--out", str(out)]) == 0
    scores, (line,) = json.loads(capsys.readouterr().out), map(json.loads, out.read_text().splitlines())
    (own,) = (value for key, value in line.items() if key.endswith("_hypothesis"))
    assert own == "help help help help"
    if task == "repeat":
        assert scores["encoder_wer"]["value"] == 1.5  # one word of two is wrong, and two are added


def test_it_is_evaluated_as_the_cascade_and_below_a_llama(folder, corpus):
    table, config = corpus_table(folder / "ctc", corpus, "cpu"), EvaluationConfig(batch_size=4, max_new_tokens=8)
    references = {"base": folder / "base", "ctc": folder / "ctc"}
    for stage in ("ctc", "align"):
        lines, _ = evaluate.evaluate(folder / stage, stage, corpus, table, references, {}, config, "cpu")
        spoken = [line for line in lines if line["probe"] == "wer/clean"]
        errors = [
            value for line in spoken for key, value in line.items() if key.endswith("_errors") and "char" not in key
        ]
        assert [line["clip"] for line in spoken] == ["test/0", "test/1"]
        assert {3, 5} <= set(errors)  # its own transcripts against two words


def test_it_learns_with_the_llama_and_with_the_enhancer(folder, corpus):
    encoder = loading.load(folder / "ctc")
    llama = checkpoint.load(folder / "align", table=corpus_table(folder / "ctc", corpus, "cpu"))
    embedding = speech_embedding_of(llama.model)
    embedding.table = LiveTable(encoder, corpus, embedding.table)
    example = dataclasses.replace(corpus.items[0], id="x")
    ids = torch.tensor([llama.tokenizer.prompt_ids(example) + llama.tokenizer.answer_ids("ok")])
    llama.model(input_ids=ids, labels=ids.masked_fill(ids >= llama.spec.num_words, -100)).loss.backward()
    assert encoder.module.weight.grad.any()
    learner, sound = MadeEncoder(), torch.randn(2, RATE, requires_grad=True)
    Recogniser(learner, MadeEncoder())(sound, torch.randn(2, RATE)).backward()
    assert learner.module.weight.grad.any() and sound.grad.any()


def test_frames_come_in_the_order_of_the_clips_whatever_their_lengths():
    sounds = [torch.from_numpy(syllables(s)).float() / 32_768 for s in (2.0, 1.0, 3.0)]
    assert [len(frames) for frames, _ in run(MadeEncoder(), sounds)] == [50, 25, 75]


def test_no_code_outside_the_encoders_and_the_training_of_the_tiny_one_names_a_kind_of_encoder():
    inside = {"model/encoders", "model/weights", "stages/ctc.py", "stages/training/hierarchical_ctc.py"}
    files = [p for p in (ROOT / "posttrain").rglob("*.py") if not any(str(i) in p.as_posix() for i in inside)]
    named = re.compile(
        r"Parakeet(?!'s)|CTCEncoder|parakeet_ctc|\.ctc_head\b|\.encoder_config\b|(Whisper|Wav2Vec2|Hubert|WavLM)[A-Z]"
    )
    hits = [f"{p}:{n}" for p in files for n, line in enumerate(p.read_text().splitlines(), 1) if named.search(line)]
    assert len(files) > 100 and not hits
