"""Concepts: directions against the arithmetic by hand, quality against data with and without the concept."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecspeak.concepts import Concept, concept_folder, load_concept, load_concepts, save_concept
from vecspeak.encode import Encoder
from vecspeak.errors import ConceptError, PointError, SpaceError
from vecspeak.geometry import parse_point
from vecspeak.space import Space

E, N = 8, 120
AXIS = np.eye(E)[0]
"""Entities with an even number have more of it."""

METHODS = ("mean", "logistic")


class Reader(Encoder):
    """Reads every text as the axis."""

    name = "reader"
    dimension = E

    def encode(self, texts):
        return np.tile(AXIS, (len(texts), 1)).astype(np.float32)


def vectors(*, shift: float = 2.0, seed: int = 0) -> np.ndarray:
    """(N, E): noise, even rows pushed along the axis."""
    drawn = np.random.default_rng(seed).normal(size=(N, E)) + 0.5
    drawn[::2] += shift * AXIS
    return drawn.astype(np.float32)


@pytest.fixture
def space(tmp_path):
    columns = {
        "kind": [["even", "whole"] if row % 2 == 0 else ["odd"] for row in range(N)],
        "word": ["even" if row % 2 == 0 else None for row in range(N)],
        "amount": [float(row % 2) * 10 + row / N if row else None for row in range(N)],
        "same": [1] * N,
    }
    ids = [f"e{row}" for row in range(N)]
    return Space.create(
        tmp_path / "s.lance", ids=ids, vectors=vectors(), name="s", metric="dot", encoder="reader", columns=columns
    )


@pytest.fixture
def sides(space):
    return space.ids[::2], space.ids[1::2]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_the_mean_difference_is_the_difference_of_the_means_one_deviation_long(space, sides):
    concept = Concept.fit(space, *sides, name="even")
    expected = unit(space.vectors[::2].mean(0) - space.vectors[1::2].mean(0))
    np.testing.assert_allclose(unit(concept.step_E), expected, atol=1e-5)
    assert np.linalg.norm(concept.step_E) == pytest.approx(np.std(space.vectors @ expected), rel=1e-5)
    moved = space["e1"].steer(concept, 1.5)
    np.testing.assert_allclose(moved.vector, space["e1"].vector + 1.5 * concept.step_E, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_there_is_found_and_better_than_chance(space, sides, method):
    concept = Concept.fit(space, *sides, name="even", method=method)
    assert unit(concept.step_E) @ AXIS > 0.9
    assert concept.quality.measure == "balanced accuracy"
    assert 0.75 < concept.quality.value < 0.95  # two normals two deviations apart: 0.84
    assert concept.quality.p <= 0.025
    assert concept.quality.examples == N


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_there_is_refused_unless_forced(tmp_path, method):
    noise = Space.create(tmp_path / "n.lance", ids=[f"e{i}" for i in range(N)], vectors=vectors(shift=0), name="n")
    sides = noise.ids[::2], noise.ids[1::2]
    with pytest.raises(ConceptError, match=r"'even' is no better than chance: balanced accuracy 0.*Give more"):
        Concept.fit(noise, *sides, name="even", method=method)
    forced = Concept.fit(noise, *sides, name="even", method=method, force=True)
    assert not forced.quality.beats_chance


def test_a_true_concept_is_rare_among_noise(tmp_path):
    """The p value is honest: of 40 concepts fitted to noise about one in twenty passes."""
    drawn = np.random.default_rng(5).normal(size=(60, E)).astype(np.float32)
    space = Space.create(tmp_path / "n.lance", ids=[f"e{i}" for i in range(60)], vectors=drawn, name="n")
    passed = 0
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(space.ids).tolist()
        passed += Concept.fit(space, order[:30], order[30:], name="noise", force=True).quality.beats_chance
    assert passed <= 6  # 2 expected; 7 or more in one of 300 runs


def test_two_sides_of_unequal_size_are_weighted_alike(space):
    few = space.ids[:8:2]
    concept = Concept.fit(space, few, name="even", force=True)
    others = [row for row in range(N) if row not in (0, 2, 4, 6)]
    expected = space.vectors[[0, 2, 4, 6]].mean(0) - space.vectors[others].mean(0)
    np.testing.assert_allclose(unit(concept.step_E), unit(expected), atol=1e-5)


@pytest.mark.parametrize(("column", "value"), [("kind", "even"), ("word", "even")])
def test_a_column_gives_the_sides(space, sides, column, value):
    concept = Concept.fit_column(space, column, value, name="even")
    np.testing.assert_allclose(concept.step_E, Concept.fit(space, *sides, name="even").step_E, atol=1e-5)
    assert concept.source == f"{column} = {value}: 60 entities against 60"


def test_numbers_give_the_upper_third_against_the_lower(space):
    concept = Concept.fit_column(space, "amount", name="large")
    order = sorted(range(1, N), key=lambda row: (row % 2) * 10 + row / N)
    third = len(order) // 3
    expected = space.vectors[order[-third:]].mean(0) - space.vectors[order[:third]].mean(0)
    np.testing.assert_allclose(unit(concept.step_E), unit(expected), atol=1e-5)


@pytest.mark.parametrize("method", ["mean", "ranking"])
def test_preferences_give_the_direction_and_agree_on_unseen_entities(space, sides, method):
    rng = np.random.default_rng(0)
    pairs = [(str(rng.choice(sides[0])), str(rng.choice(sides[1]))) for _ in range(300)]
    concept = Concept.fit_preferences(space, pairs, name="even", method=method)
    assert unit(concept.step_E) @ AXIS > 0.9
    assert concept.quality.measure == "pairwise agreement"
    assert 0.8 < concept.quality.value <= 1
    if method == "mean":
        differences = np.stack([space[more].vector - space[less].vector for more, less in pairs])
        np.testing.assert_allclose(unit(concept.step_E), unit(differences.mean(0)), atol=1e-5)
    with pytest.raises(ConceptError, match="no better than chance"):
        rounds = [pair if rng.random() < 0.5 else pair[::-1] for pair in pairs]
        Concept.fit_preferences(space, rounds, name="even", method=method)


def test_agreement_counts_ties_half(space, sides):
    concept = Concept.fit(space, *sides, name="even")
    ranked = sorted(space.ids, key=lambda id: -float(space[id].vector @ concept.step_E))
    assert concept.agreement(space, [(ranked[0], ranked[5]), (ranked[7], ranked[2])]) == 0.5
    assert concept.agreement(space, [(ranked[0], ranked[5])]) == 1
    assert concept.agreement(space, [(ranked[3], ranked[3])]) == 0.5
    assert np.isnan(concept.agreement(space, []))


def test_strengths_are_deviations_from_the_middle(space, sides):
    concept = Concept.fit(space, *sides, name="even")
    strengths = concept.strengths(space.vectors)
    assert strengths.mean() == pytest.approx(0, abs=1e-5)
    assert strengths.std() == pytest.approx(1, rel=1e-4)
    moved = concept.strengths(np.stack([space["e3"].vector, space["e3"].steer(concept, 2).vector]))
    assert moved[1] - moved[0] == pytest.approx(2, rel=1e-4)


def test_a_text_points_from_the_middle_towards_itself(space):
    concept = Concept.fit_text(space, "the axis", name="axis", encoder=Reader())
    np.testing.assert_allclose(unit(concept.step_E), unit(AXIS - space.mean_vector), atol=1e-5)
    assert concept.quality is None


# ---- kept beside the space


def test_a_saved_concept_comes_back_and_steers(space, sides):
    concept = Concept.fit(space, *sides, name="even")
    save_concept(concept, concept_folder(space))
    save_concept(concept, concept_folder(space))
    assert sorted(path.name for path in concept_folder(space).iterdir()) == ["even.json", "even.safetensors"]
    found = load_concept(space, "even")
    assert np.array_equal(found.step_E, concept.step_E)
    assert (found.name, found.method, found.source, found.quality) == ("even", "mean", concept.source, concept.quality)
    assert list(load_concepts(space)) == ["even"]
    point = parse_point(space, "e1+even*2", directions=load_concepts(space))
    np.testing.assert_array_equal(point.vector, space["e1"].steer(concept, 2).vector)


def test_rows_added_leave_a_space_its_concepts_and_another_space_refuses_them(tmp_path, space, sides):
    concept = Concept.fit(space, *sides, name="even")
    more = np.concatenate([vectors(), vectors(seed=1)])
    ids = [f"e{i}" for i in range(2 * N)]
    concept.check(Space.create(tmp_path / "m.lance", ids=ids, vectors=more, name="m", metric="dot", encoder="reader"))
    for name, made, facts, match in (
        ("far", vectors() + 1, {"metric": "dot", "encoder": "reader"}, "its middle lies .* spreads from that of far"),
        ("cos", vectors(), {"metric": "cosine", "encoder": "reader"}, "of metric dot, cos has cosine"),
        ("enc", vectors(), {"metric": "dot"}, "of encoder reader, enc has None"),
        ("dim", vectors()[:, :4], {"metric": "dot", "encoder": "reader"}, "of dimension 8, dim has 4"),
    ):
        other = Space.create(tmp_path / f"{name}.lance", ids=space.ids, vectors=made, name=name, **facts)
        save_concept(concept, concept_folder(other))
        with pytest.raises(ConceptError, match=match):
            load_concepts(other)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda folder: (folder / "even.safetensors").unlink(), "does not load"),
        (lambda folder: (folder / "even.safetensors").write_bytes(b"x"), "does not load"),
        (lambda folder: (folder / "even.json").write_text("{"), "does not load"),
        (lambda folder: (folder / "even.json").write_text(json.dumps({"format": 2})), "does not load"),
    ],
)
def test_a_damaged_concept_says_so(space, sides, damage, match):
    save_concept(Concept.fit(space, *sides, name="even"), concept_folder(space))
    damage(concept_folder(space))
    with pytest.raises(ConceptError, match=match):
        load_concept(space, "even")


def test_an_unknown_concept_lists_the_known(space, sides):
    with pytest.raises(ConceptError, match=r"no concept 'odd'\. It has none yet"):
        load_concept(space, "odd")
    save_concept(Concept.fit(space, *sides, name="even"), concept_folder(space))
    for name in ("odd", "../s.lance/x", ""):
        with pytest.raises(ConceptError, match=r"Known: even\."):
            load_concept(space, name)


# ---- refusals


@given(name=st.text(max_size=5))
def test_a_name_stands_in_an_expression_or_is_refused(name):
    from vecspeak.concepts import check_name
    from vecspeak.geometry import Name, Sum, parse

    try:
        check_name(name)
    except ConceptError as error:
        assert repr(name) in str(error)
    else:
        assert parse(f"x+{name}*2") == Sum(((1.0, Name("x")), (2.0, Name(name))))


def test_examples_that_cannot_be_fitted_say_why(space):
    fit = Concept.fit
    for call, error, match in (
        (lambda: fit(space, ["e0"], ["e1", "e3"], name="a"), ConceptError, "at least two positive examples, got 1"),
        (lambda: fit(space, ["e0", "e2"], ["e1"], name="a"), ConceptError, "at least two negative examples, got 1"),
        (lambda: fit(space, ["e0", "e2"], ["e2", "e1"], name="a"), ConceptError, "'e2' is given twice"),
        (lambda: fit(space, ["e0", "x"], name="a"), PointError, "no entity 'x'"),
        (lambda: fit(space, ["e0", "e2"], name="2nd"), ConceptError, "'2nd' is no name for a concept"),
        (lambda: fit(space, ["e0", "e2"], ["e1", "e3"], name="a"), ConceptError, "no better than chance"),
        (lambda: Concept.fit_column(space, "kin", "even", name="a"), SpaceError, "no column 'kin'"),
        (lambda: Concept.fit_column(space, "kind", "Even", name="a"), ConceptError, "No entity of s has 'Even'"),
        (lambda: Concept.fit_column(space, "word", name="a"), ConceptError, "holds no numbers"),
        (lambda: Concept.fit_column(space, "same", name="a"), ConceptError, "is 1 for too many entities"),
        (lambda: Concept.fit_preferences(space, [("e0", "e1")], name="a"), ConceptError, "two preferences, got 1"),
        (lambda: Concept.fit_preferences(space, [("e0", "e0")] * 2, name="a"), ConceptError, "preferred to itself"),
        (lambda: Concept.fit_text(space, " ", name="a", encoder=Reader()), ConceptError, "needs a text"),
    ):
        with pytest.raises(error, match=match):
            call()


def test_a_direction_that_is_none_is_refused(tmp_path):
    twins = np.repeat(np.eye(E, dtype=np.float32)[:2], 2, 0)
    space = Space.create(tmp_path / "t.lance", ids=["a", "b", "c", "d"], vectors=twins, name="t")
    with pytest.raises(ConceptError, match="has no direction: both sides have the same middle"):
        Concept.fit(space, ["a", "c"], ["b", "d"], name="same", force=True)


def test_the_films_concepts_belong_to_them_and_order_films_they_were_not_fitted_on():
    from vecspeak.bundled import bundled_space_path

    films = Space.open(bundled_space_path())
    concepts = load_concepts(films)
    assert {"funny", "scary", "romantic", "animated"} <= set(concepts)
    assert all(concept.quality.beats_chance for concept in concepts.values())
    rows = zip(films.ids, films.column("genres"), films.column("split"), strict=True)
    held_out = [(id, "Comedy" in genres) for id, genres, side in rows if side == "test"]
    pairs = [(more, less) for more, yes in held_out if yes for less, other in held_out if not other]
    assert concepts["funny"].agreement(films, pairs) > 0.8
