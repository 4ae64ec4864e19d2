"""Public benchmarks of choices: read by their cards, scored as lm-evaluation-harness does, item by item."""

import json

import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from posttrain.config import assets
from posttrain.corpus import choices as reading
from posttrain.corpus.choices import Choice
from posttrain.errors import InputError
from posttrain.evals import choices
from posttrain.evals.compute import compute
from posttrain.files import content_hash
from posttrain.model.speech_llama import Spec, SpeechLlama
from tests.conftest import byte_tokenizer, tiny_llama

FILES = {
    "blimp": [{"sentence_good": f"I see {n}.", "sentence_bad": f"I sees {n}.", "UID": f"u{n % 3}"} for n in range(12)],
    "piqa": [{"goal": f"open {n}", "sol1": "pull it", "sol2": "eat it", "label": n % 2} for n in range(6)],
}


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """Files of the cards' layout, and the cards with their hashes."""
    for name, rows in FILES.items():
        card = yaml.safe_load(assets.path("data", name).read_text(encoding="utf-8"))
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).mkdir()
        (tmp_path / name / card["held_out"]).write_text(content, encoding="utf-8")
        card["sha256"] = {card["held_out"]: content_hash(content.encode())}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    monkeypatch.setattr(assets, "path", lambda kind, name: tmp_path / f"{name}.yaml")
    return tmp_path


@pytest.fixture(scope="module")
def llama():
    tokenizer = byte_tokenizer()
    return SpeechLlama(tiny_llama(tokenizer), tokenizer, Spec("base", "toy"))


def test_the_cards_say_what_the_contexts_and_endings_are(data_root):
    found = {item.id: item for item in reading.choices(data_root)}
    assert len(found) == 18
    pair = found["ability/blimp/0004"]
    assert (pair.context, pair.endings, pair.right, pair.content) == ("", (" I see 4.", " I sees 4."), 0, "u1")
    item = found["ability/piqa/0003"]
    assert (item.context, item.endings, item.right) == ("Question: open 3\nAnswer:", (" pull it", " eat it"), 1)
    assert reading.choices(None) == reading.choices(data_root / "elsewhere") == []


def test_validation_items_are_others_than_the_tests_and_share_no_context_with_them(data_root):
    for name in FILES:
        card = yaml.safe_load((data_root / f"{name}.yaml").read_text(encoding="utf-8"))
        card["splits"] = {"test": {"items": 3}, "valid": {"items": 2}}
        (data_root / f"{name}.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    test, valid = ({item.id: item for item in reading.choices(data_root, split)} for split in ("test", "valid"))
    assert (len(test), len(valid)) == (6, 4) and not set(test) & set(valid)
    assert not {item.endings for item in test.values() if not item.context} & {item.endings for item in valid.values()}
    assert not {item.context for item in test.values()} & {item.context for item in valid.values()} - {""}


def test_another_file_than_the_cards_is_refused(data_root):
    (data_root / "piqa" / "valid.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"valid.jsonl has SHA-256 .*, expected .*; get the file that piqa.yaml names"):
        reading.choices(data_root)


def test_log_likelihoods_are_those_of_lm_evaluation_harness(llama, data_root):
    pairs = [(item.context, ending) for item in reading.choices(data_root) for ending in item.endings]
    harness = HFLM(pretrained=llama.model, tokenizer=llama.tokenizer, backend="causal", batch_size=1)
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    theirs = [nats for nats, _ in harness.loglikelihood(requests, disable_tqdm=True)]
    assert choices.log_likelihoods(llama, pairs, batch_size=8) == pytest.approx(theirs, abs=2e-3)


def test_the_likelier_ending_is_chosen_and_graded(llama):
    asked = [Choice(f"ability/piqa/{right}", "ability/piqa", "go", (" on", " off"), right, "go") for right in (0, 1)]
    one, two = choices.lines(llama, asked, batch_size=4)
    likelier = " on" if one["nats"][0] > one["nats"][1] else " off"
    assert one["output"] == two["output"] == likelier.strip()
    assert {one["score"], two["score"]} == {0.0, 1.0} and one["score"] == float(likelier == " on")


def test_what_the_base_only_guessed_is_shown_and_not_counted_as_forgotten():
    def answers(right: int, of: int) -> list[dict]:
        return [
            {"id": f"ability/piqa/{n}", "probe": "ability/piqa", "content": str(n), "output": "a", "score": n < right}
            for n in range(of)
        ]

    guessed = compute(answers(30, 100), answers(52, 100))
    assert guessed["ability/piqa"]["value"] == 0.3 and "forgetting/mean" not in guessed
    known = compute(answers(45, 100), answers(90, 100))
    assert known["forgetting/mean"]["value"] == pytest.approx(0.5)
