"""Exports an enhancer as a folder of its own: weights, spec, and a card with its data, licences and figures."""

import shutil
from pathlib import Path
from typing import Any

from posttrain import files
from posttrain.acoustics import enhancer
from posttrain.config import assets
from posttrain.export.listing import listed
from posttrain.model import origin
from posttrain.model.encoders import loading as encoders
from posttrain.report import cards
from posttrain.report.markdown import plain, table
from posttrain.run import ledger, place
from posttrain.run.ledger import Row
from posttrain.use.enhance import FIGURES

ABOUT = (
    "A causal denoiser of speech at 16 kHz, which may heed the listener's audiogram: `posttrain enhance IN OUT "
    "--checkpoint FOLDER`. Weights are safetensors; no code is in this folder."
)
EIGHT_BITS = (
    "Its matrices are 8-bit integers with a scale for each row, and are floats again once loaded. Figures are those of "
    "the weights before that."
)
SPLITS = (
    "Sources of the corpus. Each is split by speaker or recording, so some only test; clean speech that is noisy "
    "itself is left out of training (`enhance.own_snr_db`)."
)
LICENCE = "The licences of the recordings above may bind what learned from them; whoever publishes the weights decides."


def export(checkpoint: Path, folder: Path, eight_bits: bool = False) -> dict[str, Any]:
    """Write an enhancer's files and its card (README.md) to a new folder; returns its files, sizes and a hash.

    With the encoder that was trained with it, if there is one. eight_bits: matrices as 8-bit integers; the figures stay
    those of the enhancer as it was trained.

    InputError if the enhancer is damaged. The figures are those of its row in its run's ledger, if that is beside it.
    """
    made = enhancer.load(checkpoint)
    with files.new_folder(folder) as partial:
        if eight_bits:
            enhancer.save(partial, made, files.read_json(checkpoint / enhancer.SPEC).get("heard_by"), eight_bits)
        for name in () if eight_bits else (enhancer.WEIGHTS, enhancer.SPEC):
            shutil.copyfile(checkpoint / name, partial / name)
        if (encoder := checkpoint / encoders.TRAINED_WITH).is_dir():
            shutil.copytree(encoder, partial / encoders.TRAINED_WITH)
        row = _row(checkpoint)
        if row is not None:
            files.write_json(partial / FIGURES, row.metrics)
        elif (checkpoint / FIGURES).is_file():
            shutil.copyfile(checkpoint / FIGURES, partial / FIGURES)
        (partial / "README.md").write_text(card(checkpoint, row, partial, eight_bits), encoding="utf-8")
    return {"checkpoint": str(checkpoint), "folder": str(folder), "adapter": None, **listed(folder)}


def card(checkpoint: Path, row: Row | None, folder: Path, eight_bits: bool) -> str:
    """The card: what it is, its sources with their licences, every figure of its row, how it was made.

    folder: that of the weights to be hashed.
    """
    about = [ABOUT, EIGHT_BITS] if eight_bits else [ABOUT]
    if row is None:
        none = "It has no figures here: the ledger of its run was not beside it.\n"
        return "\n\n".join([f"# {plain(checkpoint.name)}", *about, none])
    weights = {enhancer.WEIGHTS: files.sha256(folder / enhancer.WEIGHTS)}
    parts = [f"# {plain(row.run)}, {plain(row.stage)}", *about, "## Its corpus", SPLITS, _sources(checkpoint)]
    parts += [f"Recipe: {plain(str(row.config.get('recipe', '–')))}, by `make enhance RECIPE=… DATA_ROOT=…`."]
    parts += [*cards.every_figure(row), "## How it was made", cards.made(row, weights)]
    return "\n\n".join([*parts, "## Licence", LICENCE, "## Limits", cards.LIMITS]) + "\n"


def _row(checkpoint: Path) -> Row | None:
    """Its row in the ledger beside it, if there is one."""
    rows = ledger.read(checkpoint.parent / "ledger.jsonl")
    return next((row for row in rows if _is(checkpoint, row)), None)


def _is(checkpoint: Path, row: Row) -> bool:
    found = place.of_row(checkpoint.parent, row)
    return found is not None and found.samefile(checkpoint)


def _sources(checkpoint: Path) -> str:
    """A table of the corpus's sources; a source without a card of the project is named alone."""
    summary = files.read_json(origin.resolve(checkpoint).corpus / "corpus.json")
    lines = [["synthetic speech", "espeak-ng, by posttrain", "speech by espeak-ng's formant synthesis"]]
    for name in summary["config"].get("sources", []):
        known = name in assets.names("data")
        about = assets.card(name) if known else {}
        lines.append([str(name), str(about.get("origin", "own recordings")), str(about.get("licence", "not known"))])
    return table([["source", "origin", "licence"], *lines], side="---")
