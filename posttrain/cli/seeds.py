"""seeds: runs one recipe once for each seed of everything, and shows how its figures differ between seeds."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posttrain.cli import early, show
from posttrain.cli.options import RecipeArgument
from posttrain.errors import InputError

if TYPE_CHECKING:
    from posttrain.config.recipe import Recipe


def seeds(
    recipe: RecipeArgument = "tiny",
    run: Annotated[
        str | None, typer.Option("--run", metavar="NAME|FOLDER", help="The run of the recipe's own seed: runs/NAME.")
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="N|A,B,…", help="How many seeds, from the recipe's own on, or which.")
    ] = "3",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change an option in all of them. Repeatable."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Up to so many runs side by side on a CPU; each takes memory and cores.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what each seed would do; make nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON on stdout.")] = False,
) -> None:
    """Run a recipe once for each seed of everything and report which figures and findings survive another seed.

    The recipe's own seed is the plain run, runs/NAME; the others are runs/NAME_seed1, … Finished stages are not run
    again. The comparison is written to runs/NAME_seeds. (A recipe's option `seeds` is different: it repeats each sft
    with other seeds of the adapter, on one base and one encoder.)

    \b
    posttrain seeds tiny
    posttrain seeds tiny --seeds 0,1,2 --jobs 2
    posttrain seeds tiny --seeds 5 --dry-run
    """
    from posttrain.config import recipe as config

    loaded, problems = config.read_recipe(recipe, changes)
    if problems:
        raise InputError(problems)
    if any(change.partition("=")[0].strip() == "seed" for change in changes or []):
        raise InputError("--set seed=… and --seeds both choose the seeds; leave out --set seed")
    home = early.run_folder(run or loaded.name)
    folders = {seed: folder_of(home, seed, loaded.seed) for seed in numbers(seeds, loaded.seed)}
    each = _Each(recipe, tuple(changes or ()), folders)
    planned = {seed: each.plan(seed) for seed in folders}
    if dry_run:
        _show(planned, folders, as_json)
        return
    together = home.with_name(f"{home.name}_seeds")
    with show.quiet_stdout():
        each.run_all(jobs if _on_cpu(loaded) else 1, together / "logs")
    from posttrain.report.study import seeds_page

    page = seeds_page.build(folders, together)
    if as_json:
        show.print_json(json.loads((together / "seeds.json").read_text(encoding="utf-8")))
    else:
        show.line("\n".join(seeds_page.told(folders, page)))


def numbers(text: str, first: int) -> list[int]:
    """The seeds in the user's text: `3` means three, counting up from the recipe's own; `0,4,7` or `0 4 7` mean these.

    Raises InputError if it is not a list of different seeds, or has fewer than two.
    """
    words = [word for word in re.split(r"[,\s]+", text) if word]
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise InputError(f"--seeds is {text!r}, expected how many, such as 3, or which, such as 0,1,2")
    found = [int(word) for word in words]
    if len(found) == 1:
        found = [first + number for number in range(found[0])]
    if len(set(found)) < max(2, len(found)):
        raise InputError(f"--seeds is {text!r}, expected two or more different seeds; one seed has no spread")
    return found


def folder_of(home: Path, seed: int, first: int) -> Path:
    """The folder of a seed's run: the plain run for the recipe's own seed, else NAME_seedN next to it."""
    return home if seed == first else home.with_name(f"{home.name}_seed{seed}")


@dataclass(frozen=True)
class _Each:
    """What all runs share, and their folders."""

    recipe: str
    changes: tuple[str, ...]
    folders: dict[int, Path]

    def set(self, seed: int) -> list[str]:
        """The changes, and that seed."""
        return [*self.changes, f"seed={seed}"]

    def plan(self, seed: int) -> list[Any]:
        """The steps of that seed's run. Raises InputError listing everything that is wrong."""
        from posttrain.config import recipe as config
        from posttrain.run import runner

        return runner.plan(config.load_recipe(self.recipe, self.set(seed)), self.folders[seed])

    def do(self, name: str) -> None:
        """Run everything for one seed, given by its folder's name."""
        from posttrain.cli import pipeline

        seed, folder = next((seed, path) for seed, path in self.folders.items() if path.name == name)
        pipeline.run(self.recipe, self.set(seed), f"{folder.parent}/{folder.name}", None, None, False, False)

    def run_all(self, jobs: int, logs: Path) -> None:
        """Run all seeds; for a finished one this takes seconds and writes its report if that is missing."""
        from posttrain.machine.device import say
        from posttrain.machine.side_by_side import run_all

        names = [folder.name for folder in self.folders.values()]
        if jobs > 1:
            run_all({name: set() for name in names}, self.do, jobs, logs, "seeds")
            return
        for number, name in enumerate(names, 1):
            say(f"\n■ {name}: seed {number} of {len(names)}")
            self.do(name)


def _on_cpu(recipe: "Recipe") -> bool:
    from posttrain.machine.device import pick_device

    return pick_device(recipe.device) == "cpu"


def _show(planned: dict[int, list[Any]], folders: dict[int, Path], as_json: bool) -> None:
    if as_json:
        plans = {
            str(seed): {"run": str(folders[seed]), "plan": [{"name": s.name, "action": s.action} for s in steps]}
            for seed, steps in planned.items()
        }
        show.print_json({"seeds": plans})
        return
    for seed, steps in planned.items():
        show.line(f"seed {seed}: {folders[seed]}")
        show.plan(steps, {})
