"""The sampler: a function of seed and step alone, fair within groups, exact between them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import E, vectors

from vecspeak.examples import Example
from vecspeak.sampling import POOL, Sampler


def group(name: str, size: int) -> list[Example]:
    drawn = vectors(size, seed=size)
    return [
        Example(name, "{x}" * (1 + i % 5), {"x": drawn[i]}, "word " * (i % 7), (f"{name}{i}",)) for i in range(size)
    ]


def drawn(sampler: Sampler, steps: int) -> list[Example]:
    return [example for step in range(steps) for example in sampler.batch(step)]


def ids(examples: list[Example]) -> list[str]:
    return [example.ids[0] for example in examples]


def test_a_step_gives_the_same_examples_in_any_order_of_asking():
    groups = [group("a", 33), group("b", 5)]
    forward = Sampler(groups, [0.5, 0.5], 4, seed=7, vector_dropout=0.3, mean_E=np.zeros(E, np.float32))
    straight = [[(e.ids, e.points["x"].tobytes()) for e in forward.batch(step)] for step in range(5 * POOL)]
    for step in (70, 3, 16, 15, 41, 0, 79):
        fresh = Sampler(groups, [0.5, 0.5], 4, seed=7, vector_dropout=0.3, mean_E=np.zeros(E, np.float32))
        assert [(e.ids, e.points["x"].tobytes()) for e in fresh.batch(step)] == straight[step]


def test_seeds_differ():
    first, second = (ids(drawn(Sampler([group("a", 200)], [1.0], 4, seed=seed), POOL)) for seed in (0, 1))
    assert first != second


@given(size=st.integers(1, 70), batch_size=st.integers(1, 5), pools=st.integers(1, 4), seed=st.integers(0, 9))
def test_every_example_comes_once_before_any_comes_twice(size, batch_size, pools, seed):
    sampler = Sampler([group("a", size)], [1.0], batch_size, seed=seed)
    seen = Counter(ids(drawn(sampler, pools * POOL)))
    assert sum(seen.values()) == pools * POOL * batch_size
    counts = [seen[f"a{i}"] for i in range(size)]
    assert max(counts) - min(counts) <= 1


@given(weights=st.lists(st.integers(1, 20), min_size=1, max_size=5), batch_size=st.integers(1, 6))
def test_shares_hold_exactly_and_within_every_group_all_come_alike(weights, batch_size):
    groups = [group(name, size) for name, size in zip("abcde", (3, 11, 1, 40, 8), strict=True)][: len(weights)]
    shares = [weight / sum(weights) for weight in weights]
    examples = drawn(Sampler(groups, shares, batch_size, seed=2), 3 * POOL)
    for members, share in zip(groups, shares, strict=True):
        seen = Counter(name for name in ids(examples) if name.startswith(members[0].task))
        assert abs(sum(seen.values()) - share * len(examples)) <= 1
        counts = [seen[member.ids[0]] for member in members]
        assert max(counts) - min(counts) <= 1


def test_batches_hold_examples_of_like_length():
    def padding(batches: list[list[Example]]) -> int:
        lengths = [[len(e.prompt) + len(e.target) for e in batch] for batch in batches]
        return sum(max(row) * len(row) - sum(row) for row in lengths)

    sampler = Sampler([group("a", 300)], [1.0], 8, seed=0)
    batches = [sampler.batch(step) for step in range(POOL)]
    mixed = [example for batch in batches for example in batch]
    mixed = [mixed[i::POOL] for i in range(POOL)]
    assert padding(batches) < 0.5 * padding(mixed)
    assert all(len(batch) == 8 for batch in batches)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_vector_dropout_gives_its_share_the_mean_vector(share):
    mean = np.full(E, 0.5, np.float32)
    sampler = Sampler([group("a", 500)], [1.0], 8, seed=1, vector_dropout=share, mean_E=mean)
    examples = drawn(sampler, 20 * POOL)
    dropped = [np.array_equal(example.points["x"], mean) for example in examples]
    assert np.mean(dropped) == pytest.approx(share, abs=0.03)
    assert {len(example.points) for example in examples} == {1}


def test_dropout_takes_all_points_of_an_example():
    pair = Example("pair", "{x} {y}", dict(zip("xy", vectors(2), strict=True)), "t", ("1", "2"))
    mean = np.zeros(E, np.float32)
    for example in drawn(Sampler([[pair]], [1.0], 4, seed=0, vector_dropout=0.5, mean_E=mean), POOL):
        assert len({np.array_equal(vector, mean) for vector in example.points.values()}) == 1
    assert pair.points["x"].any(), "the group's own examples stay as they were"
