"""Splitting by connected entities, against scipy's connected components."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vecspeak.splits import split_entities

Graph = tuple[list[str], list[tuple[str, str]]]


@st.composite
def sparse_graphs(draw: st.DrawFn) -> Graph:
    """30 to 60 ids and a few pairs, some with an id that is not among them."""
    ids = [f"id{number}" for number in range(draw(st.integers(30, 60)))]
    node = st.sampled_from([*ids, "stranger"])
    return ids, draw(st.lists(st.tuples(node, node), max_size=8))


def components(ids: list[str], pairs: list[tuple[str, str]]) -> list[set[str]]:
    position = {id: number for number, id in enumerate(ids)}
    edges = [(position[a], position[b]) for a, b in pairs if a in position and b in position]
    rows, columns = np.array(edges, dtype=int).reshape(-1, 2).T
    matrix = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(ids), len(ids)))
    _, labels = connected_components(matrix, directed=False)
    return [{id for id, label in zip(ids, labels, strict=True) if label == group} for group in set(labels)]


@given(sparse_graphs(), st.sampled_from(["a", "b"]))
def test_groups_stay_together_and_sizes_are_exact(graph: Graph, salt: str) -> None:
    ids, pairs = graph
    sizes = {"test": 5, "validation": 5, "train": len(ids) - 10}
    side_of = split_entities(ids, pairs=pairs, sizes=sizes, salt=salt)
    assert {side: sum(value == side for value in side_of.values()) for side in sizes} == sizes
    assert set(side_of) == set(ids)
    for group in components(ids, pairs):
        assert len({side_of[id] for id in group}) == 1


@given(sparse_graphs(), st.randoms(use_true_random=False))
def test_order_of_ids_and_pairs_does_not_matter(graph: Graph, rng: random.Random) -> None:
    ids, pairs = graph
    sizes = {"test": 5, "train": len(ids) - 5}
    expected = split_entities(ids, pairs=pairs, sizes=sizes, salt="s")
    turned = [(b, a) for a, b in rng.sample(pairs, len(pairs))]
    assert split_entities(rng.sample(ids, len(ids)), pairs=turned, sizes=sizes, salt="s") == expected


def test_the_split_is_this_one_on_every_machine() -> None:
    side_of = split_entities(
        list("abcdefgh"), pairs=[("a", "b"), ("b", "c")], sizes={"test": 2, "train": 6}, salt="films"
    )
    # the two smallest SHA-256 digests of "films:<id>" outside the connected a, b, c
    assert {id for id, side in side_of.items() if side == "test"} == {"e", "g"}


def test_another_salt_gives_another_split() -> None:
    ids = [str(number) for number in range(100)]
    one, other = (split_entities(ids, pairs=[], sizes={"test": 50, "train": 50}, salt=salt) for salt in ("a", "b"))
    assert one != other


def test_a_large_group_never_fills_a_small_side() -> None:
    ids = [str(number) for number in range(30)]
    chain = [(str(number), str(number + 1)) for number in range(5)]
    for salt in map(str, range(20)):
        side_of = split_entities(ids, pairs=chain, sizes={"test": 9, "train": 21}, salt=salt)
        assert side_of["0"] == "train"


@pytest.mark.parametrize(
    ("ids", "sizes", "message"),
    [
        (["a", "b"], {"test": 1, "train": 2}, "sum to 3, there are 2 ids"),
        (["a", "a", "b"], {"test": 1, "train": 2}, "1 of 3 ids come twice"),
        (["a", "b", "c", "d"], {"test": 3, "train": 1}, "side 'test' could not be filled exactly: 3 of 3 left"),
    ],
)
def test_refused(ids: list[str], sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_entities(ids, pairs=[("a", "b"), ("c", "d")], sizes=sizes, salt="s")
