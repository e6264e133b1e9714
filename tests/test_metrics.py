"""Measures against figures worked out by hand, and the properties their docstrings promise."""

from itertools import permutations
from math import isnan, log2, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from sklearn.metrics import ndcg_score

from vecspeak import metrics
from vecspeak.metrics import Interval

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
NORTHEAST = [3.0, 3.0]  # not of length 1: a cosine does not mind

sides = st.integers(2, 12)
matrices = sides.flatmap(lambda n: arrays(np.float64, (n, 4), elements=st.floats(-9, 9)))


def test_semantic_consistency_is_the_cosine_of_each_pair():
    sc = metrics.semantic_consistency([EAST, NORTHEAST, EAST, [0, 0]], [EAST, EAST, WEST, EAST])
    np.testing.assert_allclose(sc, [1, 1 / sqrt(2), -1, 0])


def test_cross_consistency_is_what_the_texts_about_others_reach():
    floor = metrics.cross_consistency([EAST, NORTH, NORTHEAST], [EAST, EAST, WEST])
    # at the first vector: north 0 and northeast .707; at the second: east 1 and .707; at the third: -1 and 0
    np.testing.assert_allclose(floor, [0.5 / sqrt(2), (1 + 1 / sqrt(2)) / 2, -0.5])


@given(matrices)
def test_one_text_for_all_has_its_consistency_as_floor_at_every_vector(vectors):
    same = np.tile([1.0, 2.0, 3.0, 4.0], (len(vectors), 1))
    floor = metrics.cross_consistency(same, vectors)
    np.testing.assert_allclose(floor, metrics.semantic_consistency(same, vectors), atol=1e-12)


@pytest.mark.parametrize("measure", [metrics.semantic_consistency, metrics.cross_consistency])
def test_empty_in_empty_out(measure):
    assert measure(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)


def test_a_single_entity_has_no_floor():
    assert isnan(metrics.cross_consistency([EAST], [EAST])[0])


def test_rows_must_pair():
    with pytest.raises(ValueError, match="paired by entity"):
        metrics.semantic_consistency([EAST], [EAST, NORTH])
    with pytest.raises(ValueError, match="rows of vectors"):
        metrics.semantic_consistency(EAST, EAST)


def test_normalised_runs_from_floor_to_ceiling():
    np.testing.assert_allclose(metrics.normalised([0.2, 0.5, 0.8, 0.1], 0.2, 0.8), [0, 0.5, 1, -1 / 6])
    assert np.isnan(metrics.normalised(0.5, 0.8, 0.8))


def test_ranks_count_who_is_at_least_as_near():
    candidates = [EAST, NORTHEAST, NORTH, WEST]
    np.testing.assert_array_equal(
        metrics.identification_ranks([EAST, EAST, EAST, EAST], candidates, range(4)), [1, 2, 3, 4]
    )
    np.testing.assert_array_equal(metrics.identification_ranks([NORTH, WEST], candidates, [1, 3]), [2, 1])


def test_ties_count_against_the_text():
    assert metrics.identification_ranks([[0, 0]], [EAST, NORTH, WEST], [0]) == [3]
    assert metrics.identification_ranks([EAST], [EAST, np.multiply(EAST, 1 + 1e-9), NORTH], [0]) == [2]


@given(matrices)
def test_ranks_stay_among_the_candidates(vectors):
    ranks = metrics.identification_ranks(vectors[::-1], vectors, np.arange(len(vectors)))
    assert ((ranks >= 1) & (ranks <= len(vectors))).all()


def test_one_text_for_all_is_found_as_often_as_chance_says():
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    ranks = metrics.identification_ranks(np.tile(vectors[7], (40, 1)), vectors, np.arange(40))
    assert sorted(ranks) == list(range(1, 41))
    assert metrics.found_within(ranks, 10).mean() == 10 / 40


def test_found_within():
    np.testing.assert_array_equal(metrics.found_within([1, 2, 10, 11], 10), [1, 1, 1, 0])


def test_nearest_rows_by_direction():
    np.testing.assert_array_equal(metrics.nearest_rows([[2, 1.9], WEST], [EAST, NORTHEAST, WEST, WEST]), [1, 2])


SECOND, THIRD = 1 / log2(3), 0.5
"""Discounts of the second and third place; that of the first is 1."""


@pytest.mark.parametrize(
    ("scores", "gains", "expected"),
    [
        ([3, 2, 1], [1, 0, 2], (1 + 2 * THIRD) / (2 + SECOND)),
        ([3, 1, 2], [5, 0, 1], 1),
        ([1, 1], [2, 0], (1 + SECOND) / 2),
        ([7, 7, 9], [4, 0, 1], (1 + 2 * SECOND + 2 * THIRD) / (4 + SECOND)),
        ([2, 2, 2], [3, 3, 3], 1),
        ([0.3], [0.5], 1),
        ([-np.inf, 0], [1, 0], SECOND),
    ],
)
def test_ndcg_by_hand(scores, gains, expected):
    assert metrics.ndcg(scores, gains) == pytest.approx(expected, rel=1e-14)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 5)), min_size=1, max_size=6))
def test_ndcg_with_ties_is_the_mean_over_all_ways_to_break_them(pairs):
    scores, gains = np.array(pairs, float).T
    gains[0] += 1
    orders = [list(order) for order in permutations(range(len(scores)))]
    falling = [order for order in orders if (np.diff(scores[order]) <= 0).all()]
    discounts = 1 / np.log2(np.arange(2, len(scores) + 2))
    reached = np.mean([gains[order] @ discounts for order in falling])
    assert metrics.ndcg(scores, gains) == pytest.approx(reached / max(gains[order] @ discounts for order in orders))


@given(st.lists(st.tuples(st.integers(-3, 3) | st.floats(-1, 1), st.integers(0, 5)), min_size=2, max_size=60))
def test_ndcg_is_that_of_scikit_learn(pairs):
    scores, gains = np.array(pairs, float).T
    gains[-1] += 1
    found = metrics.ndcg(scores, gains)
    assert found == pytest.approx(ndcg_score([gains], [scores]))
    assert 0 < found <= 1


def test_ndcg_of_nothing_to_find_is_nan():
    assert isnan(metrics.ndcg([], []))
    assert isnan(metrics.ndcg([1, 2], [0, 0]))


@pytest.mark.parametrize("gains", [[1, -1], [1, nan], [1, np.inf]])
def test_ndcg_refuses_gains_that_are_none(gains):
    with pytest.raises(ValueError, match=r"at least 0|NaN"):
        metrics.ndcg([1, 2], gains)


@pytest.mark.parametrize(
    ("scores", "values", "expected"),
    [
        ([10, 20, 30], [1, 5, 6], 1),
        ([1, 2], [2, 1], -1),
        ([1, 2, 3, 4], [1, 2, 2, 4], 4.5 / sqrt(5 * 4.5)),  # ranks 1 2.5 2.5 4
        ([1, 2, 3], [2, 1, 2], 0),
        ([1, 1, 2], [3, 3, 9], 1),
    ],
)
def test_spearman_by_hand(scores, values, expected):
    assert metrics.spearman(scores, values) == pytest.approx(expected, rel=1e-14)


@given(st.lists(st.tuples(st.integers(-3, 3) | st.floats(-1, 1), st.integers(0, 5)), min_size=3, max_size=60))
def test_spearman_is_that_of_scipy(pairs):
    scores, values = np.array(pairs, float).T
    scores[0], scores[1], values[0], values[2] = 8, 9, 7, 8  # scipy warns of a constant side
    assert metrics.spearman(scores, values) == pytest.approx(spearmanr(scores, values).statistic, abs=1e-12)


@pytest.mark.parametrize(("scores", "values"), [([], []), ([1], [1]), ([2, 2, 2], [1, 2, 3]), ([1, 2], [0.1, 0.1])])
def test_spearman_without_an_order_is_nan(scores, values):
    assert isnan(metrics.spearman(scores, values))


@pytest.mark.parametrize("measure", [metrics.ndcg, metrics.spearman])
def test_what_is_ranked_must_pair_and_be_numbers(measure):
    with pytest.raises(ValueError, match="paired by candidate"):
        measure([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="paired by candidate"):
        measure([[1, 2]], [[1, 2]])
    with pytest.raises(ValueError, match="NaN"):
        measure([1, nan], [1, 2])


def test_vector_use_is_what_the_wrong_vector_costs():
    np.testing.assert_allclose(metrics.vector_use([2.0, 3.0], [2.5, 2.75]), [0.5, -0.25])
    with pytest.raises(ValueError, match="paired by example"):
        metrics.vector_use([1.0], [1.0, 2.0])


@given(st.integers(2, 60), st.integers(0, 2**31))
def test_a_derangement_leaves_nobody_in_place(n, seed):
    order = metrics.derangement(n, seed=seed)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()
    np.testing.assert_array_equal(order, metrics.derangement(n, seed=seed))


def test_one_entity_cannot_be_swapped():
    with pytest.raises(ValueError, match="two entities"):
        metrics.derangement(1, seed=0)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d", 0),  # abc, bcd
        ("so good so good so good", 0.5),  # sgs, gsg, sgs, gsg
        ("No no NO no", 0.5),
        ("two words", 0),
        ("", 0),
    ],
)
def test_repetition(text, share):
    assert metrics.repetition(text) == share


def test_mean_interval_is_that_of_the_normal_approximation_for_many_values():
    values = np.random.default_rng(1).normal(3, 2, size=400)
    interval = metrics.mean_interval(values, seed=0)
    half = 1.96 * values.std() / sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert interval == metrics.mean_interval(values, seed=0)
    assert interval != metrics.mean_interval(values, seed=1)


def test_intervals_of_constant_values_have_no_width():
    assert metrics.mean_interval([1, 1, 1], seed=0) == Interval(1, 1, 1)


def test_intervals_of_nothing_are_nan():
    for interval in (metrics.mean_interval([], seed=0), metrics.normalised_interval([], [], [], seed=0)):
        assert isnan(interval.value)
        assert isnan(interval.low)
        assert not interval.excludes_zero


@pytest.mark.parametrize(("low", "high", "excludes"), [(0.1, 0.3, True), (-0.1, 0.3, False), (-0.3, -0.1, True)])
def test_excludes_zero(low, high, excludes):
    assert Interval(0.1, low, high).excludes_zero is excludes


def test_normalised_interval_resamples_all_three_together():
    floor, ceiling = np.array([0.1, 0.3, 0.2, 0.4]), np.array([0.6, 0.9, 0.5, 0.8])
    halfway = (floor + ceiling) / 2
    interval = metrics.normalised_interval(halfway, floor, ceiling, seed=0)
    # half of the way for every entity is half of the way in every resample
    np.testing.assert_allclose([interval.value, interval.low, interval.high], 0.5)


def test_normalised_interval_needs_room_below_the_ceiling():
    assert isnan(metrics.normalised_interval([0.5, 0.5], [0.6, 0.6], [0.6, 0.6], seed=0).value)


def test_mean_by_counts_an_entity_once():
    assert metrics.mean_by([1, 2, 6], ["b", "a", "b"]) == {"b": 3.5, "a": 2.0}
