"""Maps: computed once in a process of their own, kept beside the space or in the cache, found again."""

import numpy as np
import pytest
import tiny
from serving import toy_space, until

from vecspeak.bundled import bundled_space_path
from vecspeak.serve import layouts
from vecspeak.serve.failures import Failure
from vecspeak.serve.layouts import Layouts, digest_of, flat, layout_folder, layout_names, read_layout
from vecspeak.space import Space


@pytest.fixture
def space(tmp_path):
    return toy_space(tmp_path)


def test_a_map_is_computed_once_and_found_again(space, tmp_path, monkeypatch):
    first = Layouts(space, tmp_path / "kept")
    assert first.get("tsne") is None
    until(lambda: first.get("tsne") is not None, seconds=60)
    places = first.get("tsne")
    assert (places.shape, places.dtype) == ((len(space), 2), np.float32)
    assert (places.min(0).tolist(), places.max(0).tolist()) == ([0, 0], [1, 1])
    first.close()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [f"tsne-{digest_of(space)}.npy"]

    monkeypatch.setattr(layouts.Layouts, "_computed", None)  # would fail
    again = Layouts(Space.open(space.path), tmp_path / "kept")
    assert np.array_equal(again.get("tsne"), places)


def test_pca_is_there_at_once_even_where_it_cannot_be_kept(space, tmp_path, caplog):
    places = Layouts(space, tmp_path / "kept").get("pca")
    assert places.shape == (len(space), 2)
    (tmp_path / "file").write_text("")
    assert np.array_equal(Layouts(space, tmp_path / "file" / "kept").get("pca"), places)
    assert "cannot be written, so the map will be computed again" in caplog.text


def test_other_vectors_have_another_file(space, tmp_path):
    turned = Space.create(tmp_path / "t.lance", ids=space.ids, vectors=space.vectors[:, ::-1], name="t")
    assert digest_of(turned) != digest_of(space)


@pytest.mark.parametrize("damage", ["cut", "rows", "pickled", "nan"])
def test_a_damaged_file_is_computed_again(space, tmp_path, damage):
    kept = Layouts(space, tmp_path / "kept")
    places, path = kept.get("pca"), tmp_path / "kept" / f"pca-{digest_of(space)}.npy"
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:50])
        case "rows":
            np.save(path, places[:5])
        case "pickled":
            np.save(path, np.array([{}], object), allow_pickle=True)
        case "nan":
            np.save(path, np.full_like(places, np.nan))
    assert read_layout(path, len(space)) is None
    assert np.array_equal(Layouts(space, tmp_path / "kept").get("pca"), places)


def test_what_cannot_be_computed_is_said_and_the_default_is_another(space, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(layouts.sys, "executable", "/bin/false")
    broken = Layouts(space, tmp_path / "kept")
    assert broken.default == "umap"
    broken.start()
    until(lambda: broken.default == "pca")
    with pytest.raises(Failure, match="could not be computed; the server's log says why"):
        broken.get("umap")
    assert "Layout umap could not be computed" in caplog.text


def test_an_unknown_layout_is_refused(space, tmp_path):
    with pytest.raises(Failure, match=r"Unknown layout 'spiral'\. One of: umap, pca, tsne"):
        Layouts(space, tmp_path).get("spiral")


def test_closing_ends_what_is_computed(space, tmp_path):
    going = Layouts(space, tmp_path / "kept")
    going.get("umap")
    until(lambda: going._processes)
    going.close()
    assert not (tmp_path / "kept").exists() or not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize(("rows", "dimension"), [(1, 6), (2, 6), (3, 1), (15, 3)])
def test_small_spaces_have_a_flat_map(tmp_path, rows, dimension):
    vectors = tiny.vectors(rows)[:, :dimension] + 2
    space = Space.create(tmp_path / "s.lance", ids=[str(n) for n in range(rows)], vectors=vectors, name="s")
    assert layout_names(space) == ("pca",)
    assert flat(space.vectors).shape == (rows, 2)
    assert np.isfinite(Layouts(space, tmp_path / "kept").get("pca")).all()


def test_maps_are_kept_beside_a_space_and_in_the_cache_where_that_cannot_be(space, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert layout_folder(space) == tmp_path / "toys.layouts"
    monkeypatch.setattr(layouts.os, "access", lambda *_: False)
    assert layout_folder(space) == tmp_path / "cache" / "vecspeak" / "layouts"
    monkeypatch.undo()
    assert layout_folder(Space.open(bundled_space_path())).parts[-2:] == ("vecspeak", "layouts")
