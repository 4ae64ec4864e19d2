"""A test text planted among what a stage trains on stops that stage, wherever it comes from."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from conftest import ENCODER_DIM
from toy_run import ASKED, HALF_RIGHT, sft_folder, toy_context

from posttrain.config.sections import (
    AlignConfig,
    BaseConfig,
    CTCConfig,
    DistillConfig,
    DPOConfig,
    EnhanceConfig,
    GRPOConfig,
    PersonaliseConfig,
    RewardConfig,
    SFTConfig,
)
from posttrain.corpus.types import Clip, Example
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.encoders import parakeet
from posttrain.stages import align, base, ctc, distill, dpo, enhance, grpo, personalise, reward, sft
from posttrain.stages.training import remedies

PLANTED = "turn it up"
"""In the toy corpus's examples, pairs and practice, and on its clips."""
OTHER = "a green bag"
"""Only where a test puts it."""
TINY = {"vocab_size": 400, "hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 2, "intermediate_size": 32}
SMALL = {"hidden_size": 32, "layers": 1, "heads": 2, "subsampling_channels": 8, "mel_bins": 40}
FAST = {"steps": 1, "batch_size": 2}
STAGES = {
    "ctc": (ctc, CTCConfig(**SMALL, **FAST), {}),
    "align": (align, AlignConfig(stack=2, ctc_steps=0, **FAST), {"llm": "base", "encoder": "ctc"}),
    "align, ctc": (align, AlignConfig(stack=2, ctc_steps=1, **FAST), {"llm": "base", "encoder": "ctc"}),
    "distill": (distill, DistillConfig(**FAST), {"model": "parent"}),
    "distill, teacher": (distill, DistillConfig(answers="teacher", **FAST), {"model": "parent"}),
    "sft": (sft, SFTConfig(**FAST), {"model": "parent"}),
    "reward": (reward, RewardConfig(**FAST), {"model": "sft"}),
    "dpo": (dpo, DPOConfig(**FAST), {"model": "sft"}),
    "grpo": (grpo, GRPOConfig(steps=1, prompts_per_step=4, generations=2, hard_share=0), {"model": "sft"}),
    "enhance": (enhance, EnhanceConfig(width=8, sub_width=8, steps=1, batch_size=1, noises=6), {}),
}


@pytest.fixture
def start(tmp_path, llama, table, base_folder):
    """A stage's context by its parents' names; the corpus has the planted text in a clip of training."""
    folders = {"base": base_folder, "ctc": tmp_path / "ctc", "parent": tmp_path / "parent", "sft": tmp_path / "sft"}
    parakeet.tiny(ENCODER_DIM, 1, 2, 4, 8, 40).save(folders["ctc"])
    checkpoint.save(folders["parent"], llama, stage="distill")
    sft_folder(llama, folders["sft"])

    def context(parents: dict[str, str], test_text: str):
        made = toy_context(tmp_path, "stage", table, **{role: folders[name] for role, name in parents.items()})
        item = Example("planted", "test", "repeat", "repeat", test_text, None, test_text, "wer", "wer/clean")
        said = {f"test/{i}": text for i, (_, text, *_) in enumerate(ASKED)}
        clips = {i: Clip(i, text, "v", "train", "made", "clean", None, 0, 16_000) for i, text in said.items()}
        corpus = dataclasses.replace(made.corpus, items=[item], clips=clips)
        return dataclasses.replace(made, corpus=corpus)

    return context


@pytest.fixture(autouse=True)
def silence(monkeypatch):
    """The toy corpus has no audio and no validation clips."""
    from posttrain.corpus.store import Corpus

    monkeypatch.setattr(Corpus, "audio", lambda *_: torch.zeros(16_000))
    monkeypatch.setattr(sft, "valid_answers", lambda *_: HALF_RIGHT)


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_refuses_a_planted_test_text(start, name):
    stage, config, parents = STAGES[name]
    with pytest.raises(InputError, match=f"says “{PLANTED}”, which is test example planted"):
        stage.run(config, start(parents, PLANTED))


def test_the_base_refuses_a_planted_row(start, monkeypatch):
    rows = [Example(f"{i}", "train", "repeat", "repeat", OTHER, None, OTHER, "exact") for i in range(8)]
    monkeypatch.setattr(base, "typed_rows", lambda *_: rows)
    with pytest.raises(InputError, match=f"base: row 0 says “{OTHER}”"):
        base.run(BaseConfig(**TINY, **FAST), start({}, OTHER))


@pytest.mark.parametrize(
    "remedy",
    [{"replay_share": 0.5}, {"replay_share": 0.5, "typed_rows": "text"}, {"kl_weight": 1.0}, {"self_distilled": True}],
)
def test_sft_refuses_what_a_remedy_brings_in(start, monkeypatch, remedy):
    """Replayed rows, rows that hold the model to its base, and answers in its own words."""
    planted = [Example("brought", "train", "repeat", "repeat", OTHER, None, OTHER, "exact")]
    monkeypatch.setattr(remedies, "typed_rows", lambda kind, corpus, count, *_: planted * min(count, 1))
    monkeypatch.setattr(
        remedies, "self_distilled", lambda _, rows: ([dataclasses.replace(e, answer=OTHER) for e in rows], {})
    )
    with pytest.raises(InputError, match=f"says “{OTHER}”, which is test example planted"):
        sft.run(SFTConfig(**FAST, **remedy), start({"model": "parent"}, OTHER))


@pytest.fixture
def mine(tmp_path):
    """One utterance to learn from and two to be measured on: one is a sentence of the corpus's training."""
    for name in "abt":
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.random.default_rng(0).standard_normal(12_000), 16_000)
    manifest = tmp_path / "mine.csv"
    manifest.write_text(f"path,text,split\na.wav,{OTHER} tamsin,train\nt.wav,tamsin b,test\nb.wav,{PLANTED},test\n")
    return PersonaliseConfig(manifest=str(manifest), copies=1, splices=0, steps=1, batch_size=2)


@pytest.mark.parametrize("rows", ["spoken", "typed"])
def test_personalise_refuses_a_replayed_test_sentence_of_the_person(start, mine, monkeypatch, rows):
    replayed = Example(
        "replayed", "train", "repeat", "repeat", PLANTED, "test/0" if rows == "spoken" else None, "", "x"
    )
    monkeypatch.setattr(personalise, "_replay", lambda *_: [replayed])
    with pytest.raises(InputError, match=f"row replayed says “{PLANTED}”, which is test sentence of the person"):
        personalise.run(mine, start({"model": "sft"}, "nobody says this"))


def test_personalise_refuses_an_utterance_that_the_run_is_measured_on_before_it_loads_a_model(start, mine, monkeypatch):
    monkeypatch.setattr(checkpoint, "load", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match=f"mine.csv: row a.wav says “{OTHER} tamsin”"):
        personalise.run(mine, start({"model": "sft"}, f"{OTHER} tamsin"))


def test_personalise_refuses_a_splice_that_says_a_test_text(start, mine, monkeypatch):
    spliced = Example("s", "train", "repeat", "repeat", OTHER, "s", OTHER, "wer")
    monkeypatch.setattr(personalise, "_spliced", lambda *_: [(spliced, torch.zeros(8, ENCODER_DIM))])
    with pytest.raises(InputError, match=f"row s says “{OTHER}”, which is test example planted"):
        personalise.run(mine, start({"model": "sft"}, OTHER))
