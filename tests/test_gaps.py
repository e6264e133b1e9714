"""Gaps: found by hand-made geometry, against brute force, and asked about from the command line."""

import json
from itertools import combinations

import numpy as np
import pytest
import tiny

from vecspeak import gaps
from vecspeak.cli import main
from vecspeak.errors import ConfigError, SpaceError
from vecspeak.gaps import find_gaps
from vecspeak.space import Space
from vecspeak.store import save


def space_of(folder, name, vectors, **options):
    vectors = np.asarray(vectors, np.float32)
    ids = [f"{name}{row}" for row in range(len(vectors))]
    return Space.create(folder / f"{name}.lance", ids=ids, vectors=vectors, name=name, **options)


def test_the_gap_lies_where_the_users_are_and_the_items_are_not(tmp_path, monkeypatch):
    """Eight items at each of two ends, eight in a far corner and one alone; all users between the ends."""
    monkeypatch.setattr(gaps, "FAVOURITES", 12)
    rng = np.random.default_rng(0)
    clumps = [axis + rng.normal(size=(8, 3)) * 0.03 for axis in np.eye(3)]
    items = space_of(tmp_path, "item", [*np.concatenate(clumps), [-1, -1, -1]])
    users = space_of(tmp_path, "user", [1, 1, 0.1] + rng.normal(size=(50, 3)) * 0.05)
    found = find_gaps(items, users, count=1, emptiness=90)
    (gap,) = found.found
    assert (gap.point.vector[:2] / np.linalg.norm(gap.point.vector)).min() > 0.6
    assert gap.audience == 1
    assert {near.id for near in gap.neighbours} <= {f"item{row}" for row in range(16)}
    assert len(gap.fans) == 5


def test_audiences_are_those_of_brute_force(tmp_path, monkeypatch):
    monkeypatch.setattr(gaps, "FAVOURITES", 4)
    monkeypatch.setattr(gaps, "BLOCK_SCORES", 84)
    rng = np.random.default_rng(1)
    items, users = (
        space_of(tmp_path, "item", rng.normal(size=(12, 5))),
        space_of(tmp_path, "user", rng.normal(size=(30, 5))),
    )
    found = find_gaps(items, users, count=50, emptiness=0)
    assert found.users == 30
    length = np.quantile(np.linalg.norm(items.vectors, axis=1), 0.95)
    least = np.sort(users.vectors @ items.vectors.T, axis=1)[:, -4]
    expected = {}
    for first, second in combinations(range(12), 2):
        if not any({first, second} <= set(np.argsort(-items.vectors @ user)[:4]) for user in users.vectors):
            continue
        middle = items[items.ids[first]].toward(items[items.ids[second]], 0.5)
        if middle.distance > 99:
            continue
        scores = users.vectors @ (middle.vector / np.linalg.norm(middle.vector) * length)
        expected[middle.label] = (scores > least).mean()
    kept, taken = [], set()
    for label, audience in sorted(expected.items(), key=lambda pair: -pair[1]):
        parents = set(label.removesuffix("@0.5").split(":"))
        if not parents & taken:
            taken |= parents
            kept.append(audience)
    assert [gap.audience for gap in found.found] == pytest.approx(kept)
    assert all(found.found[0].audience >= gap.audience for gap in found.found)
    for gap in found.found:
        assert gap.audience == pytest.approx(expected[gap.point.label])


def test_gaps_are_empty_enough_and_not_beyond_the_data(tmp_path):
    rng = np.random.default_rng(2)
    items, users = (
        space_of(tmp_path, "item", rng.normal(size=(60, 4))),
        space_of(tmp_path, "user", rng.normal(size=(40, 4))),
    )
    for emptiness in (0, 40, 80):
        found = find_gaps(items, users, count=30, emptiness=emptiness).found
        assert found
        assert all(emptiness <= gap.point.distance <= 99 for gap in found)
        parents = [name for gap in found for name in gap.point.label.removesuffix("@0.5").split(":")]
        assert len(parents) == len(set(parents))


def test_spaces_and_settings_that_cannot_work(tmp_path):
    items = space_of(tmp_path, "item", np.eye(4))
    with pytest.raises(SpaceError, match="Items have 4 dimensions, users 3"):
        find_gaps(items, space_of(tmp_path, "user", np.eye(3)))
    with pytest.raises(SpaceError, match="at least 3"):
        find_gaps(space_of(tmp_path, "few", np.eye(4)[:2]), items)
    with pytest.raises(SpaceError, match="the metric dot; gaps need cosine"):
        find_gaps(space_of(tmp_path, "dot", np.eye(4), metric="dot"), items)
    with pytest.raises(SpaceError, match="not of one factorisation"):
        find_gaps(items, space_of(tmp_path, "other", np.eye(4), source="elsewhere"))
    for options in ({"count": 0}, {"emptiness": 99.5}, {"emptiness": -1.0}):
        with pytest.raises(ConfigError, match="expected at least 1, and 0 to 99"):
            find_gaps(items, items, **options)


def test_opposite_items_have_no_middle(tmp_path):
    items = space_of(tmp_path, "item", [[1, 0], [-1, 0], [0, 1], [0, -1]])
    found = find_gaps(items, space_of(tmp_path, "user", [[1, 0.1], [-1, 0.2], [0.3, 1]]), emptiness=0)
    assert all(np.isfinite(gap.point.vector).all() for gap in found.found)
    line = space_of(tmp_path, "line", [[1, 0], [-1, 0], [-1, 0]])
    assert find_gaps(line, space_of(tmp_path, "two", [[1, 0.1], [-1, 0.2]]), emptiness=0).users == 2


def test_the_command_asks_about_every_gap(tmp_path, capsys):
    rng = np.random.default_rng(3)
    items, users = (
        space_of(tmp_path, "item", rng.normal(size=(30, tiny.E))),
        space_of(tmp_path, "user", rng.normal(size=(20, tiny.E))),
    )
    tiny.base().save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    elm = tiny.elm()
    save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base=str(tmp_path / "base")))
    argv = [
        "gaps",
        str(tmp_path / "model"),
        str(users.path),
        "--space",
        str(items.path),
        "--emptiness",
        "10",
        "--count",
        "2",
    ]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["users"] == 20
    assert len(found["gaps"]) == 2
    assert {"point", "audience", "fans", "text", "distance", "neighbours"} <= set(found["gaps"][0])
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 gaps. Of an existing item, as well known: a favourite of ")
    assert found["gaps"][1]["point"] in out
    assert main([*argv, "--prompt", "Describe."]) == 2
    assert "needs one slot" in capsys.readouterr().err
