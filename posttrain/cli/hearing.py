"""posttrain hearing: measures a run's enhancer for listeners, and predicts from HASPI how many words people repeat."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from posttrain.cli import early, show
from posttrain.cli.options import DeviceOption, JsonOption, data_root_option
from posttrain.cli.show import line, print_json

app = typer.Typer(
    name="hearing",
    help="What listeners hear: a run's enhancer measured for each, and the words that people repeat, predicted."
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
    data_root_option("Audiograms of other listeners are looked up in its folder clarity, then beside the responses."),
]


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
    """Predict what listeners repeated; report RMSE in percentage points and correlation, compared with HASPI alone.

    Rows without HASPI are dropped and counted. Intervals are over listeners; a difference below 0 favours the model.
    Listeners that the coefficients were fitted on are named, since only figures of new listeners count.

    \b
    posttrain hearing validate --responses listener_responses.csv --data-root DATA_ROOT
    posttrain hearing validate --responses mine.csv --listeners listeners.json --json
    """
    from posttrain.evals.hearing import responses as people

    rows, audiograms = people.load(responses, listeners or [], data_root)
    from posttrain.evals.hearing import words_correct

    model = words_correct.load(coefficients or words_correct.SHIPPED)
    found = words_correct.validate(rows, audiograms, model)
    if as_json:
        print_json(found)
        return
    _table({"haspi and audiogram": found})
    line(f"{found['n']} rows of {found['listeners']} listeners; {found['dropped']} rows without HASPI dropped")
    if found["also_fitted_on"]:
        line(f"also fitted on, so not new to the model: {', '.join(found['also_fitted_on'])}")


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
    """Fit the coefficients on listeners and report how well left-out listeners are predicted; takes minutes.

    The package's own were fitted on the Clarity challenge's listeners (data/clarity.yaml), with the second command
    below.

    \b
    posttrain hearing fit --responses mine.csv --listeners listeners.json --out mine.json
    posttrain hearing fit --responses DATA_ROOT/clarity/listener_responses.csv --data-root DATA_ROOT \\
      --out posttrain/evals/hearing/words_correct.json
    """
    from posttrain.errors import InputError
    from posttrain.evals.hearing import responses as people
    from posttrain.use import outputs

    if wrong := outputs.problem(out, [responses, *(listeners or [])]):
        raise InputError(wrong)
    everyone, audiograms = people.load(responses, listeners or [], data_root)
    from posttrain.evals.hearing import words_correct

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
    line(f"{model.rows} rows of {len(model.listeners)} listeners, each predicted by a model fitted on the others")
    line(f"{dropped} rows without HASPI dropped; coefficients of all listeners are in {out}")


@app.command()
def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run with an enhance stage: its name or folder.")
    ] = "tiny",
    listener: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N3|FILE[:LISTENER]", help="Repeatable. Default: N1, N3, S2 and one of DATA_ROOT/clarity."
        ),
    ] = None,
    data_root: DataRootOption = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Whose word errors are told. Default: the last model of the run, or of that whose corpus it shares.",
        ),
    ] = None,
    snr: Annotated[list[float] | None, typer.Option(metavar="DB", help="Repeatable. Default: 5.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Of the speech. Repeatable. Default: made.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Of each cell; HASPI and HASQI take seconds a clip and ear.")] = 10,
    denoise: Annotated[float, typer.Option(min=0, max=1, help="How much of the noise the enhancer takes.")] = 1.0,
    jobs: Annotated[int, typer.Option(min=0, help="Processes. Default: as many as there are cores.")] = 0,
    device: DeviceOption = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be measured; measure nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a run's enhancer for listeners: unaided, fitted (NAL-R), enhanced and both; updates ledger and report.

    Measures HASPI, HASQI and predicted words correct at the better ear, SI-SDR, STOI and PESQ, and the word errors of
    the Speech-Llama on these clips through the simulated loss; also its word errors with and without --enhance. Takes
    minutes; a stopped command resumes, since scores are kept in RUN/listeners.

    \b
    posttrain hearing evaluate tiny
    posttrain hearing evaluate tiny --data-root DATA_ROOT --listener N3 --listener L0001 --snr 0 --snr 5
    """
    import os

    folder = early.run_folder(run)
    early.rows(folder, lacks="finished enhance stage")
    from posttrain.machine.device import pick_device
    from posttrain.use import listeners

    show.hide_loading()
    wanted = listeners.plan(folder, listener or (), data_root, model, source or (), snr or (5.0,), clips, denoise)
    if dry_run:
        print_json(wanted.as_dict())
        return
    from posttrain.report import build

    with show.quiet_stdout():
        row = listeners.evaluate(wanted, jobs or os.cpu_count() or 1, pick_device(device))
        build(folder)
    found = listeners.figures(row)
    print_json(found) if as_json else show.metrics(found)


def _table(found: dict[str, dict[str, Any]]) -> None:
    """Print a line for each model, next to HASPI alone on the same rows."""
    width = max(map(len, found))
    line(f"{'RMSE in points':<{width}}  {'model':>17}  {'HASPI alone':>17}  {'difference':>19}  correlation")
    for name, figures in found.items():
        both = [_interval(figures[key], figures["ci95"][key], 17) for key in ("rmse", "rmse_haspi_only")]
        difference = _interval(figures["difference"]["value"], figures["difference"]["ci95"], 19)
        pearson = figures["pearson"]
        shown = "–" if pearson is None else f"{pearson:.2f}"
        line(f"{name:<{width}}  {both[0]}  {both[1]}  {difference}  {shown}")


def _interval(value: float, ci95: list[float], width: int) -> str:
    return f"{f'{value:.1f} [{ci95[0]:.1f}, {ci95[1]:.1f}]':>{width}}"
