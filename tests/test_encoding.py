"""Text is UTF-8 on every machine: each call that reads or writes text says so, whatever the locale."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("posttrain", "notebooks", "docs") for path in (ROOT / folder).rglob("*.py"))
OTHERS = {"os", "wave", "Image", "av"}
"""Modules whose `open` does not take an encoding."""


def without_encoding(source: str) -> Iterator[str]:
    """Calls that read or write text in the encoding of the machine."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if "encoding" in given or (isinstance(owner, ast.Name) and owner.id in OTHERS):
            continue
        mode = "".join(v.value for v in [*call.args, given.get("mode")] if _is_mode(v))  # type: ignore[union-attr]
        text = {
            "read_text": not call.args,
            "write_text": len(call.args) < 2,
            "open": "b" not in mode,
            "run": "text" in given or "universal_newlines" in given,
            "check_output": "text" in given,
            "Popen": "text" in given,
            "NamedTemporaryFile": bool(mode) and "b" not in mode,
            "TemporaryFile": bool(mode) and "b" not in mode,
        }
        if text.get(name):
            yield f"line {call.lineno}: {ast.unparse(call)}"


def _is_mode(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and set(value.value) <= set("rwabx+t")


def test_every_file_is_read_and_written_as_utf_8():
    assert len(FILES) >= 100
    found = {str(path.relative_to(ROOT)): [*without_encoding(path.read_text(encoding="utf-8"))] for path in FILES}
    assert {path: calls for path, calls in found.items() if calls} == {}


def test_the_check_sees_what_it_is_for():
    wrong = "p.read_text()\np.write_text(x)\nopen(p)\np.open('w')\nsubprocess.run(c, text=True)"
    assert len([*without_encoding(wrong)]) == 5
    right = "p.read_text('utf-8')\np.open('rb')\nopen(p, encoding='utf-8')\nos.open(p, 0)\nsubprocess.run(c)"
    assert [*without_encoding(right)] == []
