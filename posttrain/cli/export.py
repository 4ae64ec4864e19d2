"""posttrain export: a checkpoint as an ordinary Hugging Face folder, or an enhancer as a folder of its own."""

from pathlib import Path
from typing import Annotated

import typer

from posttrain.cli import early
from posttrain.cli.options import DryRunOption, JsonOption
from posttrain.cli.show import hide_loading, line, print_json, quiet_stdout


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT", help="A speech model's or an enhancer's folder, such as runs/tiny/sft."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder to write.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge the adapter into the weights. Default: a PEFT adapter beside them.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="An enhancer's matrices as 8-bit integers, a quarter of the size.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a checkpoint as an ordinary Hugging Face folder: weights, processor, model card.

    `from_pretrained` and `generate` of the classes in posttrain.export give the same answers as `posttrain transcribe`;
    the card (README.md) shows how to load them. Weights are safetensors; no code is in the folder. The result is a list
    of the files with their sizes, and a hash of them all. Of an enhance stage, the denoiser and its card are written.

    \b
    posttrain export runs/tiny/sft my_model --merge
    posttrain export runs/tiny/sft my_model_and_adapter
    posttrain export runs/tiny/grpo my_model --merge --json
    posttrain export runs/tiny/enhance my_denoiser --int8
    """
    early.export(checkpoint, folder, merge, int8)
    if dry_run:
        line(f"would write {checkpoint} to {folder}" + (", merged" if merge else "") + (", in 8 bits" if int8 else ""))
        return
    hide_loading()
    with quiet_stdout():
        if early.is_enhancer(checkpoint):
            from posttrain.export.enhancer import export as export_enhancer

            written = export_enhancer(checkpoint, folder, int8)
        else:
            from posttrain.export.export import export as export_model

            written = export_model(checkpoint, folder, merge)
    if as_json:
        print_json(written)
        return
    for file in written["files"]:
        line(f"{file['bytes']:>13,}  {file['name']}")
    line(f"{written['bytes']:>13,}  bytes in {folder}, SHA-256 {written['hash']}")
    line(f"{folder / 'README.md'} says how to use it")
