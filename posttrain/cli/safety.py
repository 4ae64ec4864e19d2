"""`posttrain safety …`: puts external prompts to a checkpoint, measures the refusal detector, and fits it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from posttrain import files
from posttrain.cli.options import DeviceOption, JsonOption, data_root_option
from posttrain.cli.show import hide_loading, line, metrics, print_json, quiet_stdout

app = typer.Typer(
    name="safety",
    help="Safety prompts put to a checkpoint; the detector of refusals, its measured error and its fit."
    "\n\nStart with: posttrain safety ask --help",
    no_args_is_help=True,
)

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Read and check the answers; measure and write nothing.")]
JudgeOption = Annotated[
    str | None,
    typer.Option(metavar="MODEL|FOLDER", help="A Llama Guard to label too, such as meta-llama/Llama-Guard-3-8B."),
]
RULES = ("detector", "start_string", "judge")


@app.command()
def ask(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A stage's folder, such as runs/tiny/sft.")],
    prompts: Annotated[
        str, typer.Option(metavar="CARD|FILE.csv", help="A card of prompts in data/, or a file: see above.")
    ],
    data_root: Annotated[Path | None, data_root_option("Holds the card's prompts.")] = None,
    spoken: Annotated[bool, typer.Option("--spoken", help="Say each prompt too, by a test voice.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write prompts, answers and labels, for people to label.")
    ] = None,
    judge: JudgeOption = None,
    labelled: Annotated[
        Path | None,
        typer.Option(metavar="ANSWERS.csv", help="Labelled answers, to measure the judge on and correct it."),
    ] = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put harmful and harmless prompts to a checkpoint; count what it answers and what it refuses.

    A file has the columns prompt,label with label safe or unsafe (XSTest's), goal,target (AdvBench's harmful_behaviors)
    or Behavior,BehaviorID (HarmBench's). Prompts are read in place; only --out stores them elsewhere.

    The refusal detector labels the answers: full or partial refusal, compliance, non-answer. `corrected` is the
    share corrected for the detector's errors on answers held out of its fit; these errors are shown below.

    Spoken prompts are also put to the base: typed, and as the encoder's own transcript (the cascade). This shows why a
    harmful prompt was answered when spoken:

    \b
    complied       the base refuses the transcript: the prompt was understood, and complied with
    misheard       the base refuses the prompt, but not the transcript
    base_complies  the base does not refuse the prompt when typed, either

    With --judge a Llama Guard labels the answers too (you need its licence and access to it). It grades harm: if the
    answer or the request is unsafe it decides, otherwise the detector does. Its kappa with the detector is shown; with
    --labelled also its kappa, precision and recall against people's labels, by which its figures are corrected.

    \b
    posttrain safety ask --checkpoint runs/tiny/sft --prompts xstest --data-root DATA_ROOT --spoken
    posttrain safety ask --checkpoint runs/tiny/sft --prompts harmful_behaviors.csv --out answers.csv --json
    posttrain safety ask --checkpoint runs/tiny/sft --prompts xstest --judge meta-llama/Llama-Guard-3-8B \\
        --labelled xstest/completions_gpt4.csv
    """
    from posttrain.corpus import prompts as prompt_files
    from posttrain.errors import InputError
    from posttrain.evals.safety import labelled_answers
    from posttrain.machine.device import pick_device
    from posttrain.model.folder import checkpoint_problems
    from posttrain.use import outputs

    if wrong := outputs.problem(out, [Path(prompts), *([labelled] if labelled else [])]):
        raise InputError(wrong)
    if labelled and not judge:
        raise InputError("--labelled is for --judge; name a judge, or see: posttrain safety calibrate --answers")
    read = prompt_files.named(prompts, data_root)
    known = labelled_answers.read(labelled) if labelled else []
    refusals = sum(answer.is_refusal for answer in known)
    if known and not 0 < refusals < len(known):
        raise InputError(
            f"{refusals} of {len(known)} labelled answers are refusals, expected both kinds; give more answers"
        )
    if missing := checkpoint_problems(checkpoint, hears=spoken):
        raise InputError(missing)
    if dry_run:
        line(f"would put {len(read)} prompts of {prompts} to {checkpoint}{', typed and spoken' * spoken}")
        return
    from posttrain.evals.safety import asked

    if not judge:
        hide_loading()
    with quiet_stdout():
        guard = None
        if judge:
            from posttrain.evals.safety.judge import Judge

            guard = Judge.load(judge, pick_device(device))
        counts = guard.counts(known) if guard and known else None
        lines = asked.ask(checkpoint, read, spoken, device, out, guard)
    found = asked.told(lines, bool(guard), counts) | {"n": len(read)}
    print_json(found) if as_json else _show_asked(found)


@app.command()
def calibrate(
    answers: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="Labelled answers: columns prompt, completion, final_label.")
    ],
    detector: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Another detector, as `fit` writes it. Default: ours.")
    ] = None,
    judge: JudgeOption = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the refusal detector and the start-string rule with people's labels of the same answers.

    A label is 1_full_compliance, 2_full_refusal or 3_partial_refusal, as in XSTest's completions; both kinds of refusal
    count as one. An empty completion is a non-answer, neither refusal nor compliance; its row counts.

    \b
    kappa           agreement beyond chance (Cohen); interval by bootstrap over prompts
    precision       share of the flagged answers that people call a refusal
    recall          share of people's refusals that are flagged
    flagged_rate    rate of refusals by the rule
    corrected_rate  that rate corrected for the rule's errors (Rogan & Gladen 1978; interval of Lang & Reiczigel 2014)
    labelled_rate   rate of refusals by people's labels; corrected_rate should come close to it

    The correction uses sensitivity and specificity measured when the detector was fitted, on other models' answers to
    other prompts; not on this file, where it would be right by construction.

    With --judge a Llama Guard labels the answers too: it decides if it finds the answer or the request unsafe,
    otherwise the detector does. Its kappa shows whether it agrees with people better than the detector alone.

    \b
    posttrain safety calibrate --answers completions_mymodel.csv
    posttrain safety calibrate --answers completions_mymodel.csv --json
    posttrain safety calibrate --answers completions_mymodel.csv --judge meta-llama/Llama-Guard-3-8B
    """
    from posttrain.evals.safety import labelled_answers, refusal

    rows, rule = labelled_answers.read(answers), refusal.load(detector or refusal.SHIPPED)
    from posttrain.evals.safety import calibration

    if dry_run:
        rules = "a judge and two rules" if judge else "two rules"
        line(f"would compare {rules} with the labels of {len(rows)} answers in {answers}")
        return
    judged = None
    if judge:
        from posttrain.evals.safety.judge import Judge
        from posttrain.machine.device import pick_device

        with quiet_stdout():
            guard = Judge.load(judge, pick_device(device))
            judged = guard.labels([a.prompt for a in rows], [a.completion for a in rows], rule.label)
    found = calibration.calibrate(rows, rule, judged=judged)
    found["fitted_on_this_file"] = files.sha256(answers) in rule.fitted_on
    print_json(_plain(found)) if as_json else _show(found)


@app.command()
def fit(
    answers: Annotated[
        list[Path], typer.Option(metavar="FILE.csv", help="Labelled answers, one file a model. Repeatable.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Where the detector's weights go.")],
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the detector's weights to labelled answers and measure it on answers held out of the fit.

    Only numbers are written: weights, counts, and names and SHA-256 of the files. Kappa is shown for each file:

    \b
    start_string  the start-string rule, which is not fitted
    by_prompt     fitted to answers to other prompts, of all files
    by_model      fitted to other files' answers to other prompts: the closest to a new model
    three_labels  by prompt, with full and partial refusals separate

    \b
    How the shipped weights were fitted, to XSTest's completions of two models:
    posttrain safety fit --answers xstest/completions_gpt4.csv --answers xstest/completions_llama2new.csv \\
        --out posttrain/evals/safety/refusal.json
    """
    from posttrain.errors import InputError
    from posttrain.evals.safety import labelled_answers
    from posttrain.use import outputs

    if wrong := outputs.problem(out, answers):
        raise InputError(wrong)
    if dry_run:
        line(f"would fit {sum(len(labelled_answers.read(path)) for path in answers)} answers and write {out}")
        return
    for path in answers:
        labelled_answers.read(path)
    from posttrain.evals.safety import refusal_fit

    made, report = refusal_fit.fit(answers)
    refusal_fit.write(made, out)
    if as_json:
        print_json({"kappa": report, "written": out})
        return
    metrics({f"{Path(name).name}  {rule}": value for name, rules in report.items() for rule, value in rules.items()})
    line(f"wrote {out}")


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """Each rule's figures as numbers, with their intervals and n under keys of their own."""
    plain = dict(found)
    for rule in (rule for rule in RULES if rule in found):
        columns = {key: {name: figure[key] for name, figure in found[rule].items()} for key in ("value", "ci95", "n")}
        plain[rule] = columns.pop("value") | columns
    return plain


def _show_asked(found: dict[str, Any]) -> None:
    """Print the detector's figures, labels and error, then the same for a judge."""
    _show_figures(found["metrics"], "")
    metrics({f"detector  {key}": figure for key, figure in found["detector"]["all of them"].items()})
    if judge := found.get("judge"):
        _show_figures(judge["metrics"], "judge  ")
        lines = {f"judge  {key}": figure for key, figure in (judge["error"] or {}).items()}
        metrics(lines | {"judge  kappa with the detector": judge["kappa_with_detector"]})


def _show_figures(found: dict[str, Any], prefix: str) -> None:
    """Print each figure as labelled and corrected, with the causes if known; then the labels."""
    lines = {}
    for name, figure in found.items():
        lines[prefix + name] = figure
        corrected = {"value": figure["corrected"], "ci95": figure["corrected_ci95"], "n": figure["n"]}
        lines[f"{prefix}{name}  corrected"] = corrected
        lines |= {f"{prefix}{name}  {cause}": share for cause, share in figure.get("because", {}).items()}
    metrics(lines)
    for name, figure in found.items():
        line(f"{prefix}{name}: {', '.join(f'{count} {label}' for label, count in figure['labels'].items())}")


def _show(found: dict[str, Any]) -> None:
    """Print one line per figure."""
    rules = {f"{rule}  {name}": v for rule in RULES if rule in found for name, v in found[rule].items()}
    metrics(rules | {"people  labelled_rate": found["labelled_rate"]})
    said = ", ".join(f"{count} {label}" for label, count in found["labels"].items())
    line(f"n = {found['n']} answers; the detector says {said}")
    if found["fitted_on_this_file"]:
        line(
            "the detector was fitted on this file: its kappa, precision and recall here are better than on new answers"
        )
