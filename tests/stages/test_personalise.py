"""The personal adapter: what trains, what stays bit for bit, how it comes off; its figures by hand, and its card."""

import dataclasses
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from conftest import ENCODER_DIM
from safetensors.torch import load_file
from toy_run import files, sft_folder, toy_context

from posttrain.config.recipe import load_recipe, with_stage
from posttrain.config.sections import CorpusConfig, PersonaliseConfig
from posttrain.corpus import example_person, grammar
from posttrain.corpus import personal as recordings
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.evals import personal as evaluation
from posttrain.evals import personal_metrics
from posttrain.evals.compute import compute
from posttrain.evals.errors import lost_words
from posttrain.evals.metrics import of
from posttrain.model import checkpoint
from posttrain.model.encoders import parakeet
from posttrain.model.frame_table import FrameTable
from posttrain.model.personal import personal_off
from posttrain.report import personal_card
from posttrain.run import runner
from posttrain.run.graph import nodes
from posttrain.run.ledger import Row
from posttrain.stages import personalise
from posttrain.tasks.plan import plan

IDS = [[5, 9, 17, 33]]


@pytest.fixture
def mine(tmp_path):
    """Two utterances to learn from, one to be measured on."""
    rng = np.random.default_rng(0)
    for name in "abt":
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(12_000), 16_000)
    (tmp_path / "mine.csv").write_text(
        "path,text,split\na.wav,mute it,train\nb.wav,a b tamsin,train\nt.wav,tamsin b,test\n"
    )
    return tmp_path / "mine.csv"


@pytest.fixture
def trained(tmp_path, llama, table, mine):
    torch.manual_seed(0)
    parakeet.tiny(ENCODER_DIM, 1, 2, 4, 8, 40).save(tmp_path / "ctc")
    context = toy_context(tmp_path, "personalise", table, model=sft_folder(llama, tmp_path / "sft"))
    config = PersonaliseConfig(manifest=str(mine), listener="N3", copies=2, steps=3, batch_size=2, learning_rate=1e-2)
    return context, personalise.run(config, context)


def test_of_a_parent_that_reads_transcripts_copies_and_tests_have_theirs(tmp_path, llama, table, mine, monkeypatch):
    torch.manual_seed(0)
    encoder = parakeet.tiny(ENCODER_DIM, 1, 2, 4, 8, 40)
    with torch.no_grad():  # no transcript is empty
        encoder.model.ctc_head.bias[encoder.model.config.pad_token_id] -= 100
    encoder.save(tmp_path / "ctc")
    said = dataclasses.replace(table, hypotheses={clip: f"heard in {clip}" for clip in table.spans})
    reading = dataclasses.replace(llama, spec=dataclasses.replace(llama.spec, transcript=True)).attach(said)
    context = toy_context(tmp_path, "personalise", said, model=sft_folder(reading, tmp_path / "sft"))
    tables, own = [], personalise._table
    monkeypatch.setattr(personalise, "_table", lambda *a: tables.append(own(*a)) or tables[-1])
    config = PersonaliseConfig(manifest=str(mine), copies=2, steps=1, batch_size=2, learning_rate=1e-2)
    personalise.run(config, context)
    words = tables[0].hypotheses
    assert set(words) == set(tables[0].spans) and all(words.values()) and words["test/0"] == "heard in test/0"
    assert sum(clip.startswith("personal/") for clip in words) == 4
    splice = Example("personal/spliced/0", "train", "repeat", "repeat", "x", "personal/spliced/0", "x", "wer")
    assert own([(splice, torch.zeros(3, ENCODER_DIM))], {}, [], context).hypotheses == {"personal/spliced/0": ""}
    personal, tests = checkpoint.load(context.folder, table=said), personalise.tests_of(context.folder)[1]
    assert tests.hypotheses["0"] and personal.spec.transcript
    assert len(evaluation.lines(personal, context.folder, 4, 4)) == 2


def logits(llama, rows=IDS):
    with torch.no_grad():
        return llama.model(torch.tensor(rows)).logits


def test_the_personal_adapter_alone_trains_and_the_parent_is_kept_byte_for_byte(trained):
    context, told = trained
    assert (told["utterances"], told["copies"], told["replayed"], told["steps"]) == (2, 4, 9, 3)
    parent = context.parents["model"]
    for name in ("projector.safetensors", "adapter/adapter_model.safetensors"):
        assert (context.folder / name).read_bytes() == (parent / name).read_bytes()
    own = load_file(context.folder / "personal" / "adapter_model.safetensors")
    assert own and all("lora_" in name for name in own)
    assert all(t.abs().max() > 0 for name, t in own.items() if "lora_B" in name)
    assert sum(t.numel() for t in own.values()) == told["trainable_params"]
    assert {"personal_items.json", "personal_frames.safetensors", "checkpoint.json"} <= files(context.folder)
    assert "README.md" not in files(context.folder)


def test_merged_it_is_merged_with_the_parents(trained):
    context, _ = trained
    child = checkpoint.load(context.folder)
    expected, parent = logits(child), logits(checkpoint.load(context.parents["model"]))
    child.model = checkpoint.merged(child)
    torch.testing.assert_close(logits(child), expected, rtol=0, atol=1e-4)
    assert (parent - expected).abs().max() > 1e-3


def test_taken_off_it_gives_back_the_parent_exactly_and_on_it_does_not(trained):
    context, _ = trained
    parent, child = checkpoint.load(context.parents["model"]), checkpoint.load(context.folder)
    assert not torch.equal(logits(parent), logits(child))
    with personal_off(child.model):
        assert torch.equal(logits(parent), logits(child))
    with child.model.disable_adapter():
        off = logits(child)
    assert not torch.equal(off, logits(child)) and not torch.equal(off, logits(parent))
    again = checkpoint.load(context.folder)
    assert torch.equal(logits(again), logits(child))


def test_the_test_utterances_are_answered_with_it_and_without(trained):
    context, _ = trained
    llama = checkpoint.load(context.folder, table=context.table)
    lines = evaluation.lines(llama, context.folder, 4, 6)
    assert [line["probe"] for line in lines] == ["personal/adapted", "personal/parent"]
    assert {line["words"] for line in lines} == {2} and {line["names"] for line in lines} == {1}
    assert llama.table is context.table


def test_own_words_are_put_into_sentences_of_the_corpus(tmp_path, table):
    """`tamsin` alone is the person's own; it takes the place of one word of the corpus's `turn it up`."""
    torch.manual_seed(0)
    encoder = parakeet.tiny(ENCODER_DIM, 1, 2, 4, 8, 40)
    context = toy_context(tmp_path, "personalise", table)
    long = FrameTable.of({"test/0": torch.randn(40, ENCODER_DIM)})
    context = dataclasses.replace(context, table=long)
    example = Example("personal/a/0", "train", "repeat", "repeat", "mute tamsin", "personal/a/0", "mute tamsin", "wer")
    heard, own = [(example, torch.randn(40, ENCODER_DIM))], {"mute tamsin": ("tamsin",)}
    made = personalise._spliced(heard, own, Counter(it=2), encoder.aligner, PersonaliseConfig(splices=4), context)
    assert len({new.clip for new, _ in made}) == 4
    for new, frames in made:
        words = new.text.split()
        assert words.count("tamsin") == 1 and len(words) == 3 and set(words) < {"tamsin", "turn", "it", "up"}
        assert new.answer == new.text and len(frames) > 1
    assert [new.text for new, _ in made[::2]] == ["turn tamsin up"] * 2  # there, what it is mistaken for is said


def test_what_the_parent_hears_in_the_place_of_own_words_is_counted(llama, monkeypatch):
    monkeypatch.setattr(type(llama), "answer", lambda *_: ["can you call laura now", "tamsin is here"])
    texts = ["can you call tamsin now", "tamsin is there"]
    heard = [
        (Example(f"{i}", "train", "repeat", "repeat", t, f"{i}", t, "wer"), torch.randn(8, ENCODER_DIM))
        for i, t in enumerate(texts)
    ]
    assert personalise._mistaken(llama, heard, dict.fromkeys(texts, ("tamsin",)), {}) == {"laura": 1}


def test_a_changed_personal_file_is_refused(trained):
    context, _ = trained
    (context.folder / "personal" / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="personal/adapter_model"):
        checkpoint.load(context.folder)


def test_a_parent_without_a_lora_and_an_unknown_listener_are_refused(tmp_path, llama, table, mine):
    checkpoint.save(tmp_path / "align", llama, stage="align")
    context = toy_context(tmp_path, "personalise", table, model=tmp_path / "align")
    with pytest.raises(InputError, match="stands on a LoRA"):
        personalise.run(PersonaliseConfig(manifest=str(mine)), context)
    with pytest.raises(InputError, match="N9"):
        personalise.run(PersonaliseConfig(manifest=str(mine), listener="N9"), context)


def test_it_is_a_node_after_sft_whose_key_hangs_on_the_manifest(mine):
    def key() -> str:
        recipe = load_recipe("smoke", [f"personalise.manifest={mine}"])
        node = next(n for n in nodes(with_stage(recipe, "personalise")) if n.name == "personalise")
        assert node.parents == {"model": "sft"}
        return node.key

    before = key()
    assert key() == before
    mine.write_text(mine.read_text() + "\n")
    assert key() != before
    assert "personalise" not in [n.name for n in nodes(load_recipe("smoke"))]


def test_what_is_wrong_with_a_person_is_said_before_anything_is_made(tmp_path, mine):
    def said(*changes: str) -> str:
        with pytest.raises(InputError) as caught:
            runner.run(load_recipe("smoke", list(changes)), tmp_path / "run", until="personalise")
        assert not (tmp_path / "run").exists()
        return "\n".join(caught.value.problems)

    assert "MANIFEST=FILE.csv" in said("personalise.listener=N9") and "N9" in said("personalise.listener=N9")
    (tmp_path / "t.wav").unlink()
    assert "t.wav not found" in said(f"personalise.manifest={mine}")


def line(variant: str, i: int, errors: int, lost: int) -> dict:
    probe = f"personal/{variant}"
    counts = {"errors": errors, "words": 4, "lost_names": lost, "names": 1}
    return {"id": f"{probe}/{i}", "probe": probe, "utterance": f"{i}"} | counts


def test_figures_by_hand():
    """Of 8 words 1 is wrong with it and 4 without; of 2 names none and both."""
    lines = [line("adapted", 0, 1, 0), line("adapted", 1, 0, 0), line("parent", 0, 2, 1), line("parent", 1, 2, 1)]
    found = compute(lines, bootstrap=50)
    assert found["personal/wer"]["value"] == pytest.approx(1 / 8)
    assert found["personal/wer"]["delta_vs_without"] == pytest.approx(-3 / 8)
    assert found["personal/names"]["delta_vs_without"] == -1 and found["personal/names_parent"]["value"] == 1
    assert {of(name).better for name in found} == {-1}
    assert personal_metrics.without("personal/names_parent") is None


def test_lost_words_are_those_that_are_replaced_or_left_out():
    assert lost_words("Call Tamsin in Hexham", "call tam sin in") == ["tamsin", "hexham"]
    assert lost_words("call", "call now") == []


def test_the_card_says_gain_cost_hash_and_how_to_remove_it(trained, tmp_path, monkeypatch):
    context, told = trained
    monkeypatch.chdir(tmp_path)
    measured = compute([line("adapted", 0, 1, 0), line("parent", 0, 2, 1)], bootstrap=20)
    options = dataclasses.asdict(PersonaliseConfig(manifest="mine.csv", listener="N3"))
    row = Row(
        run="toy", stage="personalise", checkpoint=str(context.folder), parents={"model": "runs/toy/sft"},
        config={"options": options}, code="x", base="x", data="x", seed=0, device="cpu", started="x", wall_s=1.0,
        train_metrics=told, metrics=measured,
    )  # fmt: skip
    said = yaml.safe_load(personal_card.write(tmp_path / "runs" / "toy", row).read_text())
    assert said["listener"] == "N3" and said["utterances"] == 2 and "runs/toy/sft" in said["removal"]
    assert said["gained"]["personal/names"]["against_parent"] == -1
    assert len(said["weights_sha256"]) == 64
    assert [p for p in tmp_path.rglob("*.yaml") if p.parent != context.folder] == [
        tmp_path / "runs" / "toy" / "adapters" / "personalise" / "person.yaml"
    ]


@pytest.mark.parametrize("number", range(len(example_person.PERSONS)))
def test_no_splice_is_worded_like_a_test_sentence_of_an_example_person(tmp_path, monkeypatch, number):
    """Of the whole tiny world; hosts of any wording made splices that were test sentences word for word."""
    person = example_person.PERSONS[number]
    said = example_person._sentences(person, random.Random(f"person {number}"))
    utterances = [recordings.Utterance(t, t, split, None, np.zeros(1)) for split, t in said]
    planned = plan(CorpusConfig(), 0)
    examples = [e for clip in planned.spoken for e in clip.examples if e.split == "train"]
    tests = personalise.PersonTests.of(utterances, {word for e in examples for word in e.text.split()})
    assert tests.own == {*person.people, *person.places} and len(tests.texts) == example_person.TESTS
    texts = {f"{e.clip}": e.text for e in examples}
    table = SimpleNamespace(clip=lambda clip: torch.full((len(texts[clip].split()), 1), 1.0))

    def find(frames, text):
        return [(i, i + 1) for i in range(len(text.split()))]

    context = toy_context(tmp_path, "personalise", table)
    context = dataclasses.replace(context, corpus=dataclasses.replace(context.corpus, examples=examples))
    heard = [
        (Example(f"{i}/{n}", "train", "repeat", "repeat", t, f"{i}/{n}", t, "wer"), torch.zeros(len(t.split()), 1))
        for n in range(8)
        for i, (split, t) in enumerate(said)
        if split == "train"
    ]
    own = {t: tuple(w for w in t.split() if w in tests.own) for _, t in said}
    mistaken = Counter(laura=3, emma=2, berlin=1)
    made = personalise._spliced(heard, own, mistaken, find, PersonaliseConfig(splices=4), context, tests)
    assert len(made) == 4 * sum(word in tests.own for e, _ in heard for word in e.text.split())
    held = {text for split, text in said if split == "test"}
    fillings = {word for words in grammar.SLOTS.values() for filling in words for word in filling.split()}

    def worded(text: str) -> tuple[str, ...]:
        return tuple(w for w in text.split() if w not in fillings and w not in tests.own)

    assert not held & {e.text for e, _ in made}
    wordings = {worded(text) for text in held}
    assert not wordings & {worded(e.text) for e, _ in made}
    joined = [e.text for e, _ in made if len(e.text.split()) > 14]
    assert joined, "several sentences in a row are hosts too"
    for example, _ in made:
        words = worded(example.text)
        assert not wordings & {words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def test_where_every_sentence_is_worded_like_a_test_it_is_said(tmp_path, table):
    context = toy_context(tmp_path, "personalise", table)
    said = {e.text for e in context.corpus.examples}
    tests = personalise.PersonTests(frozenset(said), frozenset(), frozenset())
    with pytest.raises(InputError, match=r"personalise\.splices"):
        personalise._spliced([], {}, Counter(), None, PersonaliseConfig(manifest="mine.csv"), context, tests)


def test_nothing_replayed_says_a_test_sentence(tmp_path, table):
    context = toy_context(tmp_path, "personalise", table)
    config = PersonaliseConfig(replay=1)
    assert "turn it up" in {e.text for e in personalise._replay(9, config, context)}
    kept = personalise._replay(9, config, context, {"turn it up"})
    assert kept and "turn it up" not in {e.text for e in kept}


def test_a_splice_leaves_the_rest_of_the_clip_as_it_was():
    frames, word = torch.arange(10.0)[:, None], torch.full((2, 1), -1.0)
    assert personalise._replaced(frames, (3, 7), word).flatten().tolist() == [0, 1, 2, -1, -1, 7, 8, 9]
