"""posttrain evaluate --lm-eval: what is asked for, and what is wrong with it."""

import pytest

from posttrain.__main__ import run

EVALUATE = ["evaluate", "--checkpoint", "runs/x/sft"]


def test_a_dry_run_says_which_tasks(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/x/sft").mkdir(parents=True)
    for name in ("checkpoint.json", "config.yaml"):
        (tmp_path / "runs/x/sft" / name).write_text("{}")
    assert run([*EVALUATE, "--lm-eval", "arc_challenge, hellaswag", "--limit", "5", "--dry-run"]) == 0
    assert "arc_challenge, hellaswag through lm-evaluation-harness" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--limit", "5"], ["--lm-eval", " , "], ["--lm-eval", "arc_challenge", "--probes", "mine.jsonl"]]
)
def test_options_that_do_not_go_together_are_status_2(arguments, capsys):
    assert run([*EVALUATE, *arguments]) == 2
    assert "--limit is for --lm-eval" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(capsys):
    assert run([*EVALUATE, "--lm-eval", "posttrain"]) == 2
    assert "runs/x/sft is not a stage's folder" in capsys.readouterr().err


def test_without_the_extra_the_mend_is_named(capsys, monkeypatch, llama):
    import sys

    from posttrain.errors import InputError
    from posttrain.evals import harness

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"pip install 'posttrain\[lm-eval\]'"):
        harness.evaluate(llama, ["arc_challenge"], None, None, 2)
