"""Modules import only what stands before them in the design's order, and light modules stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vecspeak"

# An import points only to the left or upwards. A package (movielens/, serve/) counts as one module.
ORDER = [
    *["errors", "files", "data"],  # data: files that are shipped, among them a client that imports nothing from here
    *["nearest", "spacefile", "space", "prompts", "adapter", "wordspace", "metrics", "splits", "muon", "fits"],
    *["reading", "read_tables", "read_arrays", "importing", "factors", "geometry", "encode", "concepts", "tasks"],
    *["read_texts", "survey", "endpoint"],
    *["examples", "sampling", "batching", "keyvalues", "decoding", "answers", "elm"],
    *["store", "export", "teacher"],
    *["maps", "labels", "compare", "gaps"],
    *[
        "sharding",
        "runs",
        "stages",
        "training",
        "estimates",
        "starting",
        "parts",
        "narrate",
        "narrate_ray",
        "narrate_vllm",
        "bundled",
    ],
    *["report", "evaluate"],  # report is the type that evaluate returns
    *["ablation_report", "ablation"],
    *["reinforced", "reinforce"],
    *["rating", "rating_forms", "rating_import"],
    *["movielens", "serve", "bars", "page", "demo"],
    *["imports", "terminal", "pace", "cli_*", "cli"],
]

HEAVY = {"torch", "transformers", "sentence_transformers", "peft", "accelerate", "sklearn", "umap", "matplotlib"}


def module_files() -> dict[Path, str]:
    """Every source file of the package and the module it belongs to; `__init__` only re-exports."""
    files = {path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    return {path: module for path, module in files.items() if module not in ("__init__", "data")}


def place(module: str) -> int:
    """Position in ORDER."""
    entry = "cli_*" if module.startswith("cli_") else module
    assert entry in ORDER, (
        f"vecspeak.{module} has no place in the import order: add {module!r} to ORDER in tests/{Path(__file__).name}, "
        "after every module it imports and before every module that imports it"
    )
    return ORDER.index(entry)


def imported_modules(source: str, *, package: str = "vecspeak") -> set[str]:
    """Modules of the package that a source imports anywhere: at the top, in functions, for types only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import in full, from {package}. ..."
            names = [node.module or ""]
            if node.module == package:
                names = [f"{package}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith(f"{package}.")}
    return found


def test_imports_are_read_from_every_place_they_can_stand() -> None:
    source = """
import vecspeak.space, os
from vecspeak import elm
from vecspeak.movielens.wals import fit
if TYPE_CHECKING:
    from vecspeak.store import load
def f():
    from vecspeak.training import train
    import vecspeakers.other
# import vecspeak.cli
TEXT = "import vecspeak.demo"
"""
    assert imported_modules(source) == {"space", "elm", "movielens", "store", "training"}


@pytest.mark.parametrize("path", sorted(module_files()), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_the_left(path: Path) -> None:
    module = module_files()[path]
    for other in imported_modules(path.read_text("utf-8")) - {module}:
        if other == "__version__":
            continue
        assert place(other) < place(module), f"{module} imports {other}, which stands after it in the import order"


def test_package_imports_nothing_at_run_time() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    at_run_time = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {ast.unparse(node) for node in at_run_time} == {
        "from importlib import import_module",
        "from typing import TYPE_CHECKING",
    }


@pytest.mark.parametrize("module", ["vecspeak", "vecspeak.cli"])
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


def test_no_machine_paths() -> None:
    """Nothing in the tree depends on where one developer's machine keeps its files."""
    absolute = re.compile(r"(?<![\w.:/])/(work|root|home|opt|Users|mnt)/\w")
    folders = ["src", "tests", "docs", "pocket", "benchmarks", "examples", ".ci"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    suffixes = {".py", ".md", ".toml", ".txt", ".json", ".html", ".sh", ".yml", ""}
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files
        if path.is_file() and path.suffix in suffixes
        for number, line in enumerate(path.read_text("utf-8", errors="ignore").splitlines(), 1)
        if absolute.search(line)
    ]
    assert not hits, "\n".join(hits)
