"""The page of `posttrain data check`: what recordings are like, and what is wrong with them."""

from pathlib import Path

import numpy as np
from markupsafe import Markup

from posttrain import files
from posttrain.corpus import checks
from posttrain.corpus.data_check import Checked
from posttrain.report import charts, template

BINS = 24
LISTED = 200
"""Faults of one kind on the page."""


def write(checked: Checked, path: Path) -> Path:
    """Write the page and return its path."""
    faults = {kind: [fault.what for fault in checked.faults if fault.kind == kind] for kind in checked.counts}
    html = template.render(
        "data.html.j2",
        name=checked.name,
        facts=checked.facts(),
        usable=checked.usable,
        plots=_plots(checked),
        faults=[
            (kind, *checks.KINDS[kind][:1], checks.meaning(kind), len(found), found[:LISTED])
            for kind, found in faults.items()
        ],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.write_bytes(path, html.encode("utf-8", "backslashreplace"))  # names that are not UTF-8


def _plots(checked: Checked) -> list[tuple[str, Markup]]:
    """Histograms over the recordings that can be read."""
    heard = [(row, checked.sounds[id(row)]) for row, _ in checked.rows if id(row) in checked.sounds]
    values = {
        ("Length", "s"): [sound.duration_s for _, sound in heard],
        ("Level of the speech", "dBFS"): [sound.level_dbfs for _, sound in heard if np.isfinite(sound.level_dbfs)],
        ("Share of the time that is not silence", "%"): [100 * sound.active_s / sound.duration_s for _, sound in heard],
        ("Characters for a second of sound", ""): [len(r.text) / s.active_s for r, s in heard if s.active_s and r.text],
    }
    made = []
    for (title, unit), found in values.items():
        if found:
            counts, edges = np.histogram(np.round(found, 6), min(BINS, max(4, len(set(found)))))
            made.append((title, charts.histogram(title, edges.tolist(), counts.tolist(), unit)))
    return made
