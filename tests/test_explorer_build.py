"""The built explorer: what is committed is what its source builds to, it is small, and it needs nobody else."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "explorer"
BUILT = ROOT / "src/vecspeak/serve/static"

LARGEST_KB = 150
"""Of all scripts and styles together, compressed."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(
    not (SOURCE / "node_modules/.package-lock.json").exists() or shutil.which("npm") is None,
    reason="needs Node.js and the explorer's npm packages: cd explorer && npm ci",
)
def test_a_rebuild_gives_the_committed_files(tmp_path: Path) -> None:
    build = ["npm", "run", "build", "--", "--outDir", str(tmp_path), "--emptyOutDir"]
    done = subprocess.run(build, cwd=SOURCE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rebuilt, committed = contents(tmp_path), contents(BUILT)
    assert rebuilt.keys() == committed.keys(), "build again: cd explorer && npm run build"
    assert [name for name in rebuilt if rebuilt[name] != committed[name]] == []


def test_the_payload_is_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in BUILT.rglob("*.*s") if path.is_file()}
    assert sum(sizes.values()) < LARGEST_KB * 1000, sizes


def test_the_page_has_no_inline_code_and_no_foreign_address() -> None:
    page = (BUILT / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page) == []
    assert re.findall(r"""(?:src|href)=["'](?!\.?/)[^"']*""", page) == []


def test_the_lock_file_names_no_registry() -> None:
    lock = (SOURCE / "package-lock.json").read_text("utf-8")
    assert "resolved" not in lock and "http" not in re.sub(r'"(?:url|funding)": "[^"]*"', "", lock)
