"""The demo from start to page, quick and on the bundled model; the map's layout is replaced by a faster one."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vecspeak import demo, maps
from vecspeak.errors import ConfigError


def first_two(vectors_NE: np.ndarray) -> np.ndarray:
    """UMAP compiles for many seconds; the first two principal components take none."""
    centred_NE = vectors_NE - vectors_NE.mean(0)
    return centred_NE @ np.linalg.svd(centred_NE, full_matrices=False)[2][:2].T


def test_quick_demo_from_start_to_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "map_layout", first_two)
    monkeypatch.setattr(demo, "MAX_TOKENS", 8)
    out = tmp_path / "demo.html"
    demo.run_demo(out=out, quick=True)
    told = capsys.readouterr().out
    assert out.as_uri() in told
    assert told.count("3/3") >= 3 and "right vector" in told
    html = out.read_text("utf-8")
    assert html.count("<circle") == 900
    assert html.count('<div class="mark') == 4
    assert html.count("<article>") == 7  # three films, the middle, two at once, before and after
    for shown in ("The Little Mermaid (1989)", "The Thing (1982)", "Skyfall (2012)", "halfway between 1 and 2"):
        assert shown in told or shown in html


@pytest.mark.parametrize("out", [".", "no/such/folder/demo.html"])
def test_a_page_that_cannot_be_written_is_refused_before_any_work(out: str) -> None:
    with pytest.raises(ConfigError, match="--out"):
        demo.run_demo(out=Path(out), quick=True)


def test_a_missing_umap_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="umap-learn"):
        demo.run_demo(out=tmp_path / "demo.html", quick=True)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_text_is_typed_in_whole_words_however_it_comes(size: int) -> None:
    text = "A shark comes to a small town in July, and nobody on the council wants the beaches closed.\n- one\n- two"
    file = io.StringIO()
    pieces = (text[i : i + size] for i in range(0, len(text), size))
    assert demo._type(Console(file=file, width=40), pieces) == text
    lines = file.getvalue().splitlines()
    assert all(line.startswith("  ") and len(line) <= 40 for line in lines)
    assert [line.strip() for line in lines[-2:]] == ["- one", "- two"]
    assert " ".join(file.getvalue().split()) == " ".join(text.split())


def test_text_is_typed_while_it_comes() -> None:
    file = io.StringIO()
    console = Console(file=file, width=40)

    def pieces():
        yield "A shark com"
        assert file.getvalue() == "  A shark"
        yield "es"

    demo._type(console, pieces())
    assert file.getvalue() == "  A shark comes\n"


def test_nothing_said_is_typed_as_an_empty_line() -> None:
    file = io.StringIO()
    assert demo._type(Console(file=file), []) == ""
    assert file.getvalue() == "\n"


@pytest.mark.slow
def test_the_map_is_the_same_every_time() -> None:
    vectors_NE = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    first, second = maps.map_layout(vectors_NE), maps.map_layout(vectors_NE)
    assert first.shape == (60, 2)
    np.testing.assert_array_equal(first, second)
