"""The demo from start to page, quick and on the bundled model; the map's layout is replaced by a faster one."""

from pathlib import Path

import numpy as np
import pytest

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
    monkeypatch.setattr(demo, "BEST_OF", 2)
    out = tmp_path / "demo.html"
    demo.run_demo(out=out, quick=True)
    told = capsys.readouterr().out
    assert out.as_uri() in told
    assert told.count("3/3") >= 3 and "right vector" in told
    html = out.read_text("utf-8")
    assert html.count("<circle") == 900
    assert html.count('<div class="mark') == 5
    assert html.count("<article>") == 8  # three films, the middle, the pushed, two at once, before and after
    for shown in ("The Little Mermaid (1989)", "The Thing (1982)", "Skyfall (2012)", "pushed towards funny"):
        assert shown in told or shown in html


@pytest.mark.parametrize("out", [".", "no/such/folder/demo.html"])
def test_a_page_that_cannot_be_written_is_refused_before_any_work(out: str) -> None:
    with pytest.raises(ConfigError, match="--out"):
        demo.run_demo(out=Path(out), quick=True)


def test_a_missing_umap_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="umap-learn"):
        demo.run_demo(out=tmp_path / "demo.html", quick=True)


@pytest.mark.slow
def test_the_map_is_the_same_every_time() -> None:
    vectors_NE = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    first, second = maps.map_layout(vectors_NE), maps.map_layout(vectors_NE)
    assert first.shape == (60, 2)
    np.testing.assert_array_equal(first, second)
