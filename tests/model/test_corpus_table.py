"""A corpus's table: silence around speech is not encoded, and test clips with long pauses are cut into windows."""

import dataclasses
import json
import uuid
from types import SimpleNamespace

import pytest
import torch

from posttrain.config.sections import EvaluationConfig
from posttrain.corpus.types import Example
from posttrain.evals import evaluate
from posttrain.model import corpus_table, frame_cache
from posttrain.model.encoders import contract, parakeet
from posttrain.model.encoders.contract import state_hash
from posttrain.model.frame_table import FrameTable
from posttrain.model.speech_llama import Spec

RATE = 16_000


def burst(seconds: float) -> torch.Tensor:
    """Sound that comes and goes like syllables, loud enough to be speech."""
    generator = torch.Generator().manual_seed(int(seconds * 10))
    gate = (torch.sin(torch.arange(int(seconds * RATE)) / RATE * 2 * torch.pi * 4) > -0.5).float()
    return torch.randn(int(seconds * RATE), generator=generator) * 0.1 * gate


class Corpus:
    def __init__(self, **waveforms: tuple[str, torch.Tensor]):
        self.fingerprint = uuid.uuid4().hex
        self.waveforms = {name: waveform for name, (_, waveform) in waveforms.items()}
        self.clips = {
            name: SimpleNamespace(
                id=name,
                samples=len(waveform),
                split=split,
                text="a b",
                speaker="v",
                condition="clean",
                source="made",
                raw="",
            )
            for name, (split, waveform) in waveforms.items()
        }

        hashes = {name: str(sorted(self.waveforms)) for name in ("audio", "clips")}
        self.counts = {"hashes": hashes}

    def audio(self, clip_id):
        return self.waveforms[clip_id]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return parakeet.tiny(32, 2, 2, 4, 8, 40)


def test_silence_around_a_clip_is_not_encoded(encoder, tmp_path):
    silence, speech = torch.zeros(2 * RATE), burst(2.0)
    corpus = Corpus(
        bare=("test", speech), padded=("test", torch.cat([silence, speech, silence])), none=("test", silence)
    )
    table = corpus_table.encode_corpus(encoder, corpus, tmp_path, progress=False)
    frames = {name: count for name, (_, count) in table.spans.items()}
    assert frames["bare"] == 50 and 50 <= frames["padded"] <= 62  # up to 0.2 s on either side
    assert frames["none"] == 25 and not table.parts


def test_a_test_clip_with_long_pauses_has_windows_and_a_training_clip_has_none(encoder, tmp_path):
    row = torch.cat([burst(2.0), torch.zeros(int(1.5 * RATE)), burst(1.5), torch.zeros(int(1.5 * RATE)), burst(1.0)])
    corpus = Corpus(train=("train", row), test=("test", row))
    table = corpus_table.encode_corpus(encoder, corpus, tmp_path, progress=False)
    assert table.parts == {"test": ("test#0", "test#1", "test#2")}
    assert table.spans["train"][1] == table.spans["test"][1] > sum(table.spans[part][1] for part in table.parts["test"])
    assert table.hypotheses["test"] == " ".join(table.hypotheses[p] for p in table.parts["test"]).strip()
    again = corpus_table.encode_corpus(encoder, corpus, tmp_path, progress=False)
    assert again.parts == table.parts and again.spans == table.spans


class Stopping:
    """The encoder, which is stopped after some batches; it counts the clips that it takes."""

    def __init__(self, encoder, batches):
        self.encoder, self.left, self.clips = encoder, batches, 0

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def transcribe(self, waveforms, lengths, words=()):
        if not self.left:
            raise KeyboardInterrupt
        self.left, self.clips = self.left - 1, self.clips + len(waveforms)
        return self.encoder.transcribe(waveforms, lengths, words)


def test_an_encoding_that_is_stopped_goes_on_where_it_was(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "BATCH_SAMPLES", 5 * RATE)
    corpus = Corpus(**{f"c{number}": ("train", burst(1 + number / 2)) for number in range(6)})
    (tmp_path / "whole").mkdir()
    whole = corpus_table.encode_corpus(encoder, corpus, tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        corpus_table.encode_corpus(Stopping(encoder, 2), corpus, tmp_path, progress=False)
    assert not (tmp_path / "frames.safetensors").exists()
    with (tmp_path / "frames.partial").open("ab") as file:  # what was written after the last line of the log
        file.write(b"half a batch")
    with (tmp_path / "frames.partial.jsonl").open("a") as file:
        file.write("[[5, [1")
    going = Stopping(encoder, 99)
    table = corpus_table.encode_corpus(going, corpus, tmp_path, progress=False)
    assert 0 < going.clips < 6
    assert table.spans == whole.spans and torch.equal(table.frames, whole.frames)
    assert table.hypotheses == whole.hypotheses
    assert not list(tmp_path.glob("frames.partial*"))
    changed = Corpus(**{f"d{number}": ("train", burst(1.0)) for number in range(2)})
    with pytest.raises(KeyboardInterrupt):
        corpus_table.encode_corpus(Stopping(encoder, 0), changed, tmp_path, progress=False)
    assert len(corpus_table.encode_corpus(encoder, changed, tmp_path, progress=False).spans) == 2


class Parrot:
    """Answers with the clip it is given, or with the text it reads; scores no answers to choose from."""

    spec = Spec("sft", "base")

    def draft(self, example):
        return example.text

    def answer(self, examples, batch_size, max_new_tokens, drafts):
        assert len(drafts) == len(examples)
        return [e.clip.replace("/", " ").replace("#", " ") if e.clip else e.text for e in examples]

    def token_logprobs(self, rows, spans, batch_size):
        assert not rows
        return []


def test_windows_are_answered_one_by_one_and_put_in_a_row():
    item = Example("wer/joined/0", "test", "repeat", "repeat", "a b", "test/0", "a b", "wer", "wer/joined")
    question = dataclasses.replace(item, id="q", task="answer", grader="exact", probe="task/spoken_qa")
    hypotheses = {"test/0": "a b", "test/0#0": "a", "test/0#1": "b"}
    spans = {"test/0": (0, 6), "test/0#0": (0, 2), "test/0#1": (3, 2)}
    table = FrameTable(torch.zeros(6, 4), spans, hypotheses=hypotheses, parts={"test/0": ("test/0#0", "test/0#1")})
    corpus = Corpus(**{"test/0": ("test", torch.zeros(10))})
    lines = evaluate._answers(Parrot(), [item, question], corpus, table, EvaluationConfig())
    assert [line["output"] for line in lines] == ["test 0 0 test 0 1", "test 0"]
    (cascade,) = evaluate._answers(Parrot(), [item], corpus, table, EvaluationConfig(), cascade=True)
    assert cascade["output"] == "a b" and cascade["errors"] == 0 and cascade["encoder_output"] == "a b"


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["turn it up", "now"], "turn it up now"),
        (["I did not hear any words.", "now"], "now"),
        (["I did not hear any words."] * 2, "I did not hear any words."),
    ],
)
def test_a_window_in_which_nothing_is_heard_adds_nothing(outputs, expected):
    assert evaluate.stitched(outputs) == expected


def test_a_log_that_the_disk_lost_begins_anew(encoder, tmp_path):
    corpus, path = Corpus(only=("train", burst(1.0))), tmp_path / corpus_table.FRAMES
    frame_cache.partial_of(path).write_bytes(b"\0" * 4_000)
    key = f"{corpus_table._sounds(corpus)}-{state_hash(encoder.model)}-{corpus_table.FRAMES_FORMAT}"
    frame_cache._log(path).write_text(json.dumps(key) + "\n\0\0\0\0\n[]\n")
    assert corpus_table.encode_corpus(encoder, corpus, tmp_path, progress=False).frames.any()
