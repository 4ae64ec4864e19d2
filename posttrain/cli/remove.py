"""posttrain remove: a run's folder is deleted, but not while a command writes to it."""

import shutil
from typing import Annotated

import typer

from posttrain.cli import early
from posttrain.cli.options import DryRunOption
from posttrain.cli.show import line
from posttrain.errors import InputError
from posttrain.machine import lock

TRACES = ("ledger.jsonl", "corpus/corpus.json", "corpus.partial", "corpus.shards")
"""What only a run's folder has, from its corpus on."""


def remove(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or its folder.")],
    dry_run: DryRunOption = False,
) -> None:
    """Delete a run: its corpus, checkpoints, ledger and report, which only a new run brings back.

    A run to which another command is writing is left alone, and so is a folder that is no run. Runs that branch from
    it no longer find what they share with it.

    \b
    posttrain remove smoke
    posttrain remove runs/tiny --dry-run
    """
    folder = early.run_folder(run)
    if not folder.exists():
        line(f"{folder} is not there; nothing to remove")
        return
    content = {path.name for path in folder.iterdir()} - {lock.NAME}  # a command killed at once leaves only its lock
    if content and not any((folder / trace).exists() for trace in TRACES):
        raise InputError(
            f"{folder} is not a run: it has none of {', '.join(TRACES)}; name a run, or delete it yourself"
        )
    with lock.alone(folder):
        for path in sorted(folder.iterdir()):
            if path.name == lock.NAME:
                continue
            if dry_run:
                line(f"would remove {path}")
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    if not dry_run:
        line(f"removed {folder}")
