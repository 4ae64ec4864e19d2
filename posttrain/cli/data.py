"""`posttrain data RECIPE` builds a corpus; `posttrain data check` looks at recordings before anything is trained."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from posttrain.cli import show
from posttrain.cli.options import (
    DryRunOption,
    FreshCodeOption,
    FromOption,
    JsonOption,
    RecipeArgument,
    RunOption,
    SetOption,
    data_root_option,
)
from posttrain.cli.show import line, print_json, quiet_stdout
from posttrain.errors import InputError

BUILD = "build"
SHOWN = 5
"""Faults of one kind that are listed."""


class _BuildByDefault(TyperGroup):
    """`data RECIPE` is `data build RECIPE`: what is not the name of a command is a recipe."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [BUILD, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="data",
    cls=_BuildByDefault,
    help="The corpus of a recipe (`data RECIPE`), and recordings looked at before training (`data check`)."
    "\n\nStart with: posttrain data tiny",
)


@app.command(BUILD)
def build(
    recipe: RecipeArgument = "tiny",
    run: RunOption = None,
    branch_from: FromOption = None,
    changes: SetOption = None,
    fresh_code: FreshCodeOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build only the corpus of a recipe and print what is in it.

    \b
    posttrain data tiny
    posttrain data real_speech --set corpus.data_root=../shared/data
    """
    from posttrain.cli import pipeline
    from posttrain.config.recipe import read_recipe
    from posttrain.machine import disk, lock
    from posttrain.run import preflight, runner

    loaded, problems = read_recipe(recipe, changes)
    folder, parent = pipeline.folders(loaded, run, branch_from)
    if dry_run or problems:
        steps = pipeline.planned(loaded, folder, parent, None, problems, fresh_code)
        pipeline.show_plan(loaded, folder, steps[:1], as_json)
        return
    with quiet_stdout(), lock.alone(folder), disk.watched(folder):
        step, *_ = steps = pipeline.planned(loaded, folder, parent, None, problems, fresh_code)
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
    print_json(counts) if as_json else show.counts(counts)


@app.command()
def check(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE|FOLDER|TABLE", help="A card's name in data/, a folder, or a manifest.")
    ],
    data_root: Annotated[Path | None, data_root_option("Holds the card's recordings.")] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="clean.csv", help="Write a manifest of the rows that training would use."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The page. Default: runs/data/NAME.html.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read recordings as training would, and say what is wrong with them.

    It lists the hours, speakers, rates, levels and lengths, and every fault with its file, line, value and fix, found
    by the code that training uses. A page with plots is written too. The layouts that are read are in docs/data.md.

    Exit status 2 if training would refuse the recordings.

    \b
    posttrain data check speechocean762 --data-root ../shared/data
    posttrain data check my_recordings --write my_recordings/clean.csv
    """
    from posttrain.corpus import checks, data_check
    from posttrain.report import data_page

    _check_outputs(page, write)
    with quiet_stdout():
        checked = data_check.check(source, data_root)
        place = data_page.write(checked, page or Path("runs/data") / f"{checked.root.resolve().name}.html")
        kept = data_check.write_clean(checked, write) if write else None
    facts, counts = checked.facts(), checked.counts
    if as_json:
        faults = [{"kind": f.kind, "training": checks.KINDS[f.kind][0], "what": f.what} for f in checked.faults]
        result = facts | {"usable": checked.usable, "counts": counts, "faults": faults, "page": str(place)}
        print_json(result if kept is None else result | {"kept": kept})
    else:
        for name, value in facts.items():
            line(f"{name:<13} {_said(value)}")
        for kind, count in counts.items():
            line(f"\n{kind}: {count:,} ({checks.KINDS[kind][0]}); {checks.meaning(kind)}")
            found = [fault.what for fault in checked.faults if fault.kind == kind]
            line("\n".join(f"  {what}" for what in found[:SHOWN]))
            if count > SHOWN:
                line(f"  and {count - SHOWN:,} more, in {place}")
        line(f"\n{place}" + ("" if kept is None else f"\n{write}: {kept:,} of {len(checked.rows):,} rows"))
    if not checked.usable:
        raise InputError(
            f"{source} cannot be trained on as it is: correct what is marked refused or dropped, or use --write"
        )


@app.command()
def get(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A card in data/ that names a data set of the hub.")],
    data_root: Annotated[Path, data_root_option("Where to put it.")],
    dry_run: DryRunOption = False,
) -> None:
    """Stream a data set of the Hugging Face hub into parquet files below the data root.

    The card names it: `hub: {id: openslr/librispeech_asr, config: clean, splits: [test], revision: …, rows: 2000}`.
    An interrupted download goes on where it stopped.

    \b
    posttrain data get my_corpus --data-root ~/speech
    """
    from posttrain.corpus import sources
    from posttrain.corpus.layouts import hub

    card = sources.card(source)
    if "hub" not in card:
        raise InputError(f"the card {source} names no data set of the hub; get it from {card.get('origin')}")
    about = card["hub"]
    if dry_run:
        line(f"would get {about['id']}, splits {', '.join(about['splits'])}, into {data_root / source}")
        return
    try:
        (data_root / source).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{data_root / source} cannot be made: {error.strerror}; name another --data-root") from error
    with quiet_stdout():
        made = hub.download(card, data_root / source)
    line(f"{data_root / source}: {len(made)} new files; look at it with: posttrain data check {source}")


def _check_outputs(page: Path | None, write: Path | None) -> None:
    """InputError before hours of reading for what cannot be written, or would overwrite a recording by its name."""
    for option, path, endings in (("--page", page, (".html", ".htm")), ("--write", write, (".csv", ".tsv"))):
        if path is not None and path.suffix.lower() not in endings:
            raise InputError(f"{option} is {path}, expected a name that ends in {' or '.join(endings)}; correct it")
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise InputError(f"{option} is {path}, expected a file in a folder that is there; correct it")


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part:,}" for name, part in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
