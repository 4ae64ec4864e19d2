"""posttrain hearing: how many words people repeat, predicted from HASPI and their audiogram."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from posttrain.cli.show import print_json

app = typer.Typer(
    name="hearing",
    help="How many words people repeat, predicted from HASPI and their audiogram, and how far off that is."
    "\n\nStart with: posttrain hearing validate --responses listener_responses.csv --data-root DATA_ROOT",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ResponsesOption = Annotated[
    Path,
    typer.Option(
        "--responses",
        metavar="FILE.csv",
        help="A line for each sentence heard: listener, correctness (percent), haspi_better_ear_precomputed (may be"
        " empty); system and scene where known.",
    ),
]
ListenersOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--listeners",
        metavar="FILE",
        help="Audiograms: Clarity's listeners.json, or a CSV with listener,ear,hz250,hz500,… Repeatable.",
    ),
]
DataRootOption = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="FOLDER",
        envvar=["POSTTRAIN_DATA", "DATA_ROOT"],
        help="Audiograms of other listeners are looked up in its folder clarity, then beside the responses.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")]


@app.command()
def validate(
    responses: ResponsesOption,
    listeners: ListenersOption = None,
    data_root: DataRootOption = None,
    coefficients: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Written by hearing fit. Default: the package's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict what listeners repeated and compare: RMSE in percentage points, correlation, beside HASPI alone.

    Rows without HASPI are dropped and counted. Intervals are over listeners; a difference below 0 is in favour of the
    model. Listeners whom the coefficients were fitted on are named: figures of new ones are what counts.

    \b
    posttrain hearing validate --responses listener_responses.csv --data-root DATA_ROOT
    posttrain hearing validate --responses mine.csv --listeners listeners.json --json
    """
    from posttrain.evals import responses as people
    from posttrain.evals import words_correct

    model = words_correct.load(coefficients or words_correct.SHIPPED)
    rows, audiograms = people.load(responses, listeners or [], data_root)
    found = words_correct.validate(rows, audiograms, model)
    if as_json:
        print_json(found)
        return
    _table({"haspi and audiogram": found})
    print(f"{found['n']} rows of {found['listeners']} listeners; {found['dropped']} rows without HASPI dropped")
    if found["also_fitted_on"]:
        print(f"also fitted on, so not new to the model: {', '.join(found['also_fitted_on'])}")


@app.command()
def fit(
    responses: ResponsesOption,
    listeners: ListenersOption = None,
    data_root: DataRootOption = None,
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Where the coefficients go.")] = Path(
        "words_correct.json"
    ),
    as_json: JsonOption = False,
) -> None:
    """Fit the coefficients on listeners and say how well listeners left out are predicted; takes minutes.

    The package's own were fitted on the Clarity challenge's listeners (data/clarity.yaml), by the second line below.

    \b
    posttrain hearing fit --responses mine.csv --listeners listeners.json --out mine.json
    posttrain hearing fit --responses DATA_ROOT/clarity/listener_responses.csv --data-root DATA_ROOT \\
      --out posttrain/evals/words_correct.json
    """
    from posttrain.errors import InputError
    from posttrain.evals import responses as people
    from posttrain.evals import words_correct

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"--out is {out}, expected a file in a folder that is there")
    everyone, audiograms = people.load(responses, listeners or [], data_root)
    rows = words_correct.Rows.of(everyone, audiograms)
    left_out = words_correct.assess(
        rows, progress=lambda step: print(f"leaving listeners out: {step}", file=sys.stderr)
    )
    model = words_correct.fit(rows, words_correct.choose(rows, words_correct.grid()))
    words_correct.save(model, out)
    dropped = len(everyone) - len(rows.haspi)
    if as_json:
        print_json({"out": str(out), "left_out": left_out, "n": model.rows, "dropped": dropped})
        return
    _table(left_out)
    print(f"{model.rows} rows of {len(model.listeners)} listeners, each predicted by a model fitted on the others")
    print(f"{dropped} rows without HASPI dropped; coefficients of all listeners are in {out}")


def _table(found: dict[str, dict[str, Any]]) -> None:
    """A line for each model, beside HASPI alone on the same rows."""
    width = max(map(len, found))
    print(f"{'RMSE in points':<{width}}  {'model':>17}  {'HASPI alone':>17}  {'difference':>19}  correlation")
    for name, figures in found.items():
        both = [_interval(figures[key], figures["ci95"][key], 17) for key in ("rmse", "rmse_haspi_only")]
        difference = _interval(figures["difference"]["value"], figures["difference"]["ci95"], 19)
        pearson = figures["pearson"]
        shown = "–" if pearson is None else f"{pearson:.2f}"
        print(f"{name:<{width}}  {both[0]}  {both[1]}  {difference}  {shown}")


def _interval(value: float, ci95: list[float], width: int) -> str:
    return f"{f'{value:.1f} [{ci95[0]:.1f}, {ci95[1]:.1f}]':>{width}}"
