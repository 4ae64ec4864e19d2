"""The general world: phrases of a published text, the base's requests, no fact of the tiny world."""

from collections import Counter

import pytest
import yaml

from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import general_text
from posttrain.files import content_hash
from posttrain.tasks import requests, worlds
from posttrain.tasks.plan import plan

WRITTEN = {
    split: [(f"what is {split} {n}", f"it is {n}") for n in ("one", "two")] for split in ("train", "valid", "test")
}
PARAGRAPHS = [
    f"The {animal} 's house was built near the river , and nobody {verb} it before <unk> left in 1999 . It is red ."
    for animal in ("dog", "cat", "horse", "cow", "goat", "mouse", "fox", "wolf")
    for verb in ("saw", "sold", "liked", "painted", "burned")
]


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """A text of the same layout as the card's, and a card with its hash."""
    (tmp_path / "wikitext").mkdir()
    text = "\n".join([" = Title = ", *(f" {paragraph} " for paragraph in PARAGRAPHS)])
    (tmp_path / "wikitext" / "train.txt").write_text(text, encoding="utf-8")
    card = yaml.safe_load(assets.path("data", "wikitext").read_text(encoding="utf-8"))
    card["sha256"]["train.txt"] = content_hash(text.encode())
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    find = assets.path
    monkeypatch.setattr(
        assets, "path", lambda kind, name: tmp_path / "card.yaml" if name == "wikitext" else find(kind, name)
    )
    return tmp_path


def test_phrases_are_the_words_between_punctuation_and_no_paragraph_is_in_two_splits(data_root):
    found = general_text.phrases(data_root)
    said = [text for texts in found.values() for text in texts]
    assert "the dog's house was built near the river" in said
    assert not any("unk" in text or "red" in text for text in said), "an unknown word, or too short"
    assert len(said) == len(set(said)) and found["train"] and found["test"]
    assert general_text.phrases(None) == {"train": (), "valid": (), "test": ()}


def test_the_general_world_speaks_phrases_and_requests_and_asks_for_no_invented_facts(data_root):
    made = plan(CorpusConfig(world="general", train_clips=300, test_sentences=20, data_root=str(data_root)), 0, WRITTEN)
    known = general_text.phrases(data_root)
    said = {split: {s.text for s in made.spoken if s.split == split} for split in ("train", "test")}
    for split in said:
        assert said[split] & set(known[split]) and not said[split] & set(known["test" if split == "train" else "train"])
        assert said[split] & {text for text, _ in WRITTEN[split]}
    probes = Counter(e.probe for s in made.spoken for e in s.examples if e.split == "test")
    assert probes["task/request"] == 2 and not any(str(probe).startswith("ability") for probe in probes)
    asked = [e for s in made.spoken for e in s.examples if e.text == WRITTEN["train"][0][0] and e.task == "answer"]
    assert asked[0].answer == "it is one" and asked[0].grader == "agreement"


def test_without_requests_that_family_is_left_out():
    world = worlds.of(CorpusConfig(world="general"), {})
    assert "request" not in world.spoken and "repeat" in world.spoken
    assert worlds.of(CorpusConfig(), {}) is worlds.TINY


@pytest.mark.parametrize(
    "answer, gold, score",
    [("it is red", "it is red", 1.0), ("red", "it is red", 0.5), ("blue", "red", 0.0), ("", "red", 0.0)],
)
def test_agreement_is_the_f1_of_the_words(answer, gold, score):
    assert requests.agreement(answer, gold, "") == score
