"""Recipe smol_smoke: all stages of smol at toy size, with the real weights of SmolLM2 and Whisper."""

import json
from pathlib import Path

import pytest

from posttrain.__main__ import run
from posttrain.config.recipe import load_recipe
from posttrain.evals import metrics
from posttrain.evals.evaluate import read_answers
from posttrain.run import ledger
from posttrain.run.ledger import Row

RECIPE = load_recipe("smol_smoke")
WEIGHTS = {name: Path(__file__).parents[2] / str(name) for name in (RECIPE.base.model, RECIPE.ctc.model)}
MISSING = [str(name) for name, folder in WEIGHTS.items() if not folder.is_dir()]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} is not there; `make weights` brings it")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict[str, Row]]:
    """The run's folder, and stage → row."""
    folder = tmp_path_factory.mktemp("runs") / "smol_smoke"
    named = [("base.model", RECIPE.base.model), ("ctc.model", RECIPE.ctc.model)]
    changes = [part for option, name in named for part in ("--set", f"{option}={WEIGHTS[name]}")]
    assert run(["run", "smol_smoke", "--run", str(folder), *changes]) == 0
    return folder, {row.stage: row for row in ledger.read(folder / "ledger.jsonl")}


def test_every_stage_has_a_row_and_the_run_a_report(finished):
    folder, rows = finished
    assert list(rows) == "base ctc align distill sft reward dpo grpo".split()
    assert (folder / "report.html").is_file()
    trained = {name: row.train_metrics.get("trainable_params", 0) for name, row in rows.items()}
    assert trained["base"] == trained["ctc"] == 0 < trained["align"] == trained["distill"] < trained["sft"]


def test_while_the_llama_is_untouched_typed_figures_are_the_bases(finished):
    _, rows = finished
    typed = {n: m["value"] for n, m in rows["base"].metrics.items() if metrics.of(n).reference is metrics.ROW_ZERO}
    assert {"language/perplexity", "safety/over_refusal/text", "forgetting/kl_base"} <= set(typed)
    for stage in ("align", "distill"):
        assert {name: rows[stage].metrics[name]["value"] for name in typed} == typed
    assert rows["sft"].metrics["language/perplexity"]["value"] != typed["language/perplexity"]


def test_the_weights_are_those_of_models_that_know_english(finished):
    folder, rows = finished
    assert rows["ctc"].metrics["encoder_wer/clean"]["value"] < 0.5
    requests = json.loads((folder / "requests.json").read_text(encoding="utf-8"))["requests"]
    answers = [answer for written in requests.values() for _, answer in written]
    assert len(answers) == RECIPE.corpus.written
    assert sum(answer[0].isupper() and " " in answer for answer in answers) > len(answers) / 2


def test_what_is_asked_aloud_is_answered(finished):
    folder, rows = finished
    for stage in ("ctc", "align", "sft", "grpo"):
        spoken = [line for line in read_answers(folder / stage) if line.get("clip") and "output" in line]
        said = [line for line in spoken if line["output"].strip()]
        assert len(spoken) > 20 and len(said) > len(spoken) / 2, (
            f"{stage}: {len(said)} of {len(spoken)} answers are not empty"
        )
    sentences = {rows[stage].metrics["wer/clean"]["n"] for stage in ("ctc", "align", "sft", "dpo", "grpo")}
    assert sentences == {RECIPE.corpus.test_sentences}


def test_nothing_is_made_twice(finished, capsys):
    folder, _ = finished
    changes = [f"base.model={WEIGHTS[RECIPE.base.model]}", f"ctc.model={WEIGHTS[RECIPE.ctc.model]}"]
    options = [part for change in changes for part in ("--set", change)]
    assert run(["run", "smol_smoke", "--run", str(folder), "--dry-run", "--json", *options]) == 0
    assert {step["action"] for step in json.loads(capsys.readouterr().out)["plan"]} == {"done"}
