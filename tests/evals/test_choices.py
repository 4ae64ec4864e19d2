"""Public benchmarks read by card, and scored as lm-evaluation-harness scores them."""

import json

import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from posttrain.config import assets
from posttrain.config.sections import EvaluationConfig
from posttrain.corpus.choices import Choice
from posttrain.errors import InputError
from posttrain.evals import benchmarks, choices
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
    cards = tmp_path / "cards"
    cards.mkdir()
    for name, rows in FILES.items():
        card = yaml.safe_load(assets.path("data", name).read_text(encoding="utf-8"))
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).mkdir()
        (tmp_path / name / card["held_out"]).write_text(content, encoding="utf-8")
        card["sha256"] = {card["held_out"]: content_hash(content.encode())}
        (cards / f"{name}.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    monkeypatch.setattr(assets, "folder", lambda kind: cards)
    return tmp_path


@pytest.fixture(scope="module")
def llama():
    tokenizer = byte_tokenizer()
    return SpeechLlama(tiny_llama(tokenizer), tokenizer, Spec("base", "toy"))


def items(data_root, split="test", **options):
    return benchmarks.items(EvaluationConfig(**options), data_root, split)


def test_the_cards_say_what_the_contexts_and_endings_are(data_root):
    found = {item.id: item for item in items(data_root)}
    assert len(found) == 18
    pair = found["benchmark/blimp/0004"]
    assert (pair.context, pair.endings, pair.right, pair.content) == ("", (" I see 4.", " I sees 4."), 0, "u1")
    item = found["benchmark/piqa/0003"]
    assert (item.context, item.endings, item.right) == ("Question: open 3\nAnswer:", (" pull it", " eat it"), 1)
    assert item.lengths == (7, 6) and not pair.lengths  # PIQA has acc_norm too
    assert items(None) == items(data_root / "elsewhere") == items(data_root, benchmarks=()) == []


def test_validation_items_are_others_than_the_tests_and_share_no_context_with_them(data_root):
    for name in FILES:
        path = assets.path("data", name)
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
        card["splits"] = {"test": {"items": 3}, "valid": {"items": 2}}
        path.write_text(yaml.safe_dump(card), encoding="utf-8")
    test, valid = ({item.id: item for item in items(data_root, split)} for split in ("test", "valid"))
    assert (len(test), len(valid)) == (6, 4) and not set(test) & set(valid)
    assert not {item.endings for item in test.values() if not item.context} & {item.endings for item in valid.values()}
    assert not {item.context for item in test.values()} & {item.context for item in valid.values()} - {""}
    assert (
        len(items(data_root, "test", benchmark_limit=4)) == 8 and len(items(data_root, "valid", benchmark_limit=1)) == 2
    )


def test_another_file_than_the_cards_is_refused(data_root):
    (data_root / "piqa" / "valid.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"valid.jsonl has SHA-256 .*, expected .*; get the file that piqa.yaml names"):
        items(data_root)


def test_log_likelihoods_are_those_of_lm_evaluation_harness(llama, data_root):
    pairs = [pair for item in items(data_root) for pair in item.pairs]
    pairs += [("a space before ", "it"), ("long " * 300, "and its end")]  # longer than the model's positions
    harness = HFLM(pretrained=llama.model, tokenizer=llama.tokenizer, backend="causal", batch_size=1)
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    theirs = harness.loglikelihood(requests, disable_tqdm=True)
    ours = choices.log_likelihoods(llama, pairs, batch_size=8)
    assert [nats for nats, _ in ours] == pytest.approx([nats for nats, _ in theirs], abs=2e-3)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_the_likelier_ending_is_chosen_and_graded(llama):
    asked = [Choice(f"benchmark/x/{right}", "benchmark/x", "go", (" on", " off"), right, "go") for right in (0, 1)]
    one, two = choices.lines(llama, asked, batch_size=4)
    likelier = " on" if one["nats"][0] > one["nats"][1] else " off"
    assert one["output"] == two["output"] == likelier.strip()
    assert {one["score"], two["score"]} == {0.0, 1.0} and one["score"] == float(likelier == " on")
    assert "normed" not in one


def test_an_item_without_what_its_layout_has_is_named(data_root):
    (assets.folder("data") / "arc_easy.yaml").write_text(
        "kind: choices\nlayout: arc\nheld_out: [a.jsonl]\nsplits: {test: {items: 2}}\n"
    )
    (data_root / "arc_easy").mkdir()
    (data_root / "arc_easy" / "a.jsonl").write_text('{"question": "why"}\n')
    with pytest.raises(
        InputError, match=r"a.jsonl, item 0: KeyError: 'choices'; get the file that arc_easy.yaml names"
    ):
        items(data_root)
    (data_root / "arc_easy" / "a.jsonl").rename(data_root / "arc_easy" / "a.parquet")
    (assets.folder("data") / "arc_easy.yaml").write_text(
        "kind: choices\nlayout: arc\nheld_out: a.parquet\nsplits: {test: {items: 2}}\n"
    )
    with pytest.raises(InputError, match=r"a.parquet cannot be read as parquet"):
        items(data_root)
