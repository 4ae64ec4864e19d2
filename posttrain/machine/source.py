"""Identify the code behind a stage: a hash of the source that its training can reach, without importing any of it.

A hash covers statements, not comments, docstrings or blank lines, so rewording a docstring does not make a stage look
old.
"""

import ast
import io
import subprocess
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from posttrain.files import content_hash

PACKAGE = Path(__file__).parent.parent
ROOTS = {
    "corpus": ("posttrain.corpus.build", "posttrain.tasks.plan"),
    "evaluation": ("posttrain.evals.standalone", "posttrain.evals.validated"),
    "listeners": ("posttrain.use.listeners",),
    "bench": ("posttrain.use.bench",),
    "denoising": ("posttrain.use.bench_denoising",),
    "scale": ("posttrain.use.scale",),
}
"""Names that `stage_code` takes besides those of stages → the modules it starts from."""
NEUTRAL = frozenset({"errors", "files", "machine", "config"})
"""Packages and modules that change no weight: messages, printing, and options, which are part of a stage's key."""


@cache
def stage_code(stage: str) -> str:
    """Hash of the source that a stage's training can reach by imports inside `posttrain`; imports nothing itself.

    `stage` is a stage's function, such as sft (not a node's name), or `corpus` (what builds the corpus), `evaluation`
    (what answers, grades and computes figures), `listeners`, `bench`, `denoising` or `scale` (what measures these). A
    stage's hash covers its own training alone: for a figure, also compare the hashes of `corpus`, of its parents and of
    `evaluation`. Comments, docstrings and blank lines do not count; a data file that a module names and that lies
    beside it does. The hash is the same on every machine and Python version.
    KeyError if there is no such stage.
    """
    roots = ROOTS.get(stage, (f"posttrain.stages.{stage}",))
    if any(_file(root) is None for root in roots):
        raise KeyError(f"no stage {stage}; expected one in posttrain/stages, or one of {', '.join(ROOTS)}")
    return _hash(_reached(roots), lambda path: _read(path).statements if path.suffix == ".py" else path.read_bytes())


@cache
def code_of(stage: str) -> dict[str, str]:
    """A record of the code that makes a stage: `version` of the package, `training` (see stage_code), and `source`.

    `source` hashes the bytes of every file that the stage reaches, with comments and modules that change no weight.
    """
    roots = ROOTS.get(stage, (f"posttrain.stages.{stage}",))
    source = _hash(_reached(roots, frozenset()), Path.read_bytes)
    return {"version": code_version(), "training": stage_code(stage), "source": source}


@cache
def code_version() -> str:
    """The git commit, with `-dirty` where the package differs from it, and a hash of the package's Python files."""
    paths = sorted(PACKAGE.rglob("*.py"))
    code = content_hash(part for p in paths for part in (p.relative_to(PACKAGE).as_posix(), p.read_bytes()))
    tracked = _git("ls-files", "__init__.py")  # an installed package may lie in another project's repository
    commit = _git("rev-parse", "--short=12", "HEAD") if tracked else ""
    dirty = "-dirty" if commit and _git("status", "--porcelain", "--", ":(glob)**/*.py") else ""
    return f"{commit or 'no-git'}{dirty}+{code[:12]}"


def _hash(paths: set[Path], content: Callable[[Path], bytes]) -> str:
    parts = (part for p in sorted(paths) for part in (p.relative_to(PACKAGE).as_posix(), b"\0", content(p), b"\0"))
    return content_hash(parts)[:12]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, encoding="utf-8", check=False)
    except OSError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _reached(roots: tuple[str, ...], left_out: frozenset[str] = NEUTRAL) -> set[Path]:
    """Files of `roots` and of all modules that they import, directly or not, and the data files that these name."""
    files, queue = set(), list(roots)
    while queue:
        path = _file(queue.pop())
        if path is None or path in files or path.relative_to(PACKAGE).parts[0].removesuffix(".py") in left_out:
            continue
        source = _read(path)
        files |= {path, *source.data_files}
        queue += source.imports
    return files


@cache
def _file(module: str) -> Path | None:
    """The module's file; None if the name is not a module of this package."""
    package, *parts = module.split(".")
    if package != "posttrain":
        return None
    place = PACKAGE.joinpath(*parts)
    candidates = (place.with_name(f"{place.name}.py") if parts else place / "__init__.py", place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@dataclass(frozen=True)
class _Source:
    """One file of Python."""

    imports: tuple[str, ...]
    """Names that are imported anywhere in it, except for type checking; some are not modules."""
    data_files: tuple[Path, ...]
    """JSON and YAML files beside it that it names."""
    statements: bytes
    """Its lines without comments, docstrings, trailing spaces and blank lines."""


@cache
def _read(path: Path) -> _Source:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    imports: list[str] = []
    named: list[Path] = []
    queue: list[ast.AST] = [ast.parse(text)]
    while queue:
        node: Any = queue.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            queue += node.orelse
            continue
        queue += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Expr) and _is_text(node.value):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
        elif _is_text(node) and node.value.endswith((".json", ".yaml")) and "\n" not in node.value:
            named.append(path.parent / node.value)
    kept = "\n".join(kept for line in lines if (kept := line.rstrip()))
    return _Source(tuple(imports), tuple(file for file in named if file.is_file()), kept.encode())


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
