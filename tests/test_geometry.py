"""Points made of entities, against the arithmetic done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import E, vectors

from vecspeak.errors import PointError
from vecspeak.geometry import DEEPEST, Between, Mean, Name, Sum, grounded, mean, parse, parse_point, written
from vecspeak.space import Direction, Point, Space

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


NUMBERS = st.floats(-1e6, 1e6).map(lambda value: value + 0.0) | st.sampled_from([1.0, -1.0, 0.5, 1e20, -1e-7])
EXPRESSIONS = st.recursive(
    st.builds(Name, st.text(max_size=6) | st.sampled_from([*IDS, "a-b", "mean", "1e-3", "-a", " a ", 'q"\\'])),
    lambda inner: (
        st.builds(Between, inner, inner, NUMBERS)
        | st.builds(Mean, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Sum, st.lists(st.tuples(NUMBERS, inner), min_size=2, max_size=3).map(tuple))
        | st.builds(lambda weight, part: Sum(((weight, part),)), NUMBERS.filter(lambda n: n != 1), inner)
    ),
    max_leaves=8,
)


@given(expression=EXPRESSIONS)
def test_what_is_written_parses_to_the_same_expression(expression):
    assert parse(written(expression)) == expression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("296+funny*1.5", Sum(((1, Name("296")), (1.5, Name("funny"))))),
        ("296+funny*-1.5", Sum(((1, Name("296")), (-1.5, Name("funny"))))),
        ("a - b+ c", Sum(((1, Name("a")), (-1, Name("b")), (1, Name("c"))))),
        ("tt-12-a", Name("tt-12-a")),
        ("tt-12 - a", Sum(((1, Name("tt-12")), (-1, Name("a"))))),
        ("-a", Sum(((-1, Name("a")),))),
        ("(a+b):c@.5", Between(Sum(((1, Name("a")), (1, Name("b")))), Name("c"), 0.5)),
        ("mean(a:b@1, mean)", Mean((Between(Name("a"), Name("b"), 1.0), Name("mean")))),
        ('"a:b@1" + "say \\"x\\""', Sum(((1, Name("a:b@1")), (1, Name('say "x"'))))),
        ("((a))", Name("a")),
    ],
)
def test_the_syntax_by_hand(text, expected):
    assert parse(text) == expected


def direction(name: str = "funny") -> Direction:
    return Direction(name, np.linspace(-1, 2, E).astype(np.float32))


@pytest.mark.parametrize(("text", "strength"), [("b + funny*1.5", 1.5), ("b+funny", 1), ("b - funny*0.25", -0.25)])
def test_a_concept_pushes_and_under_cosine_keeps_the_length(spaces, text, strength):
    for metric, space in spaces.items():
        moved = space["b"].vector + strength * direction().step_E
        expected = 3 * moved / np.linalg.norm(moved) if metric == "cosine" else moved
        point = parse_point(space, text, directions={"funny": direction()})
        np.testing.assert_allclose(point.vector, expected, atol=1e-5)
        assert np.array_equal(point.vector, space["b"].steer(direction(), strength).vector)
        assert point.label == written(parse(text))


def test_arithmetic_is_the_sum_and_under_cosine_as_long_as_its_points(spaces):
    for metric, space in spaces.items():
        moved = space["b"].vector - 2 * space["c"].vector + space["two words"].vector
        expected = 3 * moved / np.linalg.norm(moved) if metric == "cosine" else moved
        np.testing.assert_allclose(parse_point(space, "b - c*2 + two words").vector, expected, atol=1e-4)


def test_an_entity_of_a_concepts_name_wins(space):
    point = parse_point(space, "b+c", directions={"c": direction("c")})
    both = space["b"].vector + space["c"].vector
    np.testing.assert_allclose(point.vector, 3 * both / np.linalg.norm(both), atol=1e-5)


def test_a_point_is_pulled_towards_the_middle_of_its_nearest(spaces):
    for space in spaces.values():
        point = parse_point(space, "b:c@0.5")
        near = mean([space[neighbour.id] for neighbour in space.neighbours(point, 3)])
        assert np.array_equal(grounded(point, 0, k=3).vector, point.toward(near, 0).vector)
        np.testing.assert_allclose(grounded(point, 1, k=3).vector, near.vector, atol=1e-5)
    with pytest.raises(PointError, match="no space to be pulled towards"):
        grounded(Point(vectors(1)[0], "raw"), 0.5)


@given(text=st.text(st.sampled_from('abc,:@()mean0.5- +*"'), max_size=14) | st.text(max_size=8))
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
        ("a:b@half", "expected a share from 0 to 1 at character 5, got 'half'"),
        ("a:b@1.5", "from 0"),
        ("a:b@nan", "expected a share from 0 to 1 at character 5, got 'nan'"),
        ("a:b", "expected '@' and a share from 0 to 1 at character 4, got the end"),
        ("mean()", "expected an entity at character 6, got '\\)'"),
        ("mean(a,)", "expected an entity at character 8"),
        ("mean(a,d)", "no entity 'd'"),
        ("mean(a,b", "expected '\\)' at character 9, got the end"),
        ("mean(a,opposite)", "cancel out"),
        ("a + opposite", "cancel out"),
        ("a:opposite@0.5", "opposite directions"),
        ("a + b*c", "expected a number at character 7, got 'c'"),
        ("a b) ", "expected an operator or the end at character 4"),
        ('a + "b', "the quotes at character 5 are not closed"),
        ("", "expected an entity at character 1, got the end"),
        ("(" * (DEEPEST + 1) + "a", f"nested more than {DEEPEST} deep"),
    ],
)
def test_refused_points_say_why(space, text, match):
    with pytest.raises(PointError, match=match):
        parse_point(space, text)


def test_a_mean_needs_points_of_one_space(spaces):
    for points in ([], [Point(vectors(1)[0], "raw")], [spaces["dot"]["a"], spaces["cosine"]["a"]]):
        with pytest.raises(PointError, match="points of one space, at least one"):
            mean(points)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("funny", "'funny' is a concept, a way and no place: add it to a point, as in 296\\+funny"),
        ("funny*2 + sad", "'funny' is a concept, a way and no place: begin with a point"),
        ("a:funny@0.5", "'funny' is a concept"),
        ("a + fun", "neither an entity nor a concept 'fun'. Its concepts: funny, sad"),
        ("a+funny*inf", "expected a number at character 9, got 'inf'"),
    ],
)
def test_concepts_where_they_cannot_stand_are_refused(space, text, match):
    with pytest.raises(PointError, match=match):
        parse_point(space, text, directions={"funny": direction(), "sad": direction("sad")})
