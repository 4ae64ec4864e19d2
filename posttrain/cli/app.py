"""The commands and their help. Slow imports are inside the commands, so --help answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli import data, early, export, hearing, remove, safety, seeds, show, transcribe, weights
from posttrain.cli.options import (
    AudiogramOption,
    CheckpointOption,
    DeviceOption,
    DryRunOption,
    Ear,
    FreshCodeOption,
    FromOption,
    JsonOption,
    RecipeArgument,
    RecipeOption,
    RunOption,
    SetOption,
    data_root_option,
)
from posttrain.cli.show import hide_loading, line, print_json, quiet_stdout
from posttrain.config.stage_table import TABLE
from posttrain.machine.streams import visible
from posttrain.use.enhance import Compression

app = typer.Typer(
    name="posttrain",
    help="Post-train a speech language model for hearing assistance; see what each stage gained, forgot and risked."
    "\n\nStart with: posttrain run tiny",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(safety.app)
app.add_typer(hearing.app)
app.add_typer(data.app)
app.command()(seeds.seeds)
app.command()(export.export)
app.command()(remove.remove)
app.command()(weights.weights)
app.command()(transcribe.transcribe)


@app.command("run")
def run_recipe(
    recipe: RecipeArgument = "tiny",
    run: RunOption = None,
    branch_from: FromOption = None,
    changes: SetOption = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many stages may run at a time on a CPU if they do not depend on each other. Each needs memory.",
        ),
    ] = 1,
    fresh_code: FreshCodeOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: every stage, an evaluation after each, and the report.

    A stopped run resumes with the same command; a finished run with nothing changed does nothing.

    \b
    posttrain run tiny
    posttrain run tiny --dry-run
    posttrain run tiny --run tiny_r16 --from tiny --set sft.rank=16
    posttrain run tiny_branches --from tiny --jobs 2
    posttrain run real_speech --set corpus.data_root=../shared/data
    """
    from posttrain.cli import pipeline

    pipeline.run(recipe, changes, run, branch_from, None, dry_run, as_json, jobs, fresh_code)


@app.command()
def stage(
    name: Annotated[
        str, typer.Argument(metavar="STAGE", help=f"{', '.join(TABLE)}, or the name of a node of the recipe.")
    ],
    recipe: RecipeOption = "tiny",
    run: RunOption = None,
    branch_from: FromOption = None,
    changes: SetOption = None,
    fresh_code: FreshCodeOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one stage of a recipe, after the stages that it needs, and evaluate it.

    \b
    posttrain stage align
    posttrain stage sft --from tiny --run tiny_full --set sft.adapter=full
    """
    from posttrain.cli import pipeline

    pipeline.run(recipe, changes, run, branch_from, name, dry_run, as_json, fresh_code=fresh_code)


@app.command()
def evaluate(
    checkpoint: CheckpointOption,
    probes: Annotated[
        Path | None,
        typer.Option(
            help="Your own items instead: JSON lines with id, probe, instruction, text, answer, grader; content, "
            "where several ask the same in other words."
        ),
    ] = None,
    lm_eval: Annotated[
        str | None,
        typer.Option(
            "--lm-eval", metavar="TASK,…", help="Tasks of lm-evaluation-harness; posttrain: the run's probes."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Of each of those tasks, so many items.")] = None,
    data_root: Annotated[Path | None, data_root_option("Look for held-out text there too.")] = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a checkpoint again, on its run's items or on your own; the ledger is not changed.

    If the data root has wikitext (data/wikitext.yaml), perplexity and L_f on it are measured too.
    With --lm-eval, which needs the extra of that name: public benchmarks, with their authors' prompts and adapters on.

    \b
    posttrain evaluate --checkpoint runs/tiny/sft
    posttrain evaluate --checkpoint runs/tiny/sft --data-root DATA_ROOT
    posttrain evaluate --checkpoint runs/tiny/sft --lm-eval posttrain,arc_challenge,hellaswag --limit 200
    posttrain evaluate --checkpoint runs/tiny/sft --probes mine.jsonl --json

    \b
    A line of mine.jsonl:
    {"id": "1", "probe": "task/mine", "instruction": "answer", "text": "what is two plus two",
     "answer": "four", "grader": "exact"}
    """
    from posttrain.errors import InputError
    from posttrain.machine.device import pick_device
    from posttrain.tasks.probe_file import read_probes

    tasks = [name.strip() for name in (lm_eval or "").split(",") if name.strip()]
    if (probes and lm_eval is not None) or (limit and not tasks) or (lm_eval is not None and not tasks):
        raise InputError("--lm-eval takes names of tasks, without --probes; --limit is for --lm-eval")
    early.evaluation(checkpoint, probes, data_root)

    if dry_run and tasks:
        line(f"would evaluate {checkpoint} on {', '.join(tasks)} through lm-evaluation-harness")
        return
    if dry_run:
        items = len(read_probes(probes)) if probes else "the run's"
        line(f"would evaluate {checkpoint} on {items} items")
        return
    hide_loading()
    from posttrain.evals import standalone

    with quiet_stdout():
        if tasks:
            metrics = standalone.benchmarks(checkpoint, pick_device(device), tasks, limit)
        else:
            metrics = standalone.evaluate_checkpoint(checkpoint, pick_device(device), probes, data_root)
    print_json(metrics) if as_json else show.metrics(metrics)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")] = "tiny",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write report.html, report.md and report.json of a run from its ledger and saved answers alone.

    \b
    posttrain report tiny
    """
    folder = early.run_folder(run)
    rows = early.rows(folder)
    if dry_run:
        what = "report.html, .md and .json and the cards of its adapters"
        line(f"would write {what} in {folder} from {len(rows)} ledger rows")
        return
    from posttrain.report import build, cards, summary

    with quiet_stdout():
        page = build(folder)
        cards.write(folder)
    if as_json:
        print_json(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    else:
        line("\n".join(summary(rows, page.parent)))


@app.command()
def study(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run of a study recipe: its name or folder.")] = "study",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the sft arms of a run over their seeds: writes study.html, .md and .json from its ledger alone.

    \b
    posttrain study study
    """
    folder = early.run_folder(run)
    early.rows(folder)
    if dry_run:
        line(f"would write study.html, study.md and study.json in {folder} from its ledger")
        return
    from posttrain.report.study import study_page

    page = study_page.build(folder)
    if as_json:
        print_json(json.loads((folder / "study.json").read_text(encoding="utf-8")))
    else:
        line("\n".join(study_page.told(page.parent)))


@app.command()
def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="A run's name or folder.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    stage: Annotated[
        str | None, typer.Option(help="Which stage of both. Default: the last one that both runs made themselves.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs: B − A for every metric that both have, paired item by item.

    \b
    posttrain compare tiny tiny_full
    posttrain compare tiny tiny_seed1 --stage sft
    """
    for run in (before, after):
        early.rows(early.run_folder(run), stage)
    from posttrain.report import compare as find_differences

    found = find_differences(early.run_folder(before), early.run_folder(after), stage)
    table = found.pop("table")
    print_json(found) if as_json else line("\n".join(table))


@app.command()
def gate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")] = "tiny",
    stage: Annotated[str | None, typer.Option(help="Which stage. Default: the run's last model.")] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Whose `gate` section holds. Default: the recipe the run names.")
    ] = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a run against the limits in the recipe's `gate` section; status 1, with reasons, if one is crossed.

    A limit is crossed when the whole 95 % interval is beyond it, passed when its upper bound is within. In between it
    is undecided: it passes, and the number of items that would decide is printed. Status 1 also if the ledger's figures
    differ from those that its saved answers give, or if a figure with a limit is missing.

    \b
    posttrain gate tiny
    posttrain gate tiny --stage sft --set gate.forgetting=0.1
    """
    folder = early.run_folder(run)
    early.rows(folder, stage)
    if recipe is not None:
        from posttrain.config.recipe import load_recipe

        load_recipe(recipe, changes)
    from posttrain.report.gate import judge

    verdict = judge(folder, stage, recipe, changes)
    print_json(verdict.as_dict()) if as_json else show.verdict(verdict)
    raise typer.Exit(int(bool(verdict.reasons)))


@app.command()
def enhance(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A recording, a folder of them, or a manifest (.csv, .tsv, .jsonl) with a column path. Any rate.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A .wav file to write (16 kHz, 32-bit float); for a folder or a manifest, a folder."
        ),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|NAME",
            help="An enhance stage's folder, or wiener, rnnoise or deepfilternet3. Default: the project's own.",
        ),
    ] = None,
    audiogram: AudiogramOption = None,
    ear: Annotated[Ear | None, typer.Option(help="Whose thresholds count. Default: the better ear.")] = None,
    denoise: Annotated[float, typer.Option(min=0, max=1, help="How much of the noise to take: 0 is none.")] = 1.0,
    compression: Annotated[
        Compression,
        typer.Option(help="Before the gain, by the audiogram. slow: over half a second; fast: over each syllable."),
    ] = "none",
    stream: Annotated[
        bool, typer.Option("--stream", help="Hop by hop, as from a microphone: the same samples.")
    ] = False,
    mono: Annotated[bool, typer.Option("--mono", help="Average two channels, as more than two always are.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|.svg", help="Draw one recording's spectrograms, before and after, and its gain over time."
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove noise from recordings and, with an audiogram, apply the gain of a hearing aid (NAL-R).

    Without an audiogram: normal hearing, no gain. With --compression, soft sounds get more gain and loud ones less.
    Levels are in dB SPL at the ear, where RMS 1 is 65 dB SPL.

    Two channels stay two and get the same gain, so that the direction of sounds survives. Recordings may last up to
    four hours. A folder's recordings are found at any depth and keep their places below OUT, with the ending .wav;
    files that are there are replaced.

    \b
    posttrain enhance noisy.wav better.wav
    posttrain enhance noisy.wav better.wav --plot better.png
    posttrain enhance recordings enhanced
    posttrain enhance clinic/manifest.csv enhanced --audiogram N3
    posttrain enhance noisy.wav better.wav --audiogram N3 --stream
    posttrain enhance noisy.wav better.wav --audiogram N3 --compression slow
    posttrain enhance noisy.wav better.wav --audiogram listeners.json:L0001 --checkpoint runs/tiny/enhance --json
    """
    from posttrain.use.enhance_files import enhance as run_enhance

    with quiet_stdout():
        result = run_enhance(
            source, target, checkpoint, audiogram, ear, denoise, stream, dry_run, compression, mono, plot
        )
    print_json(result) if as_json else show.enhanced(result)
    if "failed" in result:
        print(visible("\n".join(result["failed"])), file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def doctor(
    recipe: RecipeArgument = "tiny",
    run: RunOption = None,
    branch_from: FromOption = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check before a long run: versions, devices, memory, disk, and whether a recipe's parts are available and fit.

    Status 0: it can run here. Status 1: it cannot, and the lines marked ✗ say why.

    \b
    posttrain doctor
    posttrain doctor llama31_8b
    """
    from posttrain.cli import pipeline
    from posttrain.config.recipe import load_recipe
    from posttrain.run.doctor import examine

    loaded = load_recipe(recipe, changes)
    with quiet_stdout():
        findings = examine(loaded, *pipeline.folders(loaded, run, branch_from))
    print_json([finding.as_dict() for finding in findings]) if as_json else show.findings(findings)
    raise typer.Exit(int(any(not finding.ok for finding in findings)))
