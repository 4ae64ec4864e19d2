"""Write the tables of options into the pages of docs/: `python docs/options.py`, which `make format` calls.

A table lies between `<!-- options: sft -->` and `<!-- /options -->` and is read from that section's dataclass. A test
holds the pages to the code.
"""

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from posttrain.config import gate as gate_config
from posttrain.config import recipe as config
from posttrain.config import sections, stage_table

BLOCK = re.compile(r"^<!-- options: (\w+) -->\n.*?^<!-- /options -->$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Bring every page up to date."""
    for page in Path(__file__).parent.rglob("*.md"):
        content = page.read_text(encoding="utf-8")
        if (made := filled(content)) != content:
            page.write_text(made, encoding="utf-8")
            print(page)


def filled(page: str) -> str:
    """The page with its tables as the code has them; KeyError for an unknown section."""
    return BLOCK.sub(lambda b: f"<!-- options: {b[1]} -->\n\n{table(b[1])}\n\n<!-- /options -->", page)


def table(section: str) -> str:
    """Option, default and meaning of a recipe's section, as a Markdown table; KeyError for an unknown section."""
    default = {field.name: field.default for field in dataclasses.fields(config.Recipe)}[section]
    said = meanings(type(default))
    rows = [
        f"| `{section}.{field.name}` | `{_shown(getattr(default, field.name))}` "
        f"| {said[field.name]}{_allowed(field.type)} |"
        for field in dataclasses.fields(default)
    ]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def meanings(section: type) -> dict[str, str]:
    """Option → the docstring below it in the source."""
    for module in (sections, gate_config, stage_table):
        for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == section.__name__:
                pairs = zip(node.body, node.body[1:], strict=False)
                return {
                    ast.unparse(field.target): " ".join(str(text.value.value).split())
                    for field, text in pairs
                    if isinstance(field, ast.AnnAssign)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                }
    raise KeyError(section.__name__)


def _allowed(kind: Any) -> str:
    """The values of a Literal."""
    named = ", ".join(f"`{value}`" for value in get_args(kind)) if get_origin(kind) is Literal else ""
    return f" One of {named}." if named else ""


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    main()
