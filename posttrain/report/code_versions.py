"""Versions of the code that produced a run's rows; figures of different versions may differ for that reason alone."""

from posttrain.run.ledger import Row

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def versions(rows: list[Row]) -> dict[str, list[str]]:
    """Version of the package → the stages it trained or evaluated, oldest first; equal sources count as one version."""
    found: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for row in rows:
        for version in dict.fromkeys(_of(row)):
            source = version.rpartition("+")[2]
            found.setdefault(names.setdefault(source, version), []).append(row.stage)
    return found


def said(rows: list[Row]) -> str:
    """A note that names the versions and their stages; empty if there is only one version."""
    found = versions(rows)
    if len(found) < 2:
        return ""
    named = [f"{_letter(n)} {version} ({', '.join(stages)})" for n, (version, stages) in enumerate(found.items())]
    return (
        f"Made by {len(found)} versions of the code: {'; '.join(named)}. Differences between their figures may come"
        " from the code; posttrain run --fresh-code makes all by one."
    )


def marks(rows: list[Row]) -> dict[str, str]:
    """Stage → the letters that `said` gives its versions; empty if there is only one version."""
    found = versions(rows)
    if len(found) < 2:
        return {}
    by_stage: dict[str, str] = {}
    for n, stages in enumerate(found.values()):
        for stage in stages:
            by_stage[stage] = by_stage.get(stage, "") + _letter(n)
    return by_stage


def _of(row: Row) -> list[str]:
    """The versions that trained and evaluated the row's model."""
    evaluated = row.config.get("evaluation_code")
    return [row.code, *([str(evaluated["version"])] if isinstance(evaluated, dict) and "version" in evaluated else [])]


def _letter(number: int) -> str:
    return LETTERS[number] if number < len(LETTERS) else str(number + 1)
