"""Arguments and options shared by several commands, with their help."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from posttrain.cli import early


def data_root_option(text: str) -> Any:
    """The option --data-root, which the environment may give too, with its help."""
    return typer.Option("--data-root", metavar="FOLDER", envvar=["POSTTRAIN_DATA", "DATA_ROOT"], help=text)


Ear = Literal["left", "right"]
Task = Literal["repeat", "simplify", "answer", "command", "help", "follow"]
RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE|FILE.yaml", help="A name in posttrain/recipes, or a file.")
]
RecipeOption = Annotated[str, typer.Option("--recipe", help="A name in posttrain/recipes, or a YAML file.")]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", metavar="NAME|FOLDER", help="The run's folder: runs/NAME, or a path. Default: the recipe's name."
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="RUN", help="Branch from that run: reuse its stages wherever nothing changed."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change an option, such as sft.learning_rate=1e-4. Repeatable."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done and what it needs; write nothing.")
]
FreshCodeOption = Annotated[
    bool,
    typer.Option("--fresh-code", help="Run stages again that other code than this made, and what depends on them."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")]
CheckpointOption = Annotated[
    Path, typer.Option("--checkpoint", help="A stage's folder, such as runs/tiny/sft, as the ledger names it.")
]
AudiogramOption = Annotated[
    str | None,
    typer.Option(metavar="N3|FILE[:LISTENER]", help="A standard audiogram (N1–N7, S1–S3), or listeners.json or CSV."),
]
DeviceOption = Annotated[str, typer.Option("--device", callback=early.device, help="auto, cpu or cuda.")]
