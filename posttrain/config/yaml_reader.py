"""YAML + overrides → frozen dataclasses, with every problem found at once."""

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def read_mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    """The file's `key: value` lines, read safely; what is wrong with it is added to `problems`."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read: {error}; give a YAML file of text")
        return {}
    except yaml.YAMLError as error:
        problems.append(f"{path} is not YAML that is safe to read: {_one_line(error)}; correct the line it names")
        return {}
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        problems.append(f"{path} holds a {type(raw).__name__}, expected lines of key: value")
        return {}
    return {str(key): {} if value is None else value for key, value in raw.items()}


def override(raw: dict[str, Any], change: str, problems: list[str]) -> None:
    """Apply one `section.option=value` to `raw`; the value is YAML."""
    key, equals, value = change.partition("=")
    *parts, last = key.strip().split(".")
    if not equals or not last or not all(parts):
        problems.append(f"--set {change}: expected section.option=value, such as sft.learning_rate=1e-4")
        return
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        problems.append(f"--set {change}: {value!r} is not a YAML value: {_one_line(error)}; quote it")
        return
    for part in parts:
        inner = raw.setdefault(part, {})
        if not isinstance(inner, dict):
            problems.append(f"--set {change}: {part} is {inner!r}, not a section with options")
            return
        raw[part] = raw = dict(inner)
    raw[last] = parsed


def parse(
    kind: type[T], raw: dict[str, Any], where: Callable[[str], str], problems: list[str], stand_in: dict[str, Any]
) -> T:
    """`raw` as a `kind`; every unknown key and wrong value is added to `problems` and replaced by its default.

    This lets later checks add to the same list; the caller must stop if there are problems. `where` says for an
    option such as sft.steps what set it: a file, or an argument.
    """
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        found = error.errors()
    known = _keys(kind)
    for e in found:
        place = ".".join(str(part) for part in e["loc"])
        at = where(place)
        if e["type"] == "unexpected_keyword_argument":
            close = difflib.get_close_matches(str(e["loc"][-1]), known, n=1)
            fix = f"did you mean {close[0]}?" if close else "remove it"
            problems.append(f"{at}: {place} is not an option; {fix}")
        elif e["type"] == "missing":
            problems.append(f"{at}: {place} is missing; add it")
        else:
            such = ", such as [a, b]" if e["type"] == "tuple_type" else ""
            problems.append(f"{at}: {place} is {e['input']!r}; {_lower(e['msg'])}{such}")
    for e in found:
        raw = _without(raw, list(e["loc"]))
    return adapter.validate_python({**stand_in, **raw})


def refuse_bool(value: Any) -> Any:
    """Refuse a bool, since YAML's yes and no are not 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def expanded(value: str) -> str:
    """A path with `~` and `$VARIABLE` filled in; a variable that is not set stays as it is."""
    return os.path.expandvars(os.path.expanduser(value))


def _without(raw: dict[str, Any], loc: list[Any]) -> dict[str, Any]:
    """A copy of `raw` without the entry at `loc`; if that is inside a list, without the list."""
    first, *rest = loc
    if not isinstance(raw, dict) or first not in raw:
        return raw
    if not rest or not isinstance(raw[first], dict):
        return {key: value for key, value in raw.items() if key != first}
    return {**raw, first: _without(raw[first], rest)}


def _keys(kind: Any) -> list[str]:
    """The names of a dataclass's options, and of its sections' options."""
    fields = getattr(kind, "__dataclass_fields__", {})
    return [*fields, *(key for f in fields.values() for key in _keys(f.type))]


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
