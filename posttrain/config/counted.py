"""Which options a stage's key counts, so that runs of earlier versions stay finished."""

from dataclasses import asdict
from typing import Any

RETIRED: dict[str, dict[str, Any]] = {"distill": {"student": "same"}}
"""Section → options that it no longer has, with the only value that recipes may still give. The keys of a run's stages
count them, so that finished runs stay finished."""


FILES: dict[str, Any] = {
    "instructions": (), "preferences": (), "answers": "own", "speak_prompts": False, "file_share": 0.2,
    "longest_row": 1000, "on_bad_rows": "error",
}  # fmt: skip
"""Options of `corpus` about files of instructions and preferences, with the values that they have without one."""
ADDED: dict[str, dict[str, Any]] = {
    "align": {"blank_below": 1.0},
    "base": {"chat_format": None},
    "corpus": {"world": "tiny", "written": 0, "safety_prompts": None} | FILES,
    "evaluation": {"benchmarks": None, "benchmark_limit": None},
    "sft": {"candidates": 0, "transcript": False},
}
"""Section → options that it did not always have, with the value that does as before; keys do not count that value."""


def counted(section: str, options: Any) -> dict[str, Any]:
    """The options that a stage's key counts: without new ones that do as before, with retired ones as they were."""
    added = ADDED.get(section, {})
    given = {name: value for name, value in asdict(options).items() if name not in added or value != added[name]}
    return RETIRED.get(section, {}) | given
