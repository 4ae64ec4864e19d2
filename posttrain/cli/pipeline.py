"""run, stage, data, report, study, gate and doctor: call the code behind each command and print the result."""

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posttrain.cli import early, show
from posttrain.config import recipe as config
from posttrain.config.stage_table import spec_of
from posttrain.errors import InputError, collecting
from posttrain.machine import disk
from posttrain.machine.lock import alone


def run_folder(run: str) -> Path:
    """A run's folder: runs/NAME, or the folder itself if the name is a path. Raises InputError if it is not a name."""
    if run.strip() in ("", ".", ".."):
        raise InputError(f"a run is named {run!r}, expected a name such as mine, or a folder")
    return Path(run) if "/" in run else Path("runs") / run


def run(
    recipe: str,
    changes: list[str] | None,
    run: str | None,
    branch_from: str | None,
    until: str | None,
    dry_run: bool,
    as_json: bool,
    jobs: int = 1,
    fresh_code: bool = False,
) -> None:
    """Run the recipe, or the stage `until` and the stages it depends on, then write the report."""
    from posttrain.run import runner

    loaded, problems = config.read_recipe(recipe, changes)
    folder, parent = _folders(loaded, run, branch_from)
    if until == "":
        raise InputError(f"STAGE is empty; name one of {', '.join(node.name for node in loaded.stages)}")
    if dry_run or problems:
        steps = _plan(loaded, folder, parent, until, problems, fresh_code)
        _show_plan(config.with_stage(loaded, until), folder, steps, as_json)
        return
    if not loaded.base.model and not loaded.ctc.model:
        show.hide_loading()
    clock = time.monotonic()
    with show.quiet_stdout():
        before = _content(folder / "ledger.jsonl")
        rows = runner.run(loaded, folder, parent, until, jobs, fresh_code)
        _cards(folder, rows, until)
        page = _build_report(folder, nothing_new=_content(folder / "ledger.jsonl") == before)
    if as_json:
        show.print_json([row.as_dict() for row in rows])
        return
    from posttrain.report import summary

    show.line("\n".join(summary(rows, page.parent)))
    show.line(f"This command took {(time.monotonic() - clock) / 60:.1f} min.")


def data(
    recipe: str,
    changes: list[str] | None,
    run: str | None,
    branch_from: str | None,
    dry_run: bool,
    as_json: bool,
    fresh_code: bool = False,
) -> None:
    """Build only the corpus and print what it contains."""
    from posttrain.run import preflight, runner

    loaded, problems = config.read_recipe(recipe, changes)
    folder, parent = _folders(loaded, run, branch_from)
    if dry_run or problems:
        _show_plan(loaded, folder, _plan(loaded, folder, parent, None, problems, fresh_code)[:1], as_json)
        return
    with show.quiet_stdout(), alone(folder), disk.watched(folder):
        step, *_ = steps = _plan(loaded, folder, parent, None, problems, fresh_code)
        if lacking := preflight.lacking(loaded, folder, steps):
            raise InputError(lacking)
        corpus = runner.make_corpus(loaded, step)
    counts = {
        "folder": str(corpus.folder),
        "fingerprint": corpus.fingerprint,
        "clips": dict(Counter(f"{clip.source}/{clip.split}" for clip in corpus.clips.values())),
        "examples": dict(Counter(f"{example.task}/{example.split}" for example in corpus.examples)),
        "items": dict(Counter(str(item.probe) for item in corpus.items)),
        "pairs": dict(Counter(f"{pair.kind}/{pair.split}" for pair in corpus.pairs)),
        "dropped": corpus.counts.get("dropped", {}),
        **{f"rows of {name}": found for name, found in corpus.counts.get("rows", {}).items()},
    }
    show.print_json(counts) if as_json else show.counts(counts)


def report(run: str, dry_run: bool, as_json: bool) -> None:
    """Write the report of a run."""
    folder = run_folder(run)
    rows = early.rows(folder)
    if dry_run:
        what = "report.html, .md and .json and the cards of its adapters"
        show.line(f"would write {what} in {folder} from {len(rows)} ledger rows")
        return
    from posttrain.report import build, cards, summary

    with show.quiet_stdout():
        page = build(folder)
        cards.write(folder)
    if as_json:
        show.print_json(json.loads((folder / "report.json").read_text(encoding="utf-8")))
        return
    show.line("\n".join(summary(rows, page.parent)))


def study(run: str, dry_run: bool, as_json: bool) -> None:
    """Write the report of a study's arms."""
    folder = run_folder(run)
    early.rows(folder)
    if dry_run:
        show.line(f"would write study.html, study.md and study.json in {folder} from its ledger")
        return
    from posttrain.report.study import study_page

    page = study_page.build(folder)
    if as_json:
        show.print_json(json.loads((folder / "study.json").read_text(encoding="utf-8")))
    else:
        show.line("\n".join(study_page.told(page.parent)))


def gate(run: str, stage: str | None, recipe: str | None, changes: list[str] | None, as_json: bool) -> int:
    """Print the verdict on a run; returns 0 if it passes, else 1."""
    early.rows(run_folder(run), stage)
    if recipe is not None:
        config.load_recipe(recipe, changes)
    from posttrain.report.gate import judge

    verdict = judge(run_folder(run), stage, recipe, changes)
    show.print_json(verdict.as_dict()) if as_json else show.verdict(verdict)
    return int(bool(verdict.reasons))


def doctor(recipe: str, changes: list[str] | None, run: str | None, branch_from: str | None, as_json: bool) -> int:
    """Print the checks' results; returns 0 if nothing stops the recipe, else 1."""
    from posttrain.run.doctor import examine

    loaded = config.load_recipe(recipe, changes)
    with show.quiet_stdout():
        findings = examine(loaded, *_folders(loaded, run, branch_from))
    show.print_json([finding.as_dict() for finding in findings]) if as_json else show.findings(findings)
    return int(any(not finding.ok for finding in findings))


def _folders(recipe: config.Recipe, run: str | None, branch_from: str | None) -> tuple[Path, Path | None]:
    folder = run_folder(run or recipe.name)
    parent = run_folder(branch_from) if branch_from else None
    if parent and parent.absolute() == folder.absolute():
        raise InputError(f"--from and the run are both {folder}; give the branch a name of its own with --run")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected the run's folder; name another with --run")
    above = next((path for path in folder.absolute().parents if path.exists()), None)
    if above is not None and not above.is_dir():
        raise InputError(f"--run is {folder}, but {above} is a file; name another with --run")
    return folder, parent


def _plan(
    recipe: config.Recipe,
    folder: Path,
    parent: Path | None,
    until: str | None,
    problems: list[str],
    fresh_code: bool = False,
) -> list[Any]:
    """The plan. Raises InputError with the recipe's problems and those of everything it names, in one list."""
    from posttrain.run import preflight, runner

    steps: list[Any] = []
    found = list(problems)
    with collecting(found):
        steps = runner.plan(recipe, folder, parent, until, fresh_code, refuse=False)
    found += preflight.wrong(recipe, steps)
    if found and steps:
        found += preflight.lacking(recipe, folder, steps)
    if found:
        raise InputError(list(dict.fromkeys(found)))
    return steps


def _show_plan(recipe: config.Recipe, folder: Path, steps: list[Any], as_json: bool) -> None:
    from posttrain.run import doctor
    from posttrain.run.outline import outline

    with show.quiet_stdout():
        about = outline(recipe)
        needs = doctor.needs_here(recipe, folder, steps)
        memory = doctor.memory_by_stage(recipe)
    if as_json:
        lines = [
            {"name": s.name, "stage": s.stage, "action": s.action, "why": s.why, "folder": str(s.folder)}
            | {"memory_gib": memory.get(s.name), "other_code": s.other_code, "damage": list(s.damage)}
            | {"options": asdict(s.node.options)}
            for s in steps
        ]
        show.print_json(
            {"recipe": recipe.name, "run": str(folder), "plan": lines, "needs": [need.as_dict() for need in needs]}
            | {"about": about.as_dict()}
        )
    else:
        if recipe.extends:
            show.line(f"{recipe.name}, which extends {recipe.extends}")
        show.plan(steps, memory)
        show.outline(about)
        show.findings(needs)


def _cards(folder: Path, rows: list[Any], until: str | None) -> None:
    """Write the card of a personal adapter, if its stage was requested."""
    from posttrain.report import personal_card

    for row in rows:
        if row.stage == until and spec_of(str(row.config.get("stage"))).adapter == "personal":
            personal_card.write(folder, row)


def _build_report(folder: Path, nothing_new: bool) -> Path:
    """The report's page; rewritten only if the ledger has changed or a page is missing or older than the ledger."""
    page = folder / "report.html"
    if nothing_new and all((folder / f"report.{kind}").is_file() for kind in ("html", "md", "json")):
        newest = (folder / "ledger.jsonl").stat().st_mtime_ns
        if page.stat().st_mtime_ns > newest:
            return page
    from posttrain.report import build, cards

    cards.write(folder)
    return build(folder)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
