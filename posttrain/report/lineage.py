"""The rows of a ledger that a row refers to: its references, its parent, the stages that led to it."""

from posttrain.config.stage_table import StageSpec, spec_of
from posttrain.run.ledger import Row


def kind(row: Row) -> str:
    """The kind of stage behind the row, whatever its node is called."""
    return str(row.config.get("stage", row.stage))


def spec(row: Row) -> StageSpec:
    """The table's row of the stage behind the ledger's row."""
    return spec_of(kind(row))


def is_model(row: Row) -> bool:
    """Whether the row is of a speech model."""
    return spec(row).leaves == "speech"


def references(row: Row, rows: list[Row]) -> list[Row]:
    """Rows of the base and of the encoder that the row's figures refer to, without the row itself."""
    named = dict(row.config.get("references") or {}).values()
    return [other for other in rows if other.checkpoint in named and other.checkpoint != row.checkpoint]


def parent(row: Row, rows: list[Row]) -> Row | None:
    """The row of the model that the row's stage started from; None if there is none."""
    return next((other for other in rows if other.checkpoint == row.parents.get("model")), None)


def lineage(row: Row, rows: list[Row]) -> list[Row]:
    """The rows from the base that the row refers to, through every model in between, to the row."""
    found = [row]
    while (before := parent(found[0], rows)) is not None and before not in found:
        found.insert(0, before)
    base = (row.config.get("references") or {}).get("base")
    return [other for other in rows if other.checkpoint == base and other not in found] + found
