"""A corpus with a file of instructions and one of preferences, and the stages that train on their rows."""

import json

import numpy as np
import pytest
import soundfile
import torch
from toy_run import sft_folder

from posttrain.config.recipe import load_recipe
from posttrain.config.sections import CorpusConfig, DPOConfig, RewardConfig, SFTConfig
from posttrain.corpus import build, overlap
from posttrain.corpus.plan import file_of
from posttrain.evals import ranking
from posttrain.evals.compute import compute
from posttrain.model import checkpoint
from posttrain.model.frame_table import FrameTable
from posttrain.run.graph import corpus_key
from posttrain.stages import dpo, reward, sft
from posttrain.stages.training.context import StageContext
from posttrain.tasks.plan import plan
from tests.conftest import ENCODER_DIM

THINGS = "tent boat pan jar wall shoe lamp door cup hat ship road tree shed bowl coat desk sock tray bell".split()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of a few clips, half of whose rows are of two files; their short prompts are spoken."""
    folder = tmp_path_factory.mktemp("files")
    rows = {
        "asked": [{"instruction": f"Describe a {t}.", "input": "", "output": f"A <b>{t}</b>."} for t in THINGS],
        "typed": [{"instruction": f"Draw a {t}.", "context": "In ink.", "response": "It is drawn."} for t in THINGS],
        "pairs": [{"prompt": f"Why is a {t} here?", "chosen": "It is.", "rejected": "No."} for t in THINGS],
    }
    paths = {name: folder / f"{name}.jsonl" for name in rows}
    for name, path in paths.items():
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows[name]), encoding="utf-8")
    config = CorpusConfig(
        *(24, 0, 4, 1, 1, 1),
        instructions=(str(paths["asked"]), str(paths["typed"])),
        preferences=(str(paths["pairs"]),),
        speak_prompts=True,
        file_share=0.5,
    )
    return build.build(plan(config, 0), config, 0, folder / "corpus", progress=False)


@pytest.fixture
def table(corpus):
    """Random frames in the place of the encoder's."""
    generator = torch.Generator().manual_seed(2)
    return FrameTable.of({clip: torch.randn(6, ENCODER_DIM, generator=generator) for clip in corpus.clips})


def context(tmp_path, corpus, table, stage, **parents):
    folder = tmp_path / stage
    folder.mkdir()
    return StageContext(seed=0, device="cpu", folder=folder, parents=parents, corpus=corpus, table=table)


def test_spoken_prompts_have_clips_with_sound_by_voices_of_their_split(corpus):
    spoken = [row for row in (*corpus.examples, *corpus.pairs) if file_of(row) and row.clip]
    typed = [row for row in (*corpus.examples, *corpus.pairs) if file_of(row) and not row.clip]
    assert {file_of(row) for row in spoken} == {"instructions/asked", "preferences/pairs"}
    assert {file_of(row) for row in typed} == {"instructions/typed"}
    speakers = {split: {c.speaker for c in corpus.clips_of(split)} for split in ("train", "valid", "test")}
    for row in spoken:
        clip = corpus.clips[row.clip]
        assert (clip.text, clip.split) == (row.text, row.split) and corpus.audio(clip.id).abs().max() > 0.01
        assert not any(clip.speaker in speakers[other] for other in speakers if other != row.split)
    assert "Draw a" in typed[0].text and typed[0].text.endswith("\n\nIn ink.")
    counts = corpus.counts["rows"]
    assert counts["preferences/pairs"]["train"] == sum(pair.split == "train" for pair in corpus.pairs if file_of(pair))
    assert counts["preferences/pairs"]["test"] > 0 and counts["instructions/asked"]["train"] > 4


def test_sft_trains_on_the_instructions_typed_and_spoken(tmp_path, corpus, table, llama, monkeypatch):
    checkpoint.save(tmp_path / "parent", llama, stage="distill")
    asked = context(tmp_path, corpus, table, "sft", model=tmp_path / "parent")
    trained: list[str] = []
    check = overlap.check
    monkeypatch.setattr(
        overlap, "check", lambda stage, rows, *more: trained.extend(r.id for r in rows) or check(stage, rows, *more)
    )
    metrics = sft.run(SFTConfig(steps=2, batch_size=2), asked)
    assert metrics["steps"] == 2 and metrics["examples"] == len(corpus.examples_of("train"))
    assert {"train/instructions/asked", "train/instructions/typed"} <= {name.rpartition("/")[0] for name in trained}


def test_reward_and_dpo_train_on_the_preferences_which_are_ranked_apart(tmp_path, corpus, table, llama):
    parent = sft_folder(llama, tmp_path / "parent")
    pairs = sum(pair.split == "train" for pair in corpus.pairs)
    metrics = reward.run(
        RewardConfig(steps=2, batch_size=2, rank=2), context(tmp_path, corpus, table, "reward", model=parent)
    )
    assert metrics["pairs"] == pairs > sum(bool(file_of(pair)) for pair in corpus.pairs if pair.split == "train") > 4
    dpo.run(DPOConfig(steps=1, batch_size=2), context(tmp_path, corpus, table, "dpo", model=parent))
    lines = ranking.ranked(
        lambda answers: ranking.likelihoods(checkpoint.load(parent, table=table), answers, 8), corpus
    )
    found = compute(lines, bootstrap=20)
    own = sum(pair.split == "test" for pair in corpus.pairs if file_of(pair))
    assert found["reward/accuracy/pairs"]["n"] == own > 0
    assert found["reward/accuracy"]["n"] == len(lines) - own


def test_a_prompt_that_somebody_recorded_is_heard_as_it_was_said_and_repeated_and_the_key_covers_it(tmp_path):
    hum = 0.2 * np.sin(np.arange(12_000) * 0.1)
    rows = []
    for number, (thing, split) in enumerate(zip(THINGS[:4], ("train", "train", "valid", "test"), strict=True)):
        for name, louder in ((f"{thing}.wav", 1), (f"why_{thing}.wav", 2)):
            soundfile.write(tmp_path / name, louder * np.roll(hum, number), 16_000)
        rows.append({"audio": f"{thing}.wav", "speaker": f"{split} {number}", "split": split})
    asked = [row | {"prompt": f"Describe a {t}.", "answer": "Fine."} for row, t in zip(rows, THINGS[:4], strict=True)]
    why = [
        row | {"audio": f"why_{t}.wav", "prompt": f"Why a {t}?", "chosen": "Yes.", "rejected": "No."}
        for row, t in zip(rows, THINGS[:4], strict=True)
    ]
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("asked", "pairs")}
    for path, found in zip(paths.values(), (asked, why), strict=True):
        path.write_text("".join(f"{json.dumps(row)}\n" for row in found), encoding="utf-8")
    config = CorpusConfig(
        *(24, 0, 4, 1, 1, 1),
        instructions=(str(paths["asked"]),),
        preferences=(str(paths["pairs"]),),
        file_share=0.5,
    )
    corpus = build.build(plan(config, 0), config, 0, tmp_path / "corpus", progress=False)
    said = {clip.id: clip for clip in corpus.clips.values() if clip.recorded}
    assert sorted((c.source, c.name, c.speaker, c.condition, c.text) for c in said.values() if c.split == "test") == [
        ("preferences_pairs", "why_jar.wav", "prompts/test 3", "real", "why a jar"),
    ], "an instruction with an answer of its own cannot be graded"
    heard = next(clip for clip in said.values() if clip.source == "instructions_asked" and clip.name == "boat.wav")
    assert torch.equal(corpus.audio(heard.id), torch.from_numpy(read_int16(tmp_path / "boat.wav")).float() / 32768)
    assert {(e.task, e.answer) for e in corpus.examples if e.clip == heard.id} == {
        ("follow", "Fine."),
        ("repeat", "describe a boat"),
    }
    assert {pair.split for pair in corpus.pairs if pair.clip in said} == {"train", "valid", "test"}
    overlap.check("sft", corpus.examples_of("train"), corpus)

    recipe = load_recipe("smoke", [f"corpus.instructions=[{paths['asked']}]"])
    before = corpus_key(recipe)
    soundfile.write(tmp_path / "boat.wav", hum / 2, 16_000)
    assert corpus_key(recipe) != before


def read_int16(path):
    return soundfile.read(path, dtype="int16")[0]
