"""The ctc stage on a few spoken clips: it learns, writes what it says, and stops when the loss is no number."""

import dataclasses
import json

import jiwer
import numpy as np
import pytest
import torch

from posttrain.acoustics import scenes
from posttrain.config.sections import CTCConfig
from posttrain.corpus import speech, store
from posttrain.corpus.types import Clip
from posttrain.errors import InputError
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders import parakeet
from posttrain.model.encoders.contract import run
from posttrain.stages import ctc
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.trainer import arguments

TOY = CTCConfig(hidden_size=32, layers=1, heads=2, subsampling_channels=8, mel_bins=40, steps=6, batch_size=4)
WORDS = ("turn it up", "turn it down", "mute the left aid", "one two three")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten train, two valid made clips, two recorded train clips and a recorded noise."""
    espeak, rng = speech.Espeak(), np.random.default_rng(0)
    clips, pieces = [], []

    def add(text, split, source, condition, voice):
        spoken = espeak.say(text, voice, 130, 50, 50) if text else np.zeros(0, np.float32)
        made, noise = scenes.compose(spoken, "clean" if condition == "real" else condition, "train", rng, [spoken])
        clips.append(Clip(f"{split}/{len(clips)}", text, voice, split, source, condition, noise, 0, 0))
        pieces.append(made)

    for i in range(8):
        add(WORDS[i % 4], "train", "made", "snr5" if i % 3 == 0 else "clean", speech.voices("train")[i])
    add("", "train", "made", "silence", "en+m1")
    for text in WORDS[:2]:
        add(text, "valid", "made", "clean", speech.voices("valid")[0])
        add(text, "train", "fsdd", "real", speech.voices("train")[9])
    add("", "train", "noise", "noise", "en+m1")
    return store.write(tmp_path_factory.mktemp("ctc") / "corpus", zip(clips, pieces, strict=True), [], [], [], [], {})


def context(corpus, folder, seed=0):
    folder.mkdir()
    return StageContext(seed=seed, device="cpu", folder=folder, parents={}, corpus=corpus)


def test_the_stage_trains_every_part_and_leaves_a_whole_parakeet_folder(corpus, tmp_path, capsys):
    metrics = ctc.run(TOY, context(corpus, tmp_path / "ctc"))
    assert "trains encoder" in capsys.readouterr().err
    assert {p.name for p in (tmp_path / "ctc").iterdir()} == {
        "checkpoint.json",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert metrics["steps"] == 6 and metrics["valid_wer/clean"] > 0
    torch.manual_seed(0)
    start = parakeet.tiny(32, 1, 2, 4, 8, 40).model.state_dict()
    trained = encoders.load(tmp_path / "ctc").model.state_dict()
    still = [name for name, value in trained.items() if value.is_floating_point() and torch.equal(value, start[name])]
    assert still == []


def test_batches_that_are_made_on_the_gpu_are_not_pinned(corpus, tmp_path, monkeypatch):
    asked = []

    def spy(cls, given, **options):
        asked.append(options.get("dataloader_pin_memory"))
        return arguments(cls, given, **options)

    monkeypatch.setattr(ctc, "arguments", spy)
    ctc.run(TOY, context(corpus, tmp_path / "ctc"))
    assert asked == [False]  # memory that is not the CPU's cannot be pinned, and left to itself a GPU's Trainer would


def test_the_head_has_byte_pairs_of_what_training_says_and_the_character_head_is_dropped(corpus, tmp_path):
    config = CTCConfig(**{**vars(TOY), "units": 40})
    ctc.run(config, context(corpus, tmp_path / "ctc"))
    encoder = encoders.load(tmp_path / "ctc")
    assert len(encoder.tokenizer) == encoder.model.ctc_head.out_channels == 41
    assert len(encoder.labels("turn it up")) < len("turn it up")
    assert not [name for name in encoder.model.state_dict() if "lower_head" in name]


def test_the_weight_moves_from_characters_to_units():
    torch.manual_seed(0)
    encoder = parakeet.tiny(32, 4, 2, 4, 8, 40)
    encoder.model.requires_grad_(True)
    model = ctc.HierarchicalCTC(encoder.model, parakeet.unit_tokenizer(), steps=10)
    batch = {"input_features": torch.randn(2, 80, 40), "attention_mask": torch.ones(2, 80, dtype=torch.long)}
    labels = torch.tensor([[3, 4, 5], [6, -100, -100]])
    shares = []
    for _ in range(8):
        for parameter in model.parameters():
            parameter.grad = None
        model(**batch, labels=labels, lower_labels=labels)["loss"].backward()
        lower, own = model.lower_head.weight.grad.abs().mean(), encoder.model.ctc_head.weight.grad.abs().mean()
        assert lower > 0 and own > 0
        shares.append((lower / (lower + own)).item())
    assert shares[0] > 0.7 and max(shares[6:]) < 0.3  # six of ten steps on
    nothing = torch.full((2, 1), -100)  # a batch in which nothing is said has a loss too: all blank
    assert model(**batch, labels=nothing, lower_labels=nothing)["loss"] > 0


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(corpus, tmp_path):
    first, second = (ctc.run(TOY, context(corpus, tmp_path / name)) for name in ("a", "b"))
    other = ctc.run(TOY, context(corpus, tmp_path / "c", seed=1))
    hashes = [json.loads((tmp_path / name / "checkpoint.json").read_text())["weights"] for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    assert first == second != other


def test_a_longer_run_hears_the_words_it_was_trained_on(corpus, tmp_path):
    config = CTCConfig(
        **{**vars(TOY), "hidden_size": 64, "layers": 2, "steps": 220, "batch_size": 8, "learning_rate": 4e-3}
        | {"noise_probability": 0.0, "room_probability": 0.0}
    )
    metrics = ctc.run(config, context(corpus, tmp_path / "ctc"))
    assert metrics["loss_last"] < 0.5 * metrics["loss_first"]
    encoder = encoders.load(tmp_path / "ctc")
    clips = [c for c in corpus.clips.values() if c.split == "train" and c.text]
    heard = [said for _, said in run(encoder, [corpus.audio(c.id) for c in clips])]
    assert jiwer.wer([c.text for c in clips], heard) < 0.5


def test_real_steps_go_on_from_the_made_speech(corpus, tmp_path):
    metrics = ctc.run(CTCConfig(**{**vars(TOY), "real_steps": 3}), context(corpus, tmp_path / "ctc"))
    assert metrics["steps"] == 6 and metrics["real_steps"] == 3
    without = ctc.run(TOY, context(corpus, tmp_path / "made"))
    assert without["loss_first"] == metrics["loss_first"]


def test_nothing_to_train_on_is_an_input_error(corpus, tmp_path):
    only = {clip.id: clip for clip in corpus.clips.values() if clip.source != "made"}
    empty = dataclasses.replace(corpus, clips=only, examples=[], items=[], pairs=[], texts=[])
    with pytest.raises(InputError, match="0 made"):
        ctc.run(TOY, context(empty, tmp_path / "ctc"))


def test_a_loss_that_is_nan_stops_with_step_and_ids_and_leaves_no_checkpoint(corpus, tmp_path, monkeypatch):
    made = parakeet.tiny

    def spoiled(*sizes):
        encoder = made(*sizes)
        encoder.model.ctc_head.weight.data.fill_(float("nan"))
        return encoder

    monkeypatch.setattr(parakeet, "tiny", spoiled)
    with pytest.raises(RuntimeError, match=r"ctc: (loss|grad_norm) is nan at step 1, .*train/"):
        ctc.run(TOY, context(corpus, tmp_path / "ctc"))
    assert not (tmp_path / "ctc" / "checkpoint.json").exists()


def test_a_named_encoder_is_checked_and_only_referred_to(corpus, tmp_path):
    torch.manual_seed(0)
    parakeet.tiny(32, 1, 2, 4, 8, 40).save(tmp_path / "parakeet")
    config = CTCConfig(model=str(tmp_path / "parakeet"))
    metrics = ctc.run(config, context(corpus, tmp_path / "ctc"))
    assert metrics["steps"] == 0 and [p.name for p in (tmp_path / "ctc").iterdir()] == ["checkpoint.json"]
    assert encoders.load(tmp_path / "ctc").width == 32


def test_batches_hold_clips_of_like_length_and_every_epoch_holds_every_clip():
    import random

    pool = [Clip(f"train/{i}", "a", "v", "train", "made", "clean", None, 0, (i * 37) % 100 + 1) for i in range(100)]
    order = ctc._order([(pool, 1.0)], 50, 4, random.Random(0))
    assert len(order) == 200
    assert all(sum(c.id == clip.id for c in order) == 2 for clip in pool)
    spreads = [max(b) - min(b) for b in ([c.samples for c in order[i : i + 4]] for i in range(0, 200, 4))]
    assert np.mean(spreads) < 12
