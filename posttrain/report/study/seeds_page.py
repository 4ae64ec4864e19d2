"""Compares a recipe over seeds of everything: a pure function of its runs' ledgers → seeds.html, .md and .json."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain import files
from posttrain.errors import InputError
from posttrain.evals.metrics import of
from posttrain.report import code_versions, template
from posttrain.report.markdown import table
from posttrain.report.study.seeds import ALL, DELTAS, LACKING, NOT, SIGN, Figure, Held, Runs, figures, headlines, held
from posttrain.report.words import between, change, label, number, reference, unit
from posttrain.run import ledger

KINDS = ("html", "md", "json")
OWN = "the encoder's own transcript"
ABOUT = (
    "Each seed is a run of its own: corpus draw, base, encoder and every stage. “Over seeds” is the mean with its 95 % "
    "t interval, which says what other seeds would change; “range” is the lowest and the highest seed; “items” is the "
    "95 % interval of the first seed alone, which says what other test items would change. All seeds have the same "
    "test items."
)
KEY = {
    ALL: "every seed's own report finds it sure",
    SIGN: "it is on one side in every seed, but not sure in each",
    NOT: "it changes sides from seed to seed",
    LACKING: "a seed's run does not have the figure",
}
FIGURES_HEAD = ["figure", "stage", "over seeds", "range", "items, seed {}"]
HELD_HEAD = ["difference", "stage", "against", "by seed", "over seeds", "survives"]


def build(folders: Mapping[int, Path], out: Path) -> Path:
    """Write seeds.html, seeds.md and seeds.json into `out` from the ledgers of the runs; returns the path of the page.

    Raises InputError if a run has no ledger or rows of another seed.
    """
    runs = {seed: _rows(seed, folder) for seed, folder in folders.items()}
    made = _json(runs, folders)
    out.mkdir(parents=True, exist_ok=True)
    for kind, text in zip(KINDS, (_html(runs, folders), markdown(runs, folders), made), strict=True):
        files.write_text(out / f"seeds.{kind}", text)
    return out / "seeds.html"


def told(folders: Mapping[int, Path], page: Path) -> list[str]:
    """The headline figures and whether each finding survives, as lines for a terminal."""
    runs = {seed: _rows(seed, folder) for seed, folder in folders.items()}
    lines = [f"Seeds {', '.join(map(str, runs))} of everything: {', '.join(map(str, folders.values()))}"]
    for parts in (figure_table(runs), held_table(runs)):
        widths = [max(len(line[column]) for line in parts) for column in range(len(parts[0]))]
        texts = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in parts]
        lines += ["", *(text.rstrip() for text in texts)]
    return [*lines, "", *mixed(runs), str(page)]


def figure_table(runs: Runs, wanted: Sequence[Figure] | None = None) -> list[list[str]]:
    """Header, and one line per figure: mean over seeds, range, and the first seed's interval over items."""
    head = [*FIGURES_HEAD[:-1], FIGURES_HEAD[-1].format(next(iter(runs)))]
    return [head, *(_figure_line(figure) for figure in (headlines(runs) if wanted is None else wanted))]


def held_table(runs: Runs) -> list[list[str]]:
    """Header, and one line per difference that some seed calls sure: each seed's verdict, and whether it survives."""
    return [HELD_HEAD, *(_held_line(one) for one in held(runs))]


def mixed(runs: Runs) -> list[str]:
    """Warnings if the runs differ in the version of the code or the kind of device."""
    rows = [row for rows in runs.values() for row in rows]
    differing = {"code": code_versions.versions(rows), "device": {row.device for row in rows}}
    return [
        f"The runs differ in {what}: {', '.join(sorted(values))}; the spread is not of seeds alone."
        for what, values in differing.items()
        if len(values) > 1
    ]


def markdown(runs: Runs, folders: Mapping[int, Path]) -> str:
    """The page as Markdown."""
    parts = [f"# {_name(folders)}: seeds {', '.join(map(str, runs))} of everything", ABOUT, *mixed(runs)]
    parts += ["## Figures", table(figure_table(runs), raw=True, side="---")]
    parts += ["## Which findings survive", *(f"- {kind}: {said}" for kind, said in KEY.items())]
    parts += [table(held_table(runs), raw=True, side="---")]
    return "\n\n".join(parts) + "\n"


def _figure_line(figure: Figure) -> list[str]:
    name = figure.metric
    mean = f"{number(name, figure.mean.value)} {between(name, figure.mean.ci95)}".strip()
    span = f"{number(name, figure.low)} … {number(name, figure.high)}"
    return [label(name), figure.stage, mean, span, between(name, figure.items) or "–"]


def _held_line(one: Held) -> list[str]:
    name = one.metric
    sure = {1: "better", -1: "worse", 0: "not sure"}
    seeds = ", ".join(
        f"{change(name, one.changes[seed])} {sure[way]}" if seed in one.changes else "not measured"
        for seed, way in one.verdicts.items()
    )
    mean = f"{change(name, one.mean.value)}{unit(name)} {between(name, one.mean.ci95)}".strip()
    against = {"base": reference(name), "parent": "the stage before", "encoder": OWN, "": "nothing forgotten"}
    return [label(name), one.stage, against[one.against], seeds, mean, one.survives]


def _rows(seed: int, folder: Path) -> list[ledger.Row]:
    rows = ledger.read(folder / "ledger.jsonl")
    if not rows:
        raise InputError(f"{folder} has no ledger.jsonl with rows; run seed {seed} first")
    others = sorted({row.seed for row in rows if row.seed != seed})
    if others:
        raise InputError(f"{folder} has rows of seed {others[0]}, expected {seed}; give the runs a name with --run")
    return rows


def _json(runs: Runs, folders: Mapping[int, Path]) -> str:
    first = {(figure.stage, figure.metric) for figure in headlines(runs)}
    content = {
        "seeds": list(runs),
        "runs": {str(seed): str(folder) for seed, folder in folders.items()},
        "code": {str(seed): sorted({row.code for row in rows}) for seed, rows in runs.items()},
        "warnings": mixed(runs),
        "figures": [_figure(figure, (figure.stage, figure.metric) in first) for figure in figures(runs)],
        "findings": [_held(one) for one in held(runs)],
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _figure(figure: Figure, headline: bool) -> dict[str, Any]:
    return dataclasses.asdict(figure) | {"low": figure.low, "high": figure.high, "headline": headline}


def _held(one: Held) -> dict[str, Any]:
    told_as = {"survives": one.survives, "sure_over_seeds": one.mean.sign * (of(one.metric).better or 1)}
    return dataclasses.asdict(one) | told_as | {"compared": DELTAS[one.against][0] if one.against else "value"}


def _name(folders: Mapping[int, Path]) -> str:
    return next(iter(folders.values())).name


def _html(runs: Runs, folders: Mapping[int, Path]) -> str:
    row = next(iter(runs.values()))[0]
    return template.render(
        "seeds.html.j2",
        run=_name(folders),
        seeds=", ".join(map(str, runs)),
        about=ABOUT,
        warnings=mixed(runs),
        key=KEY,
        figures=figure_table(runs),
        everything=figure_table(runs, figures(runs)),
        findings=held_table(runs),
        facts=[("device", row.device), ("code", row.code), ("base", row.base)],
    )
