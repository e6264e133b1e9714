"""Points made of entities, against the arithmetic done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import E, vectors

from vecspeak.errors import PointError
from vecspeak.geometry import mean, parse_point
from vecspeak.space import Point, Space

IDS = ["a", "b", "c", "with:colon", "a:b@0.5", "mean(a,b)", "two words", "opposite"]


@pytest.fixture(scope="module")
def spaces(tmp_path_factory):
    made = vectors(len(IDS), seed=4)
    made[-1] = -made[0]
    folder = tmp_path_factory.mktemp("spaces")
    return {
        metric: Space.create(folder / metric, ids=IDS, vectors=made * 3, name=metric, metric=metric)
        for metric in ("cosine", "dot", "euclidean")
    }


@pytest.fixture(scope="module")
def space(spaces):
    return spaces["cosine"]


@pytest.mark.parametrize("name", IDS)
def test_an_id_is_its_entity_even_where_it_looks_like_an_expression(space, name):
    assert parse_point(space, name).id == name


@pytest.mark.parametrize(
    ("text", "start", "end", "share"),
    [("b:c@0.25", "b", "c", 0.25), ("b:c@0", "b", "c", 0), ("b:c@1", "b", "c", 1), ("b:c@ 5e-1", "b", "c", 0.5)],
)
def test_a_point_between_is_toward(spaces, text, start, end, share):
    for space in spaces.values():
        point, expected = parse_point(space, text), space[start].toward(space[end], share)
        assert np.array_equal(point.vector, expected.vector)
        assert (point.id, point.label, point.space) == (None, expected.label, space)


def test_the_middle_of_two_under_cosine_lies_on_the_circle_between_them(space):
    middle = parse_point(space, "a:c@0.5").vector
    sum_of_two = space["a"].vector + space["c"].vector
    np.testing.assert_allclose(middle, 3 * sum_of_two / np.linalg.norm(sum_of_two), atol=1e-5)


@pytest.mark.parametrize("text", ["mean(b,c,two words)", "mean( b , c,two words )"])
def test_a_mean_keeps_its_direction_and_under_cosine_the_length(spaces, text):
    for metric, space in spaces.items():
        average = np.mean([space[id].vector for id in ("b", "c", "two words")], axis=0)
        expected = 3 * average / np.linalg.norm(average) if metric == "cosine" else average
        point = parse_point(space, text)
        np.testing.assert_allclose(point.vector, expected, atol=1e-5)
        assert (point.id, point.label, point.space) == (None, "mean(b,c,two words)", space)


@given(chosen=st.lists(st.sampled_from(IDS[:-1]), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_a_mean_does_not_ask_for_order_and_of_one_is_that_one(spaces, chosen, seed):
    for space in spaces.values():
        points = [space[id] for id in chosen]
        other = [points[i] for i in np.random.default_rng(seed).permutation(len(points))]
        np.testing.assert_allclose(mean(points).vector, mean(other).vector, atol=1e-5)
        np.testing.assert_allclose(mean(points[:1] * 3).vector, points[0].vector, atol=1e-5)


@given(text=st.text(st.sampled_from("abc,:@()mean0.5- "), max_size=14) | st.text(max_size=8))
def test_any_text_is_a_point_or_is_refused(space, text):
    try:
        point = parse_point(space, text)
    except PointError as error:
        assert str(error)
    else:
        assert point.vector.shape == (E,)
        assert np.isfinite(point.vector).all()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("d", "no entity 'd'"),
        ("a:d@0.5", "no entity 'd'"),
        ("a:b@half", "expected a share from 0 to 1 after '@', got 'half'"),
        ("a:b@1.5", "from 0"),
        ("a:b@nan", "from 0"),
        ("a:b", "no entity 'a:b'"),
        ("mean()", "no entity"),
        ("mean(a,)", "no entity ''"),
        ("mean(a,d)", "no entity 'd'"),
        ("mean(a,opposite)", "cancel out"),
        ("a:opposite@0.5", "opposite directions"),
    ],
)
def test_refused_points_say_why(space, text, match):
    with pytest.raises(PointError, match=match):
        parse_point(space, text)


def test_a_mean_needs_points_of_one_space(spaces):
    for points in ([], [Point(vectors(1)[0], "raw")], [spaces["dot"]["a"], spaces["cosine"]["a"]]):
        with pytest.raises(PointError, match="points of one space, at least one"):
            mean(points)
