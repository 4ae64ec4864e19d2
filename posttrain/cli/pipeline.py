"""Plan and run a recipe, for run, stage and the other commands that take one; print the plan or the result."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posttrain.cli import early, show
from posttrain.config import recipe as config
from posttrain.config.stage_table import spec_of
from posttrain.errors import InputError, collecting


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
    folder, parent = folders(loaded, run, branch_from)
    if until == "":
        raise InputError(f"STAGE is empty; name one of {', '.join(node.name for node in loaded.stages)}")
    if dry_run or problems:
        steps = planned(loaded, folder, parent, until, problems, fresh_code)
        show_plan(config.with_stage(loaded, until), folder, steps, as_json)
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


def folders(recipe: config.Recipe, run: str | None, branch_from: str | None) -> tuple[Path, Path | None]:
    """The run's folder and that of the run it branches from; InputError if they cannot be that."""
    folder = early.run_folder(run or recipe.name)
    parent = early.run_folder(branch_from) if branch_from else None
    if parent and parent.absolute() == folder.absolute():
        raise InputError(f"--from and the run are both {folder}; give the branch a name of its own with --run")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected the run's folder; name another with --run")
    above = next((path for path in folder.absolute().parents if path.exists()), None)
    if above is not None and not above.is_dir():
        raise InputError(f"--run is {folder}, but {above} is a file; name another with --run")
    return folder, parent


def planned(
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


def show_plan(recipe: config.Recipe, folder: Path, steps: list[Any], as_json: bool) -> None:
    """Print the plan, what it is about and what it needs."""
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
