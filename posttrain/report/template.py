"""Pages from the templates of report/templates, all with the same style sheet."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent / "templates"


def asset(name: str) -> Markup:
    """A style sheet or script of the folder, which goes into a page as it is."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def render(template: str, /, **values: Any) -> str:
    """The page; values are escaped, and a name that the template does not find is an error."""
    loader = PackageLoader("posttrain.report", "templates")
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return env.get_template(template).render(css=asset("report.css"), **values)
