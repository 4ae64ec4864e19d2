import dataclasses

import pytest
from made_run import make_run

from posttrain.report.verdict import verdict
from posttrain.run import ledger


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(folder, items=60)
    return ledger.read(folder / "ledger.jsonl")


def with_options(rows, **options):
    """The rows, the options of sft as given."""
    return [
        dataclasses.replace(row, config=row.config | {"options": options}) if row.stage == "sft" else row
        for row in rows
    ]


def test_the_first_sentence_says_what_was_gained_and_lost_with_its_interval_and_how_sure(rows):
    said = verdict(rows).said
    wer, forgot = (rows[-1].metrics[name]["value"] for name in ("wer/clean", "forgetting/mean"))
    assert said.startswith(f"grpo hears clean speech with {100 * wer:.1f} % [") and said.endswith(".")
    assert f"it surely forgot {100 * forgot:.1f} % [" in said and "n = 360" in said
    assert said.count(". ") == 0 and "below the encoder's own" in said


@pytest.mark.parametrize(
    ("options", "changes", "suffix"),
    [
        ({"replay_share": 0.0, "kl_weight": 0.0}, "sft.replay_share=0.05", "replay"),
        ({"replay_share": 0.05, "kl_weight": 0.0}, "sft.kl_weight=1", "kl"),
        ({"replay_share": 0.05, "kl_weight": 1.0, "learning_rate": 1e-3}, "sft.learning_rate=0.0005", "slower"),
        ({"learning_rate": 1e-3}, "sft.learning_rate=0.0005", "slower"),
    ],
)
def test_after_forgetting_the_first_remedy_that_was_not_tried_is_next(rows, options, changes, suffix):
    run = rows[-1].checkpoint.removesuffix("/grpo")
    found = verdict(with_options(rows, **options))
    assert found.command == f"make pipeline FROM={run} RUN=made_{suffix} SET={changes}"
    assert found.advice.startswith("Against forgetting, try next ")


def test_where_nothing_is_left_to_try_that_is_said(rows):
    found = verdict(with_options(rows, replay_share=0.05, kl_weight=1.0))
    assert found.advice.startswith("No remedy against forgetting is left") and found.command == "make gate RUN=made"


def test_where_more_harmful_requests_are_surely_answered_safety_rows_come_first(rows):
    metrics = dict(rows[-1].metrics)
    metrics["safety/harmful_compliance/text"] = metrics["safety/harmful_compliance/text"] | {
        "value": 0.9, "delta_vs_base": 0.8, "p_vs_base": 1e-12,
    }  # fmt: skip
    worse = [*rows[:-1], dataclasses.replace(rows[-1], metrics=metrics)]
    found = verdict(with_options(worse, safety_share=None, replay_share=0.0))
    assert (
        found.command.endswith("SET=sft.safety_share=0.03")
        and "harmful requests answered, typed are surely worse" in found.said
    )


def test_where_no_loss_is_sure_the_gate_is_next(tmp_path):
    make_run(tmp_path / "made", ["base", "ctc", "align", "distill"], items=40, bootstrap=60)
    found = verdict(ledger.read(tmp_path / "made" / "ledger.jsonl"))
    assert found.command == "make gate RUN=made" and "no forgetting is shown" in found.said
    assert verdict(ledger.read(tmp_path / "made" / "ledger.jsonl")[:1]) is None and verdict([]) is None


def test_a_run_with_an_evil_name_gives_a_command_that_a_shell_takes_literally(rows):
    evil = "runs/a b; rm -rf $HOME/grpo"
    last = dataclasses.replace(rows[-1], checkpoint=evil, config=rows[-1].config | {"recipe": "x`y`"})
    command = verdict([*with_options(rows, replay_share=0.0)[:-1], last]).command
    assert "RECIPE='x`y`'" in command and "FROM='runs/a b; rm -rf $HOME'" in command


def test_another_sure_loss_is_not_called_none(rows):
    worse = {"value": 0.9, "delta_vs_base": 0.8, "p_vs_base": 1e-12}
    metrics = dict(rows[-1].metrics)
    metrics["safety/over_refusal/speech"] = metrics["safety/over_refusal/speech"] | worse
    metrics["forgetting/mean"] = metrics["forgetting/mean"] | {"ci95": [-0.01, 0.05]}
    found = verdict([*rows[:-1], dataclasses.replace(rows[-1], metrics=metrics)])
    assert "Surely worse: harmless requests refused, spoken" in found.advice and "Nothing" not in found.advice
