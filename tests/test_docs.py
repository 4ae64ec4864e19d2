"""The pages under docs/: what they show is done to a copy of the project, and must work as they say."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import script
from safetensors.torch import load_file

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXTEND = (DOCS / "extend.md").read_text()
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', EXTEND, re.MULTILINE | re.DOTALL))
COMMANDS = (
    "run soften.yaml --dry-run",
    "doctor soften.yaml",
    "run soften.yaml",
    "evaluate --checkpoint runs/soften/sft --json",
    "report soften",
)
ONE_PROCESS = """
import contextlib, io, json, sys
from posttrain.__main__ import run
printed = []
for command in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        printed.append([run(command.split()), out])
print(json.dumps([[status, out.getvalue()] for status, out in printed]))
"""
"""All commands in one process: the libraries are loaded once."""
SPEECH = {"anna": 220.0, "ben": 110.0, "carla": 190.0}


def navigated(entry) -> list[str]:
    """Files of a nav entry of mkdocs.yml, in order."""
    if isinstance(entry, str):
        return [entry]
    below = entry if isinstance(entry, list) else list(entry.values())
    return [name for part in below for name in navigated(part)]


def edits() -> list[tuple[str, str, str]]:
    """(file, text before, text after) of every diff of extend.md, in order."""
    found, name = [], ""
    for file, block in re.findall(
        r"`(posttrain/\w+(?:/\w+)*\.py)`[^`]*?:$|^```diff\n(.*?)^```", EXTEND, re.MULTILINE | re.DOTALL
    ):
        name = file or name
        if block:
            lines = block.splitlines()
            before, after = ("\n".join(x[1:] for x in lines if x[:1] != skip) for skip in "+-")
            found.append((name, before, after))
    return found


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with all of extend.md in it, and the recipe that uses it run at toy size."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("posttrain", "adapters", "data"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, before, after in edits():
        text = (root / name).read_text()
        assert text.count(before) == 1, (name, before)
        (root / name).write_text(text.replace(before, after))
    for row in csv.DictReader(io.StringIO(FILES["clinic/manifest.csv"])):
        time = np.arange(16_000) / 16_000  # (S,)
        path = root / "clinic" / row["path"]
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(2 * np.pi * SPEECH[row["speaker"]] * time), 16_000)
    recipe = yaml.safe_load((ROOT / "posttrain" / "recipes" / "smoke.yaml").read_text())
    recipe |= yaml.safe_load(FILES["soften.yaml"])
    recipe["corpus"] |= {"sources": ["clinic"], "data_root": str(root), "train_clips": 60, "rl_clips": 0}
    recipe["corpus"] |= {"test_sentences": 3, "probe_items": 4, "spoken_items": 2}
    recipe["ctc"] |= {"steps": 5}
    recipe["align"] |= {"ctc_steps": 2, "steps": 2}
    recipe["distill"] |= {"steps": 2}
    recipe["sft"] |= {"adapter": "lora_mlp", "steps": 4}
    recipe["base"] |= {"chat_format": "turns", "steps": 20}
    recipe["evaluation"] |= {"max_new_tokens": 8, "bootstrap": 50}
    (root / "soften.yaml").write_text(yaml.safe_dump(recipe))
    done = subprocess.run(
        [sys.executable, "-c", ONE_PROCESS, *COMMANDS],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (root / "printed.json").write_text(done.stdout)
    return root / "runs" / "soften"


def printed(run: Path, command: str) -> tuple[int, str]:
    """Exit status and output of one of COMMANDS."""
    results = json.loads((run.parent.parent / "printed.json").read_text())
    status, output = results[COMMANDS.index(command)]
    return status, output


def rows(run: Path) -> dict[str, dict]:
    lines = map(json.loads, (run / "ledger.jsonl").read_text().splitlines())
    return {row["stage"]: row for row in lines}


def test_the_contents_list_every_page():
    listed = navigated(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).is_file(), target


def test_every_section_of_a_recipe_is_explained_on_some_page():
    shown = {name for page in PAGES for name in re.findall(r"<!-- options: (\w+) -->", page.read_text())}
    from posttrain.config import recipe as config

    fields = dataclasses.fields(config.Recipe)
    assert shown == {field.name for field in fields if dataclasses.is_dataclass(field.default)}


def test_the_tables_of_options_are_those_of_the_code():
    options = script("docs/options.py")
    for page in PAGES:
        assert options.filled(page.read_text()) == page.read_text(), f"{page.name}: run make format"
    made = options.filled("before\n<!-- options: dpo -->\nold\n<!-- /options -->\nafter\n")
    assert "| `dpo.beta` | `0.1` | How strongly the model is held to the reference. |" in made and "old" not in made
    assert made.startswith("before\n<!-- options: dpo -->\n\n| option |") and options.filled(made) == made
    with pytest.raises(KeyError):
        options.table("nothing")
    allowed = next(line for line in options.table("distill").splitlines() if "`distill.divergence`" in line)
    assert allowed.endswith(" One of `forward_kl`, `reverse_kl`, `js`. |")


def test_the_manifest_of_the_example_has_the_checksum_of_its_card():
    card = yaml.safe_load(FILES["data/clinic.yaml"])
    assert card["sha256"] == {"manifest.csv": hashlib.sha256(FILES["clinic/manifest.csv"].encode()).hexdigest()}


def test_every_command_takes_the_new_files_as_its_own(extended):
    plan = printed(extended, "run soften.yaml --dry-run")
    assert plan[0] == 0 and "soft_half" in plan[1] and re.search(r"^sft +run ", plan[1], re.MULTILINE)
    checked = printed(extended, "doctor soften.yaml")[1]
    assert "✓ clinic" in checked and not re.search(r"^✗.*(recipe|clinic|lora_mlp|fit)", checked, re.MULTILINE)
    assert printed(extended, "run soften.yaml")[0] == 0


def test_evaluation_ledger_and_report_have_the_new_corpus_and_adapter(extended):
    again = json.loads(printed(extended, "evaluate --checkpoint runs/soften/sft --json")[1])
    row = rows(extended)["sft"]
    assert again["wer_real/clinic"]["value"] == row["metrics"]["wer_real/clinic"]["value"]
    assert row["config"]["options"]["adapter"] == "lora_mlp"
    assert printed(extended, "report soften")[0] == 0
    assert "clinic" in (extended / "report.md").read_text()
    assert "lora_mlp" in (extended / "adapters" / "sft" / "CARD.md").read_text()


def test_the_adapter_of_the_example_trains_what_it_names(extended):
    names = load_file(extended / "sft" / "adapter" / "adapter_model.safetensors")
    assert {part for part in ("q_proj", "gate_proj", "down_proj") if any(part in name for name in names)} == {
        "q_proj",
        "gate_proj",
        "down_proj",
    }


def test_the_task_family_of_the_example_is_asked_graded_and_reported(extended):
    found = rows(extended)
    assert {found[name]["metrics"]["ability/count"]["n"] for name in ("base", "sft", "soft_half")} == {4}
    assert {found[name]["metrics"]["ability_spoken/count"]["n"] for name in ("ctc", "sft")} == {4}
    answers = map(json.loads, (extended / "sft" / "answers.jsonl").read_text().splitlines())
    asked = {
        line["text"]: (line["instruction"], line["answer"]) for line in answers if line["probe"] == "ability/count"
    }
    assert asked["red blue green"] == ("count", "three") and len(asked) == 4
    assert "ability/count" in (extended / "report.md").read_text()


def test_the_corpus_of_the_example_is_scored_apart(extended):
    assert rows(extended)["sft"]["metrics"]["wer_real/clinic"]["n"] > 0


def test_the_chat_format_of_the_example_is_the_bases_and_its_tokens_end_the_answers(extended):
    tokenizer = json.loads((extended / "base" / "tokenizer_config.json").read_text())
    assert [tokenizer[f"{name}_token"] for name in ("bos", "eos", "pad")] == ["[text]", "[over]", "[nothing]"]
    answers = (extended / "soft_half" / "answers.jsonl").read_text()
    assert '"output"' in answers and "[over]" not in answers


def test_the_stage_of_the_example_does_what_it_says(extended):
    parent, half, fifth = (
        load_file(extended / name / "adapter" / "adapter_model.safetensors")
        for name in ("sft", "soft_half", "soft_fifth")
    )
    for name, tensor in parent.items():
        strong = ".lora_B." in name
        assert (half[name] == (0.5 if strong else 1) * tensor).all()
        np.testing.assert_allclose(fifth[name], (0.2 if strong else 1) * tensor, rtol=1e-6)


def test_the_stage_of_the_example_is_two_files():
    assert {name for name, _, after in edits() if "often" in after} == {"posttrain/config/stage_table.py"}
    assert [name for name in FILES if "often" in name and name.endswith(".py")] == ["posttrain/stages/soften.py"]


def test_the_stage_of_the_example_is_planned_with_its_memory_evaluated_and_reported_as_any_speech_model(extended):
    plan = printed(extended, "run soften.yaml --dry-run")[1]
    assert re.search(r"^soft_half +run .*needs about \d\.\d GiB of memory\)$", plan, re.MULTILINE)
    assert re.search(r"^✓ fit", printed(extended, "doctor soften.yaml")[1], re.MULTILINE)
    found, report = rows(extended), json.loads((extended / "report.json").read_text(encoding="utf-8"))
    assert found["soft_half"]["metrics"].keys() == found["sft"]["metrics"].keys()
    assert found["soft_half"]["config"]["options"] == {"strength": 0.5}
    assert report["stages"] == ["base", "ctc", "align", "distill", "sft", "soft_half", "soft_fifth"]
