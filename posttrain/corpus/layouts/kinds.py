"""The layouts that can be read: name → layout."""

from pathlib import Path

from posttrain.corpus.layouts import table
from posttrain.corpus.layouts.entry import Layout

LAYOUTS: dict[str, Layout] = {
    "table": Layout("manifest.csv or manifest.tsv with columns path, text, …", table.found, table.read),
}


def layout_of(root: Path) -> str | None:
    """Name of the layout that a folder has; None if it has none of them."""
    return next((name for name, layout in LAYOUTS.items() if layout.found(root)), None)
