"""Rows that a card chooses by the names that their authors gave them: a file below data/ lists one name a line."""

from collections.abc import Iterable
from pathlib import Path

from posttrain.corpus.layouts.entry import Entry
from posttrain.readers import tables, text_lines


def chosen(entries: Iterable[Entry], listed: Path, problems: list[str]) -> list[Entry]:
    """The entries whose id the file `listed` holds, in its order; names that no entry has are added to `problems`."""
    lines = {line.strip(): number for number, line, _ in text_lines.read(listed, "names of recordings", problems)}
    found: dict[str | None, Entry] = {}
    for entry in entries:
        if entry.id in lines and (other := found.setdefault(entry.id, entry)) is not entry:
            problems.append(
                f"{entry.table}:{entry.line}: {tables.shown(str(entry.id))}, which {listed.name} names, is also in"
                f" {other.table}:{other.line}; keep one of the two"
            )
    lacking = [name for name in lines if name not in found]
    if lacking:
        problems.append(
            f"{listed}:{lines[lacking[0]]}: {len(lacking)} of the {len(lines)} recordings listed are not in the folder,"
            f" the first is {tables.shown(lacking[0])}; get the whole corpus"
        )
    return [found[name] for name in lines if name in found]
