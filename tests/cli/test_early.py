"""What is wrong with a name, an option or a file is told before torch is loaded, and so is all help."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from posttrain.cli.app import app

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "scipy", "matplotlib")
PROGRAM = f"""
import contextlib, io, json, sys
from posttrain.__main__ import run
found, before = [], set()
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(arguments)
    loaded = [name for name in {HEAVY!r} if name in sys.modules and name not in before]
    before |= set(loaded)
    found.append([status, out.getvalue(), err.getvalue(), loaded])
json.dump(found, sys.stdout)
"""
CHECKPOINT = ["--checkpoint", "runs/tiny/sft"]
WRONG = {
    "an unknown command": (["frobnicate"], "frobnicate"),
    "an unknown option": (["run", "--frobnicate"], "--frobnicate"),
    "an option of another command": (["report", "--device", "cpu"], "--device"),
    "a choice that is none": (["transcribe", "a.wav", *CHECKPOINT, "--task", "sing"], "sing"),
    "a device that is none": (["transcribe", "a.wav", *CHECKPOINT, "--device", "gpu"], "gpu"),
    "a number that is none": (["run", "tiny", "--jobs", "many"], "--jobs"),
    "an argument that lacks": (["transcribe", "a.wav"], "--checkpoint"),
    "an unknown recipe": (["run", "nope"], "recipe nope"),
    "a recipe's file": (["run", "nope.yaml", "--dry-run"], "nope.yaml"),
    "a broken recipe": (["run", "broken.yaml"], "broken.yaml"),
    "an unknown stage": (["stage", "sftt"], "sftt"),
    "an unknown key": (["run", "tiny", "--set", "sft.stepz=3"], "did you mean steps"),
    "a wrong value": (["run", "tiny", "--set", "sft.steps=many"], "sft.steps"),
    "no assignment": (["data", "tiny", "--set", "sft.steps"], "--set"),
    "an unknown adapter": (["run", "tiny", "--set", "sft.adapter=lorra"], "lorra"),
    "an unknown adapter of a plan": (["run", "tiny", "--dry-run", "--set", "sft.adapter=lorra"], "lorra"),
    "a model's folder": (["run", "tiny", "--set", "base.model=./nowhere"], "./nowhere"),
    "an encoder's folder": (["stage", "ctc", "--set", "ctc.model=./nowhere"], "./nowhere"),
    "sources without a root": (["run", "tiny", "--set", "corpus.sources=[fsdd]"], "data_root"),
    "sources that are not there": (
        ["run", "tiny", "--set", "corpus.sources=[fsdd]", "--set", "corpus.data_root=./nowhere"],
        "nowhere",
    ),
    "an unknown source": (["run", "tiny", "--set", "corpus.sources=[x]", "--set", "corpus.data_root=."], "'x'"),
    "sizes": (["run", "tiny", "--set", "base.heads=5"], "base.hidden_size"),
    "a device of a recipe": (["run", "tiny", "--set", "device=gpu"], "device is gpu"),
    "a combination": (["run", "tiny", "--set", "sft.adapter=prompt_tuning"], "prompt_tuning"),
    "a person's manifest": (["stage", "personalise", "--set", "personalise.manifest=no.csv"], "no.csv"),
    "a person's bad manifest": (["stage", "personalise", "--set", "personalise.manifest=bad.csv"], "bad.csv"),
    "a person's audiogram": (
        ["stage", "personalise", "--set", "personalise.manifest=bad.csv", "--set", "personalise.listener=N9"],
        "N9",
    ),
    "a run to branch from": (["run", "tiny", "--from", "nowhere"], "nowhere"),
    "a run to report": (["report", "nowhere"], "nowhere"),
    "a run to study": (["study", "nowhere"], "nowhere"),
    "a run to compare": (["compare", "here", "there"], "here"),
    "a run to judge": (["gate", "nowhere"], "nowhere"),
    "a run with a denoiser": (["hearing", "evaluate", "nowhere"], "nowhere"),
    "a broken ledger": (["report", "broken"], "ledger.jsonl, line 1"),
    "a checkpoint to evaluate": (["evaluate", *CHECKPOINT], "runs/tiny/sft"),
    "a checkpoint to plan for": (["evaluate", *CHECKPOINT, "--dry-run"], "runs/tiny/sft"),
    "a root of data that is missing": (["evaluate", *CHECKPOINT, "--data-root", "nowhere"], "--data-root"),
    "a run below a file": (["run", "tiny", "--run", "bad.csv/x"], "bad.csv is a file"),
    "a run that is no name": (["run", "tiny", "--run", ".."], "a run is named '..'"),
    "no run to compare with": (["compare", "", "there"], "a run is named ''"),
    "no stage": (["stage", ""], "STAGE is empty; name one of base, ctc"),
    "no stage to plan": (["stage", "", "--dry-run"], "STAGE is empty"),
    "probes": (["evaluate", *CHECKPOINT, "--probes", "no.jsonl"], "no.jsonl"),
    "bad probes": (["evaluate", *CHECKPOINT, "--probes", "bad.jsonl"], "bad.jsonl, line 1"),
    "audio": (["transcribe", "no.wav", *CHECKPOINT], "no.wav"),
    "a manifest": (["transcribe", "--manifest", "no.csv", *CHECKPOINT], "no.csv"),
    "a bad manifest": (["transcribe", "--manifest", "bad.csv", *CHECKPOINT], "bad.csv:2"),
    "a checkpoint that hears": (["transcribe", "--manifest", "bad.csv", "--checkpoint", "nowhere"], "nowhere"),
    "an enhancer": (["transcribe", "no.wav", *CHECKPOINT, "--enhance", "--enhancer", "nowhere"], "nowhere"),
    "audio to enhance": (["enhance", "no.wav", "out.wav", "--checkpoint", "nowhere"], "no.wav"),
    "a manifest to enhance": (["enhance", "bad.csv", "out", "--checkpoint", "nowhere"], "bad.csv:2"),
    "a plot": (["enhance", "no.wav", "out.wav", "--plot", "plot.jpg"], "plot.jpg"),
    "a denoiser": (["enhance", "no.wav", "out.wav", "--checkpoint", "nowhere"], "no enhancer"),
    "8 bits": (["export", "runs/tiny/sft", "out", "--int8"], "--int8 is for one"),
    "no recording": (["enhance", "no.wav", "out.wav"], "no.wav"),
    "an audiogram": (["enhance", "no.wav", "out.wav", "--audiogram", "N9"], "N9"),
    "responses": (["hearing", "validate", "--responses", "no.csv"], "no.csv"),
    "bad responses": (["hearing", "fit", "--responses", "bad.csv"], "bad.csv"),
    "prompts": (["safety", "ask", *CHECKPOINT, "--prompts", "no.csv"], "no.csv"),
    "labelled answers": (["safety", "calibrate", "--answers", "no.csv"], "no.csv"),
    "bad labelled answers": (["safety", "fit", "--answers", "bad.csv", "--out", "o.json"], "bad.csv"),
    "a recipe to repeat": (["seeds", "nope"], "recipe nope"),
    "a change to repeat": (["seeds", "tiny", "--set", "sft.stepz=3"], "did you mean steps"),
    "a combination to repeat": (["seeds", "tiny", "--set", "sft.adapter=prompt_tuning"], "prompt_tuning"),
    "a recipe to examine": (["doctor", "nope"], "recipe nope"),
    "a change to examine": (["doctor", "tiny", "--set", "sft.stepz=3"], "did you mean steps"),
    "a checkpoint to ask": (["safety", "ask", *CHECKPOINT, "--prompts", "prompts.csv"], "runs/tiny/sft"),
}


def _help(command, path=()) -> list[list[str]]:
    """The help of a command and of all below it."""
    below = getattr(command, "commands", {})
    return [[*path, "--help"], *(a for name, inner in below.items() for a in _help(inner, (*path, name)))]


HELP = _help(get_command(app))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Arguments → status, stdout, stderr and the heavy libraries that it loaded first; all in one fresh process."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "broken.yaml").write_text("name: [")
    (folder / "bad.csv").write_text("path,text\nno.wav,turn it up\n")
    (folder / "bad.jsonl").write_text('{"id": 1\n')
    (folder / "prompts.csv").write_text("prompt,label\nhow are you,safe\n")
    (folder / "runs" / "broken").mkdir(parents=True)
    (folder / "runs" / "broken" / "ledger.jsonl").write_text('{"run": "x"}\n{"run": "x"}\n')
    asked = [arguments for arguments, _ in WRONG.values()] + HELP
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(asked), cwd=folder, capture_output=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert not (folder / "runs" / "tiny").exists()
    return {json.dumps(arguments): found for arguments, found in zip(asked, json.loads(ended.stdout), strict=True)}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_before_anything_heavy_is_loaded(case, told):
    arguments, named = WRONG[case]
    status, out, err, loaded = told[json.dumps(arguments)]
    assert (status, loaded) == (2, []), err
    assert named in err and out == "" and "Traceback" not in err


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_loads_nothing_heavy(arguments, told):
    status, out, _, loaded = told[json.dumps(arguments)]
    assert (status, loaded) == (0, []) and "Usage" in out


def test_every_command_was_asked_for_its_help():
    assert len(HELP) >= 20
