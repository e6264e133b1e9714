"""The public names are a promise: this list changes only with a line in CHANGELOG.md."""

import ast
import re
from pathlib import Path

import pytest

import vecspeak

PUBLIC = [
    "Answer",
    "Concept",
    "Elm",
    "Encoder",
    "Example",
    "Point",
    "Question",
    "Space",
    "Task",
    "VecspeakError",
    "load",
    "load_bundled",
    "load_encoder",
    "load_tasks",
    "train",
]


def test_public_names_are_pinned() -> None:
    assert vecspeak.__all__ == PUBLIC
    assert sorted(dir(vecspeak)) == sorted([*PUBLIC, "__version__"])


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_loads_from_its_module(name: str) -> None:
    value = getattr(vecspeak, name)
    assert value.__name__ == name
    assert value.__module__ == f"vecspeak.{vecspeak._MODULE_OF[name]}"
    assert value.__doc__, f"{name} has no docstring"


def test_types_seen_by_a_checker_are_the_names_loaded() -> None:
    tree = ast.parse(Path(vecspeak.__file__).read_text("utf-8"))
    typed = {
        alias.name: node.module.removeprefix("vecspeak.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vecspeak.")
        for alias in node.names
    }
    assert typed == vecspeak._MODULE_OF


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Spacee'\. It has: Answer, Concept, Elm"):
        _ = vecspeak.Spacee


def test_changelog_speaks_of_this_version() -> None:
    changelog = (Path(__file__).parents[1] / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == vecspeak.__version__
