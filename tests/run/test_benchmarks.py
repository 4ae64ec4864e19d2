"""A run whose data root holds a benchmark has its figures after every stage, and does not call guesses forgotten."""

import json

import pytest
import yaml

from posttrain.__main__ import run as posttrain
from posttrain.config import assets
from posttrain.config.recipe import load_recipe
from posttrain.files import content_hash
from posttrain.run import planning, runner
from tests.run.test_a_new_chat_format import SMALL

NOUNS = "cat dog bird cow hen fox pig duck goat bear".split()
PAIRS = [
    {"sentence_good": good, "sentence_bad": bad, "UID": f"u{n}"}
    for n, noun in enumerate(NOUNS * 4)
    for good, bad in [(f"one {noun} runs {n}", f"one {noun}s run {n}")[:: 1 - 2 * (n % 2)]]
]
"""Half of the pairs are upside down, so that no habit of a model makes it better than a guess."""


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    content = "".join(json.dumps(row) + "\n" for row in PAIRS)
    about = yaml.safe_load(assets.path("data", "blimp").read_text()) | {
        "sha256": {"pairs.jsonl": content_hash(content)}
    }
    card, own = tmp_path / "card.yaml", assets.path
    card.write_text(yaml.safe_dump(about))
    monkeypatch.setattr(assets, "path", lambda kind, name: card if name == "blimp" else own(kind, name))
    (tmp_path / "root" / "blimp").mkdir(parents=True)
    (tmp_path / "root" / "blimp" / "pairs.jsonl").write_text(content)
    return tmp_path / "root"


def test_a_benchmark_is_in_every_row_near_chance_and_not_forgotten(data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text(SMALL.replace("chat_format: angles, ", ""))
    recipe = load_recipe("other.yaml", [f"corpus.data_root={data_root}"])
    rows = {row.stage: row for row in runner.run(recipe, tmp_path / "run")}
    assert [stage for stage, row in rows.items() if "benchmark/blimp" in row.metrics] == ["base", "align", "sft"]
    figures = {stage: rows[stage].metrics["benchmark/blimp"] for stage in ("base", "align", "sft")}
    assert all(0.3 <= figure["value"] <= 0.7 and figure["chance"] == 0.5 for figure in figures.values())
    assert figures["align"]["of_base"] and "of_base" not in figures["sft"]
    assert figures["sft"]["n"] == 40 and figures["sft"]["delta_vs_base"] is not None
    assert not any("forgetting/benchmarks" in row.metrics for row in rows.values())
    assert all(row.metrics.get("forgetting/mean", {"families": 8})["families"] <= 8 for row in rows.values())
    saved = map(json.loads, (tmp_path / "run" / "sft" / "answers.jsonl").read_text().splitlines())
    assert {line["id"] for line in saved if line["probe"] == "benchmark/blimp"} >= {"benchmark/blimp/0039"}
    assert posttrain(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "BLiMP: grammatical sentence preferred, typed" in page and page.count("50.0 % by guessing") == 2  # and pairs
    fewer = load_recipe("other.yaml", [f"corpus.data_root={data_root}", "evaluation.benchmark_limit=10"])
    for asked, action in ((recipe, "done"), (fewer, "evaluate")):
        steps = planning.plan(asked, tmp_path / "run")[1:]
        assert {step.action for step in steps} == {action}
