"""The documents are true: their commands and Python blocks run, their links lead somewhere.

README.md and docs/*.md run from top to bottom, each in a folder of its own (see CONTRIBUTING.md, Tests):
lines beginning with `vecspeak ` in console and bash blocks, python blocks, `file=NAME` blocks written
to that file; `no-run` leaves a block out.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN_DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

COMMAND_SECONDS = 60
"""Room for a slow machine; a command that needs more is to be tagged `no-run`."""

_FENCE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL
)
_COMMAND = re.compile(r"^(?:\$ )?(vecspeak (?:[^\n]*\\\n)*[^\n]*)$", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    tags: tuple[str, ...]
    body: str
    line: int
    """Line of its first content, counted from 1."""

    @property
    def file(self) -> str | None:
        """Where the block is written to, from `file=NAME`."""
        return next((tag.removeprefix("file=") for tag in self.tags if tag.startswith("file=")), None)


def blocks(text: str) -> list[Block]:
    """Fenced blocks in order. A tag that is not known fails, so that a misspelt one is not ignored."""
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        language, *tags = match["info"].split() or [""]
        line = text.count("\n", 0, match.start("body")) + 1
        unknown = [tag for tag in tags if tag != "no-run" and not re.fullmatch(r"file=[\w.-]+", tag)]
        assert not unknown, f"line {line - 1}: unknown tags {unknown}, expected no-run or file=NAME"
        found.append(Block(language, tuple(tags), match["body"], line))
    return found


def commands(block: Block) -> list[str]:
    """The commands of a console or bash block; a backslash at the end of a line goes on with the next."""
    return _COMMAND.findall(block.body) if block.language in ("console", "bash") else []


def run_command(command: str, *, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"


def run_document(text: str, *, folder: Path, name: str) -> None:
    """Run the blocks of a document in order; `folder` must be the working directory."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(text):
        if "no-run" in block.tags:
            continue
        if block.file is not None:
            (folder / block.file).write_text(block.body, "utf-8")
        elif block.language == "python":
            padded = "\n" * (block.line - 1) + block.body  # so that a traceback shows the document's line
            exec(compile(padded, name, "exec"), names)
        for command in commands(block):
            run_command(command, folder=folder)


@pytest.mark.parametrize("path", RUN_DOCUMENTS, ids=lambda path: path.name)
def test_document_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_document(path.read_text("utf-8"), folder=tmp_path, name=path.name)


@pytest.mark.parametrize("path", ALL_DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = [match["target"].partition("#")[0] for match in _LINK.finditer(path.read_text("utf-8"))]
    relative = [target for target in targets if target and "://" not in target and not target.startswith("mailto:")]
    missing = [target for target in relative if not (path.parent / target).exists()]
    assert not missing


EXAMPLE = """
```console
$ vecspeak ask MODEL \\
    --film 296
an answer, not vecspeak
vecspeak --help
```
~~~toml file=a.toml
x = 1
~~~
```python
from pathlib import Path
y = Path("a.toml").read_text()
```
```python no-run
raise RuntimeError
```
```
vecspeak of no language
```
```python
Path("b.txt").write_text(y * 2)
```
"""


def test_blocks_and_commands_are_found() -> None:
    found = blocks(EXAMPLE)
    assert [(block.language, block.tags) for block in found] == [
        ("console", ()),
        ("toml", ("file=a.toml",)),
        ("python", ()),
        ("python", ("no-run",)),
        ("", ()),
        ("python", ()),
    ]
    assert found[0].line == 3
    assert [command for block in found for command in commands(block)] == [
        "vecspeak ask MODEL \\\n    --film 296",
        "vecspeak --help",
    ]


def test_unknown_tag_fails() -> None:
    with pytest.raises(AssertionError, match=r"line 1: unknown tags \['norun'\]"):
        blocks("```console norun\nvecspeak demo\n```\n")


def test_document_runs_in_order_and_fails_where_it_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_document(EXAMPLE.split("```\n", 1)[1], folder=tmp_path, name="example")
    assert (tmp_path / "b.txt").read_text("utf-8") == "x = 1\nx = 1\n"
    with pytest.raises(ZeroDivisionError) as caught:
        run_document("text\n```python\n1\n1 / 0\n```\n", folder=tmp_path, name="example.md")
    assert caught.traceback[-1].lineno == 3  # pytest counts from 0
    with pytest.raises(AssertionError, match="No such command"):
        run_document("```bash\nvecspeak no-such-command\n```\n", folder=tmp_path, name="example.md")
