import json
import shutil

import pytest
from huggingface_hub import ModelCard
from made_run import HOSTILE, make_run

from posttrain.evals.metrics import of
from posttrain.report import cards
from posttrain.run import ledger

SPEC = {"adapter": "lora", "rank": 4, "encoder": "runs/made/ctc", "hashes": {
    "adapter/README.md": "a" * 64, "adapter/adapter_model.safetensors": "b" * 64, "projector.safetensors": "c" * 64,
}}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A made-up run whose sft and dpo left an adapter."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(folder, items=30, bootstrap=30)
    for stage, spec in (("align", SPEC | {"adapter": None}), ("sft", SPEC), ("dpo", SPEC)):
        (folder / stage / "checkpoint.json").write_text(json.dumps(spec))
    return folder


def test_each_trained_adapter_gets_both_cards_and_nothing_else_does(run):
    written = cards.write(run)
    assert {path.relative_to(run).as_posix() for path in written} == {
        "adapters/sft/CARD.md", "sft/README.md", "adapters/dpo/CARD.md", "dpo/README.md",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in written}
    assert {path: path.read_bytes() for path in cards.write(run)} == before
    assert not list(run.rglob("*.partial"))


def test_the_hub_reads_the_ledgers_figures(run):
    cards.write(run)
    row = next(row for row in ledger.read(run / "ledger.jsonl") if row.stage == "sft")
    data = ModelCard.load(run / "sft" / "README.md").data
    assert (data.library_name, data.license, data.base_model) == ("peft", "apache-2.0", None)
    found = {result.metric_name: result for result in data.eval_results}
    assert set(found) == {n for n in row.metrics if of(n).better and not n.startswith("encoder_")} and len(found) > 25
    for name, result in found.items():
        assert result.metric_value == pytest.approx(row.metrics[name]["value"], abs=1e-6)
        assert result.dataset_args["n"] == row.metrics[name]["n"]
    assert found["wer/clean"].task_type == "automatic-speech-recognition"
    assert found["task/intent"].task_type == "audio-text-to-text"


def test_people_read_gains_losses_safety_way_options_and_the_weights_hash(run):
    cards.write(run)
    card = (run / "adapters" / "sft" / "CARD.md").read_text()
    assert (run / "sft" / "README.md").read_text().endswith(card)
    for heading in ("## Gained", "## Lost", "## Safe?", "### Safety", "## How it was made", "## Limits"):
        assert heading in card
    row = next(row for row in ledger.read(run / "ledger.jsonl") if row.stage == "sft")
    assert f"{100 * row.metrics['wer/clean']['value']:.1f} %" in card and "by the detector" in card
    assert "base → align → distill → sft" in card and "sft → dpo" not in card
    assert "b" * 64 in card and "c" * 64 in card and "a" * 64 not in card
    assert HOSTILE not in card and "<script" not in card and "alert" in card


def test_a_real_base_is_named_with_its_licence(run, tmp_path):
    row = next(row for row in ledger.read(run / "ledger.jsonl") if row.stage == "sft")
    shown = cards.metadata(ledger.Row(**row.as_dict() | {"base": "meta-llama/Llama-3.1-8B-Instruct"}), SPEC)
    assert "license: llama3.1" in shown and "base_model: meta-llama/Llama-3.1-8B-Instruct" in shown
    shown = cards.metadata(ledger.Row(**row.as_dict() | {"base": str(tmp_path)}), SPEC)
    assert "license: other" in shown and "base_model" not in shown


def test_a_stage_shared_with_another_run_is_left_to_that_run(run, tmp_path):
    branch = tmp_path / "branch"
    for row in ledger.read(run / "ledger.jsonl")[:6]:
        ledger.put(branch / "ledger.jsonl", row.as_dict() | {"run": "branch"})
    shutil.copytree(run / "sft", branch / "sft", ignore=shutil.ignore_patterns("*.md"))
    assert cards.write(branch) == []
