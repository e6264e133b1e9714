import json
import math

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vecspeak.space
from vecspeak.errors import PointError, SpaceError
from vecspeak.nearest import similarities, top
from vecspeak.space import Point, Space

METRICS = ["cosine", "dot", "euclidean"]


def vectors_of(rows, dimension, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def make(path, vectors, metric="cosine", **more):
    ids = [f"e{row}" for row in range(len(vectors))]
    return Space.create(path, ids=ids, vectors=vectors, name="things", metric=metric, **more)


@pytest.fixture
def space(tmp_path):
    columns = {"title": [f"Title {row}" for row in range(60)], "tags": [["a"] * (row % 3) for row in range(60)]}
    return make(
        tmp_path / "s.lance", vectors_of(60, 5), columns=columns, encoder="enc", source="src", licence="CC0-1.0"
    )


def oracle_similarity(query, vectors, metric):
    """One pair at a time, in float64 and in words of the definition."""
    pairs = [(query.astype(float), vector.astype(float)) for vector in vectors]
    if metric == "dot":
        return np.array([float(sum(a * b)) for a, b in pairs])
    if metric == "cosine":
        return np.array([float(sum(a * b)) / math.sqrt(sum(a * a) * sum(b * b)) for a, b in pairs])
    return np.array([-math.sqrt(sum((a - b) ** 2)) for a, b in pairs])


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_created_is_what_opens(space, tmp_path):
    opened = Space.open(str(tmp_path / "s.lance"))
    assert (opened.name, opened.metric, opened.encoder, opened.source, opened.licence) == (
        "things", "cosine", "enc", "src", "CC0-1.0"
    )  # fmt: skip
    assert (len(opened), opened.dimension, opened.columns) == (60, 5, ["title", "tags"])
    assert opened.ids == [f"e{row}" for row in range(60)] == list(opened)
    np.testing.assert_array_equal(opened.vectors, vectors_of(60, 5))
    assert opened.column("tags")[2] == ["a", "a"]
    assert opened.row("e4") == {"id": "e4", "title": "Title 4", "tags": ["a"]}
    assert opened.rows(["e9", "e4", "e9"]) == [opened.row(entity_id) for entity_id in ("e9", "e4", "e9")]
    assert opened.rows([]) == []
    assert "e4" in opened and "x" not in opened
    assert left_behind(tmp_path) == ["s.lance"]


def test_points_are_read_only_views(space):
    point = space["e3"]
    assert (point.label, point.id, point.space, point.vector.dtype) == ("e3", "e3", space, np.float32)
    assert np.shares_memory(point.vector, space.vectors)
    for array in (point.vector, space.vectors, space.mean_vector, space.scale):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_made_point_does_not_alias_its_array(space):
    array = np.ones(5, np.float32)
    point = space.point(array)
    array[0] = 9
    assert point.vector[0] == 1 and point.label == "raw" and point.id is None


def test_mean_and_scale(space, monkeypatch):
    monkeypatch.setattr(vecspeak.space, "BLOCK_VALUES", 35)
    np.testing.assert_allclose(space.mean_vector, space.vectors.mean(0), atol=1e-6)
    np.testing.assert_allclose(space.scale, space.vectors.std(0), rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_those_of_the_oracle(tmp_path, metric, monkeypatch):
    monkeypatch.setattr("vecspeak.nearest.BLOCK_VALUES", 100)  # many blocks
    vectors = vectors_of(150, 7, seed=3)
    space = make(tmp_path / "s", vectors, metric)
    query = vectors_of(1, 7, seed=9)[0]
    expected = oracle_similarity(query, vectors, metric)
    order = np.argsort(-expected)
    found = space.neighbours(query, 12)
    assert [n.id for n in found] == [f"e{row}" for row in order[:12]]
    np.testing.assert_allclose([n.similarity for n in found], expected[order[:12]], rtol=1e-4, atol=1e-5)
    assert [n.title for n in found] == [None] * 12


def test_an_entity_is_not_its_own_neighbour_even_when_the_space_is_opened_twice(space, tmp_path):
    for point in (space["e7"], Space.open(tmp_path / "s.lance")["e7"]):
        found = space.neighbours(point, 1000)
        assert len(found) == 59 and "e7" not in [n.id for n in found]
    nearest = space.neighbours(space["e7"], 2)
    assert space.neighbours(space["e7"], 1, exclude=[nearest[0].id]) == [nearest[1]]
    raw = space.neighbours(space["e7"].vector, 1)[0]
    assert (raw.id, raw.title) == ("e7", "Title 7")


def test_ties_come_in_the_order_of_rows():
    similarity = np.tile(np.float32([0.3, 0.9, 0.1]), 100)
    expected = sorted(range(300), key=lambda row: (-similarity[row], row))
    assert top(similarity, 150).tolist() == expected[:150]


@pytest.mark.parametrize("metric", METRICS)
def test_distance_is_the_percentile_of_the_oracle(tmp_path, metric, monkeypatch):
    monkeypatch.setattr("vecspeak.nearest.BLOCK_VALUES", 64)
    vectors = vectors_of(80, 4, seed=1)
    space = make(tmp_path / "s", vectors, metric)
    kind = "euclidean" if metric == "dot" else metric
    similarity = np.array([oracle_similarity(v, vectors, kind) for v in vectors])
    np.fill_diagonal(similarity, -np.inf)
    own = np.sort(similarity, axis=1)[:, -5]
    for row in range(80):
        assert space[f"e{row}"].distance == pytest.approx(100 * np.mean(own > own[row]))
    made = vectors_of(1, 4, seed=5)[0]
    fifth = np.sort(oracle_similarity(made, vectors, kind))[-5]
    assert space.point(made).distance == pytest.approx(100 * np.mean(own > fifth))


def test_distance_among_few_is_to_the_farthest_of_them(tmp_path):
    vectors = vectors_of(4, 3)
    space = make(tmp_path / "s", vectors, "euclidean")
    farthest = np.linalg.norm(vectors[:, None] - vectors, axis=-1).max(1)
    for row in range(4):
        assert space[f"e{row}"].distance == pytest.approx(100 * np.mean(farthest < farthest[row] - 1e-6))


def test_a_point_pushed_away_from_an_entity_does_not_stay_near_for_the_sake_of_it(tmp_path):
    """Its own entity remains its nearest neighbour; the others fall behind."""
    rng = np.random.default_rng(0)
    space = make(tmp_path / "s", rng.normal(size=(200, 3)), "euclidean")
    outermost = space.ids[int(np.linalg.norm(space.vectors, axis=1).argmax())]
    pushed = [space.point(space[outermost].vector * by) for by in (1, 1.5, 2, 3)]
    assert {space.neighbours(point, 1)[0].id for point in pushed} == {outermost}
    distances = [point.distance for point in pushed]
    assert distances == sorted(distances) and distances[-1] == 100


def test_distance_at_the_ends(tmp_path):
    space = make(tmp_path / "s", vectors_of(80, 4), "euclidean")
    assert space.point(space.vectors[5]).distance <= space["e5"].distance
    assert space.point(np.full(4, 1e6)).distance == 100
    assert math.isnan(make(tmp_path / "one", vectors_of(1, 4))["e0"].distance)


def test_equal_vectors_are_at_no_distance(tmp_path):
    vectors = np.repeat(vectors_of(20, 6) * 1000, 6, axis=0)
    for metric in ("cosine", "euclidean"):
        space = make(tmp_path / metric, vectors, metric)
        assert {space[i].distance for i in space} == {0.0}


def test_rounding_is_no_distance():
    vectors = vectors_of(50, 300) + 1000
    assert (np.diag(similarities(vectors, vectors, metric="euclidean")) == 0).all()


def test_distance_from_a_sample_is_near_the_exact_one(tmp_path, monkeypatch):
    space = make(tmp_path / "s", vectors_of(600, 4), "euclidean")
    exact = [space[f"e{row}"].distance for row in range(0, 600, 20)]
    monkeypatch.setattr(vecspeak.space, "EXACT_UP_TO", 100)
    monkeypatch.setattr(vecspeak.space, "SAMPLE", 300)
    sampled = Space.open(tmp_path / "s")
    np.testing.assert_allclose([sampled[f"e{row}"].distance for row in range(0, 600, 20)], exact, atol=8)


finite = st.floats(-100, 100, width=32)
plain = st.lists(finite, min_size=3, max_size=3).map(np.array)
directed = plain.filter(lambda v: np.linalg.norm(v) > 1e-2)
shares = st.floats(0, 1)


class FakeSpace:
    def __init__(self, metric):
        self.metric = metric


def pair(a, b, metric):
    space = FakeSpace(metric)
    return Point(a, "a", space, "a"), Point(b, "b", space, "b")


def opposite(a, b):
    return a @ b < -0.999 * np.linalg.norm(a) * np.linalg.norm(b)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=60)
@given(a=directed, b=directed, share=shares)
def test_toward_starts_here_ends_there_and_reads_the_same_backwards(metric, a, b, share):
    if metric == "cosine" and opposite(a, b):
        return
    here, there = pair(a, b, metric)
    size = max(np.linalg.norm(a), np.linalg.norm(b))
    np.testing.assert_allclose(here.toward(there, 0).vector, here.vector, atol=1e-5 * size)
    np.testing.assert_allclose(here.toward(there, 1).vector, there.vector, atol=1e-5 * size)
    forth, back = here.toward(there, share).vector, there.toward(here, 1 - share).vector
    np.testing.assert_allclose(forth, back, atol=1e-5 * size)


@settings(max_examples=100)
@given(a=directed, b=directed, share=shares)
def test_slerp_keeps_unit_length_the_plane_and_the_angle(a, b, share):
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    if opposite(a, b):
        return
    here, there = pair(a, b, "cosine")
    middle = here.toward(there, share).vector.astype(float)
    assert np.linalg.norm(middle) == pytest.approx(1, abs=1e-5)
    angle = 2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b))
    assert 2 * math.atan2(np.linalg.norm(a - middle), np.linalg.norm(a + middle)) == pytest.approx(
        share * angle, abs=1e-4
    )


@settings(max_examples=60)
@given(a=plain, b=plain, share=shares)
def test_straight_ways_are_straight(a, b, share):
    here, there = pair(a, b, "euclidean")
    np.testing.assert_allclose(here.toward(there, share).vector, a + share * (b - a), atol=1e-4)


def test_slerp_interpolates_the_length():
    here, there = pair([2.0, 0], [0, 4.0], "cosine")
    np.testing.assert_allclose(here.toward(there, 0.5).vector, [3 / math.sqrt(2)] * 2, rtol=1e-6)


def test_labels(space):
    middle = space["e1"].toward(space["e2"], 0.5)
    assert (middle.label, middle.id, middle.space) == ("e1:e2@0.5", None, space)
    assert middle.toward(space["e3"], 0.25).label == "(e1:e2@0.5):e3@0.25"
    assert repr(space["e1"]) == "Point(label='e1', id='e1')"


@pytest.mark.parametrize(
    ("make_error", "match"),
    [
        (lambda s: s["nope"], r"things has no entity 'nope'; its 60 ids are texts such as 'e0', 'e1', 'e2'"),
        (lambda s: s[3], "no entity 3"),
        (lambda s: s.point([1, 2]), "raw has 2 dimensions, the space things has 5"),
        (lambda s: s.point([1, 2, 3, 4, math.nan]), "got nan in dimension 4"),
        (lambda s: s.point([1, 2, 3, 4, 1e300]), "got inf in dimension 4"),
        (lambda s: s.point(np.zeros(5)), "zero and has no direction"),
        (lambda s: s.point(np.full(5, 1e-25)), "zero and has no direction"),
        (lambda s: s.point(np.full(5, 1e30)), "length is beyond float32"),
        (lambda s: s.neighbours(Point(np.full(5, 3e38), "far"), 1), "far is too long"),
        (lambda s: s.point(np.ones((1, 5))), r"shape \(E,\), got shape \(1, 5\)"),
        (lambda s: s.point("abc"), "vector of numbers, got str"),
        (lambda s: s.neighbours(s["e1"], 0), "at least 1 neighbour"),
        (lambda s: s.neighbours(s["e1"], 1, exclude=["x"]), "no entity 'x'"),
        (lambda s: s["e1"].toward(s["e2"], 1.5), "share from 0 .here. to 1 .there., got 1.5"),
        (lambda s: s["e1"].toward(s["e2"], math.nan), "got nan"),
        (lambda s: s["e1"].toward(Point([1.0, 2.0], "p"), 0.5), "e1 has 5 dimensions, p has 2"),
        (lambda s: s["e1"].toward(s.point(-s["e1"].vector), 0.5), "opposite directions"),
        (lambda s: s["e1"].toward(Point(np.ones(5), "p", FakeSpace("dot")), 0.5), "other metrics"),
        (lambda s: Point([1.0], "p").distance, "p has no space"),
    ],
)
def test_points_that_do_not_fit(space, make_error, match):
    with pytest.raises(PointError, match=match):
        make_error(space)


def test_unknown_column_lists_those_there(space):
    with pytest.raises(SpaceError, match=r"no column 'year'. One of: title, tags"):
        space.column("year")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"vectors": np.zeros((0, 2)), "ids": []}, "no rows"),
        ({"vectors": np.zeros((2, 0))}, "no numbers"),
        ({"vectors": np.ones(2)}, r"shape \(2,\), expected \(rows, dimensions\)"),
        ({"vectors": [[1, 2], [3]]}, "ragged"),
        ({"vectors": np.array([["a", "b"], ["c", "d"]])}, "expected real numbers"),
        ({"vectors": np.ones((3, 2))}, "2 ids for 3 vectors"),
        ({"vectors": np.array([[1, 2], [3, np.inf]])}, r"Row 1, column 1 \(counted from 0\), id 'b': .* got inf"),
        ({"vectors": np.array([[1, 2], [1e300, 1]])}, "Row 1, column 0 .* got inf"),
        ({"vectors": np.array([[1, 2], [1e30, 1]])}, "length is beyond float32"),
        ({"vectors": np.array([[1, 2], [0, 0]])}, "Row 1 .* 'b': a zero vector has no direction"),
        ({"ids": ["a", "a"]}, "Id 'a' is there twice, again in row 1"),
        ({"ids": ["a", ""]}, "Row 1 .* has no id"),
        ({"ids": [1, 2]}, "Ids are a list of texts"),
        ({"columns": {"year": [1]}}, "'year' has 1 values for 2 vectors"),
        ({"columns": {"year": [1, "x"]}}, "'year' does not hold values of one type"),
        ({"columns": {"vector": [1, 2]}}, "a name the space itself uses"),
        ({"metric": "cos"}, "Unknown metric 'cos'. One of: cosine, dot, euclidean"),
        ({"name": " "}, "needs a name"),
    ],
)
def test_refused_spaces_leave_nothing_behind(tmp_path, change, match):
    good = {"ids": ["a", "b"], "vectors": np.array([[1.0, 2], [3, 4]]), "name": "n"}
    with pytest.raises(SpaceError, match=match):
        Space.create(tmp_path / "s", **good | change)
    assert left_behind(tmp_path) == []


def test_a_zero_vector_is_a_place_where_lengths_count(tmp_path):
    assert len(make(tmp_path / "s", np.array([[1.0, 2], [0, 0]]), "euclidean")) == 2


def test_overwrite_replaces_only_with_a_whole_space(space, tmp_path):
    path = tmp_path / "s.lance"
    with pytest.raises(SpaceError, match="exists"):
        make(path, vectors_of(3, 2))
    with pytest.raises(SpaceError, match="got nan"):
        make(path, np.full((3, 2), np.nan), overwrite=True)
    assert len(Space.open(path)) == 60
    assert len(make(path, vectors_of(3, 2), overwrite=True)) == 3
    assert left_behind(tmp_path) == ["s.lance"]


def test_overwrite_never_removes_what_is_no_space(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    with pytest.raises(SpaceError, match="not a space this version can read, so it is not replaced"):
        make(tmp_path / "letters", vectors_of(3, 2), overwrite=True)
    assert (tmp_path / "letters" / "love.txt").read_text() == "dear"


def test_a_failed_rename_puts_the_old_space_back(space, tmp_path, monkeypatch):
    from pathlib import Path

    real = Path.rename

    def rename(self, target):
        if self.name.endswith(".new"):
            raise OSError("no room")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(SpaceError, match="could not be put in place: no room"):
        make(tmp_path / "s.lance", vectors_of(3, 2), overwrite=True)
    assert len(Space.open(tmp_path / "s.lance")) == 60
    assert left_behind(tmp_path) == ["s.lance"]


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    from vecspeak.spacefile import Chunk, Header, write_space

    def chunks():
        yield Chunk(pa.array(["a"]), np.ones((1, 2)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_space(tmp_path / "s", Header("n"), chunks())
    assert left_behind(tmp_path) == []


def test_the_folder_above_must_be_there(tmp_path):
    with pytest.raises(SpaceError, match=r"nowhere does not exist; make it first"):
        make(tmp_path / "nowhere" / "s", vectors_of(3, 2))


def lance_folder(path, columns, header):
    schema = pa.table(columns).schema.with_metadata({"vecspeak": header} if header else None)
    lance.write_dataset(pa.table(columns, schema=schema), str(path))


VECTOR = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
HEADER = {"format": 1, "name": "n", "metric": "cosine", "encoder": None, "source": None, "licence": None}


@pytest.mark.parametrize(
    ("columns", "header", "match"),
    [
        ({"id": ["a"], "vector": VECTOR}, None, "a Lance dataset, but no space"),
        ({"id": ["a"], "vector": VECTOR}, {**HEADER, "format": 2}, "format 2; this version reads up to 1"),
        ({"id": ["a"], "vector": VECTOR}, {**HEADER, "format": "x"}, "damaged header"),
        ({"id": ["a"], "vector": VECTOR}, {**HEADER, "more": 1}, "damaged header"),
        ({"id": ["a"], "vector": VECTOR}, {**HEADER, "metric": "cos"}, "Unknown metric"),
        ({"id": ["a"], "vector": VECTOR}, [], "damaged header"),
        ({"key": ["a"], "vector": VECTOR}, HEADER, "no column 'id', only: key, vector"),
        ({"id": [1], "vector": VECTOR}, HEADER, "column 'id' is int64, expected string"),
        ({"id": ["a"], "vector": [[1.0]]}, HEADER, "expected fixed-size list of float32"),
        ({"id": pa.array([], pa.string()), "vector": VECTOR[:0]}, HEADER, "has no rows"),
    ],
)
def test_open_is_strict(tmp_path, columns, header, match):
    lance_folder(tmp_path / "s", columns, None if header is None else json.dumps(header))
    with pytest.raises(SpaceError, match=match):
        Space.open(tmp_path / "s")


def test_open_names_what_is_missing(tmp_path):
    with pytest.raises(SpaceError, match="There is no space at"):
        Space.open(tmp_path / "nope")
    with pytest.raises(SpaceError, match="it is no Lance dataset"):
        Space.open(tmp_path)
    (tmp_path / "_versions").mkdir()
    with pytest.raises(SpaceError, match="does not open"):
        Space.open(tmp_path)
