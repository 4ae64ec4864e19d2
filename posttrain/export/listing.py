"""What an exported folder holds."""

from pathlib import Path
from typing import Any

from posttrain import files


def listed(folder: Path) -> dict[str, Any]:
    """`files` of a folder with their sizes and SHA-256, all `bytes`, and a `hash` of them all."""
    found: list[dict[str, Any]] = [
        {"name": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    lines = (f"{file['sha256']} {file['name']}\n" for file in found)
    return {"files": found, "bytes": sum(file["bytes"] for file in found), "hash": files.content_hash(lines)}
