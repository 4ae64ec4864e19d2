"""Figures over seeds of everything: means, ranges and intervals by hand, and which findings survive."""

import dataclasses
import json

import pytest

from posttrain.errors import InputError
from posttrain.report.findings import sure
from posttrain.report.study import seeds, seeds_page
from posttrain.run import ledger
from posttrain.run.ledger import Row
from tests.report.made_run import make_run

SEEDS = (0, 1, 2)


def row(stage: str, metrics: dict, seed: int = 0, parents: dict | None = None) -> Row:
    return Row(
        run="toy", stage=stage, checkpoint=f"runs/toy/{stage}", parents=parents or {},
        config={"stage": stage, "references": {}}, code="c", base="tiny", data="d", seed=seed, device="cpu",
        started="s", wall_s=1.0, train_metrics={}, metrics=metrics,
    )  # fmt: skip


def task(value: float, delta: float, p: float) -> dict:
    around = {"ci95": [value - 0.1, value + 0.1], "delta_vs_base": delta, "delta_ci95": [delta - 0.1, delta + 0.1]}
    return {"value": value, "n": 100, **around, "p_vs_base": p}


def runs(*intents: tuple[float, float, float]) -> dict[int, list[Row]]:
    return {seed: [row("grpo", {"task/intent": task(*intent)}, seed)] for seed, intent in enumerate(intents)}


def test_a_figure_has_mean_range_interval_over_seeds_and_the_first_seeds_own():
    found = seeds.figures(runs((0.9, 0.9, 0.001), (0.8, 0.8, 0.001), (0.7, 0.7, 0.001)))
    assert [(f.stage, f.metric, f.low, f.high) for f in found] == [("grpo", "task/intent", 0.7, 0.9)]
    assert found[0].mean.value == pytest.approx(0.8) and found[0].items == (0.8, 1.0)
    lo, hi = found[0].mean.ci95
    assert hi - 0.8 == pytest.approx(0.8 - lo) == pytest.approx(4.30265 * 0.1 / 3**0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("intents", "survives"),
    [
        (((0.9, 0.9, 0.001), (0.8, 0.8, 0.001), (0.7, 0.7, 0.001)), seeds.ALL),
        (((0.9, 0.9, 0.001), (0.8, 0.1, 0.3), (0.7, 0.7, 0.001)), seeds.SIGN),
        (((0.9, 0.9, 0.001), (0.8, 0.8, 0.001), (0.7, -0.1, 0.3)), seeds.NOT),
        (((0.9, 0.9, 0.001), (0.8, -0.8, 0.001), (0.7, 0.7, 0.001)), seeds.NOT),
        (((0.9, 0.9, 0.001), (0.8, 0.0, 1.0), (0.7, 0.7, 0.001)), seeds.NOT),
    ],
)
def test_a_finding_survives_where_every_seed_finds_it_sure_in_sign_where_all_lean_to_it(intents, survives):
    [found] = seeds.held(runs(*intents))
    assert (found.stage, found.metric, found.survives) == ("grpo", "task/intent", survives)
    assert list(found.changes.values()) == [intent[1] for intent in intents]


def test_what_no_seed_calls_sure_is_no_finding():
    assert seeds.held(runs((0.9, 0.1, 0.2), (0.8, 0.1, 0.3))) == []


def test_a_stages_own_aim_and_forgetting_are_findings():
    def kl(seed: int, change: float) -> list[Row]:
        metric = {"value": 0.3, "delta_vs_parent": change, "delta_parent_ci95": [change - 0.05, change + 0.05]}
        forgot = {"value": 0.1, "n": 9, "ci95": [0.05, 0.15]}
        rows = {"distill/kl_teacher": metric, "forgetting/mean": forgot}
        return [row("distill", rows, seed, {"model": "runs/toy/align"})]

    found = {one.metric: one for one in seeds.held({0: kl(0, -0.2), 1: kl(1, -0.02)})}
    assert found["distill/kl_teacher"].verdicts == {0: 1, 1: 0} and found["distill/kl_teacher"].survives == seeds.SIGN
    assert found["forgetting/mean"].verdicts == {0: -1, 1: -1} and found["forgetting/mean"].survives == seeds.ALL


def test_one_seed_has_no_spread():
    with pytest.raises(InputError, match="two or more"):
        seeds.figures(runs((0.9, 0.9, 0.001)))


@pytest.fixture
def folders(tmp_path):
    made = {}
    for seed in SEEDS:
        folder = made[seed] = tmp_path / ("toy" if seed == 0 else f"toy_seed{seed}")
        make_run(folder, items=12, bootstrap=20)
        path = folder / "ledger.jsonl"
        rows = [dataclasses.replace(row, seed=seed) for row in ledger.read(path)]
        path.unlink()
        for one in rows:
            shifted = {
                n: m | {"value": m["value"] * (1 + 0.01 * seed)} if n.startswith("wer") else m
                for n, m in one.metrics.items()
            }
            ledger.put(path, dataclasses.replace(one, metrics=shifted))
    return made


def test_the_page_is_written_in_three_forms_with_the_same_figures(folders, tmp_path):
    page = seeds_page.build(folders, tmp_path / "toy_seeds")
    assert {path.name for path in page.parent.iterdir()} == {"seeds.html", "seeds.md", "seeds.json"}
    told = json.loads((page.parent / "seeds.json").read_text())
    assert told["seeds"] == [0, 1, 2] and told["warnings"] == []
    clean = next(f for f in told["figures"] if f["metric"] == "wer/clean" and f["headline"])
    first = next(r for r in ledger.read(folders[0] / "ledger.jsonl") if r.stage == clean["stage"])
    assert clean["items"] == first.metrics["wer/clean"]["ci95"]
    assert clean["values"]["2"] == pytest.approx(1.02 * first.metrics["wer/clean"]["value"])
    certain = {name for name, way in sure(first).items() if way}
    claimed = {f["metric"] for f in told["findings"] if f["against"] == "base" and f["verdicts"]["0"]}
    assert claimed == certain and certain
    text = (page.parent / "seeds.md").read_text()
    for heading in ("## Figures", "## Which findings survive", "items, seed 0", "in every seed"):
        assert heading in text
    assert "Every figure of every stage" in page.read_text()
    assert "word errors, clean" in "\n".join(seeds_page.told(folders, page))


def test_other_code_and_rows_of_another_seed_are_told(folders, tmp_path):
    path = folders[1] / "ledger.jsonl"
    rows = ledger.read(path)
    path.unlink()
    for one in rows:
        ledger.put(path, dataclasses.replace(one, code="other"))
    seeds_page.build(folders, tmp_path / "out")
    [warning] = json.loads((tmp_path / "out" / "seeds.json").read_text())["warnings"]
    assert "differ in code" in warning and "other" in warning
    with pytest.raises(InputError, match="rows of seed 0, expected 1"):
        seeds_page.build({0: folders[0], 1: folders[0]}, tmp_path / "out")
    with pytest.raises(InputError, match="run seed 7 first"):
        seeds_page.build({0: folders[0], 7: tmp_path / "none"}, tmp_path / "out")


def test_a_finding_that_a_seed_did_not_measure_is_listed_as_such():
    made = runs((0.9, 0.9, 0.001), (0.8, 0.8, 0.001))
    made[1] = [row("grpo", {"task/spoken_qa": task(0.5, 0.0, 1.0)}, 1)]
    [found] = seeds.held(made)
    assert found.survives == seeds.LACKING and found.verdicts == {0: 1, 1: 0} and list(found.changes) == [0]
    assert "not measured" in seeds_page._held_line(found)[3]


def test_runs_evaluated_by_other_code_are_told_apart():
    made = runs((0.9, 0.9, 0.001), (0.8, 0.8, 0.001))
    assert seeds_page.mixed(made) == []
    newer = {"evaluation_code": {"version": "c+2"}}
    made[1] = [dataclasses.replace(made[1][0], config=made[1][0].config | newer)]
    assert "differ in code" in seeds_page.mixed(made)[0]
