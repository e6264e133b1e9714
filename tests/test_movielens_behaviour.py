"""Behavioural consistency and the prediction of held-out ratings, against figures by hand and plain loops."""

from math import log2, sqrt

import numpy as np
import pytest

from vecspeak import metrics
from vecspeak.factors import Factors, Ratings
from vecspeak.movielens.behaviour import FEWEST, MEASURES, FilmBehaviour, UserBehaviour
from vecspeak.movielens.predictors import grouped, predictors
from vecspeak.space import Space

RATED_NDCG, RATED_SPEARMAN, ALL_NDCG, ALL_SPEARMAN = MEASURES
ALL = 10**6
"""So many unrated that every one is a candidate: nothing is left to chance."""


def ratings_of(stars, *, users=None, items=None):
    """From user -> film -> stars."""
    users = users or sorted(stars)
    items = items or sorted({film for rated in stars.values() for film in rated})
    triples = [(users.index(u), items.index(f), s) for u, rated in stars.items() for f, s in rated.items()]
    columns = np.array(triples, float).reshape(-1, 3).T
    return Ratings(users, items, columns[0].astype(np.uint32), columns[1].astype(np.uint32), np.float32(columns[2]))


def space_of(folder, vectors):
    return Space.create(
        folder / "films.lance", ids=list(vectors), vectors=np.array(list(vectors.values()), np.float32), name="films"
    )


def around(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


NOBODY = ratings_of({})


# ---- users


@pytest.fixture(scope="module")
def fan(tmp_path_factory):
    """Films by their angle; stars fall with it, except for a tie. Lengths are not 1."""
    vectors = {f"f{angle}": 3 * np.array(around(angle)) for angle in (0, 10, 20, 30, 40, 50, 60, 70)}
    return space_of(tmp_path_factory.mktemp("fan"), vectors)


HELD = {"ann": {"f0": 5, "f20": 4, "f40": 3, "f50": 3, "f70": 1, "elsewhere": 5}, "bob": {"f0": 5, "f10": 1}}


def test_users_by_hand(fan):
    behaviour = UserBehaviour.of(ratings_of(HELD), fan, rated_before=NOBODY, left_out={}, unrated=ALL)
    found = behaviour.consistency(np.float32([around(0), around(90)]), ["ann", "ann"])
    assert list(found) == list(MEASURES)
    d = [1 / log2(place + 1) for place in range(1, 9)]
    best = 5 * d[0] + 4 * d[1] + 3 * d[2] + 3 * d[3] + d[4]
    # from 0 degrees: f0 f10 f20 ... f70, of which f10, f30 and f60 are unrated
    rising = 5 * d[0] + 4 * d[2] + 3 * d[4] + 3 * d[5] + d[7]
    falling = d[0] + 3 * d[2] + 3 * d[3] + 4 * d[5] + 5 * d[7]
    np.testing.assert_allclose(found[ALL_NDCG], [rising / best, falling / best])
    np.testing.assert_allclose(found[RATED_NDCG], [1, (d[0] + 3 * d[1] + 3 * d[2] + 4 * d[3] + 5 * d[4]) / best])
    # ranks 5 4 3 2 1 of nearness with 5 4 2.5 2.5 1 of stars
    np.testing.assert_allclose(found[RATED_SPEARMAN], np.array([1, -1]) * 9.5 / sqrt(10 * 9.5))
    # ranks 8..1 with stars 5 0 4 0 3 3 0 1, that is 8 2 7 2 5.5 5.5 2 4
    centred = np.array([8, 2, 7, 2, 5.5, 5.5, 2, 4]) - 4.5
    expected = np.arange(3.5, -4, -1) @ centred / sqrt(42 * (centred @ centred))
    np.testing.assert_allclose(found[ALL_SPEARMAN], np.array([1, -1]) * expected)


def test_users_with_nothing_to_measure_are_nan(fan):
    behaviour = UserBehaviour.of(ratings_of(HELD), fan, rated_before=NOBODY, left_out={})
    for values in behaviour.consistency(np.float32([around(0)] * 2), ["bob", "nobody"]).values():
        assert values.shape == (2,)
        assert np.isnan(values).all()
    for values in behaviour.consistency(np.empty((0, 2), np.float32), []).values():
        assert values.shape == (0,)


def test_equal_stars_have_no_rank_correlation(fan):
    alike = ratings_of({"ann": dict.fromkeys(["f0", "f10", "f20", "f30", "f40"], 4)})
    found = UserBehaviour.of(alike, fan, rated_before=NOBODY, left_out={}).consistency(np.float32([around(0)]), ["ann"])
    assert np.isnan(found[RATED_SPEARMAN]).all()
    assert found[RATED_NDCG] == found[ALL_NDCG] == 1
    assert found[ALL_SPEARMAN] == pytest.approx(sqrt(30 / 42))  # ranks 6 6 6 6 6 2 2 2 of stars


@pytest.mark.parametrize("way", ["rated before", "left out"])
def test_films_that_are_barred_are_never_candidates(fan, way):
    """The unrated films between the rated are what keeps the paper's NDCG below that of the rated alone."""
    between = ["f10", "f30", "f60"]
    before = ratings_of({"ann": dict.fromkeys(between, 2)}) if way == "rated before" else NOBODY
    left_out = {"ann": {*between, "unknown"}} if way == "left out" else {}
    behaviour = UserBehaviour.of(ratings_of(HELD), fan, rated_before=before, left_out=left_out, unrated=ALL)
    found = behaviour.consistency(np.float32([around(25)]), ["ann"])
    assert found[ALL_NDCG] == found[RATED_NDCG]
    assert found[ALL_SPEARMAN] == found[RATED_SPEARMAN]


def test_what_the_profile_was_written_from_is_not_among_the_rated(fan):
    barred = UserBehaviour.of(ratings_of(HELD), fan, rated_before=NOBODY, left_out={"ann": ["f70"]})
    assert np.isnan(barred.consistency(np.float32([around(0)]), ["ann"])[RATED_NDCG])  # four are too few
    others = UserBehaviour.of(ratings_of(HELD), fan, rated_before=NOBODY, left_out={"bob": ["f70"]})
    assert others.consistency(np.float32([around(0)]), ["ann"])[RATED_NDCG] == 1


def test_so_many_unrated_films_are_drawn(tmp_path):
    """All unrated films are nearer to the text than all rated: the first rated place tells their number."""
    vectors = {f"far{k}": [0, 1] for k in range(FEWEST)} | {f"near{k}": [1, 0] for k in range(30)}
    held = ratings_of({"ann": {f"far{k}": 1 for k in range(FEWEST)}})
    films = space_of(tmp_path, vectors)
    for unrated in (0, 7, 29):
        behaviour = UserBehaviour.of(held, films, rated_before=NOBODY, left_out={}, unrated=unrated)
        found = behaviour.consistency(np.float32([[1, 0]]), ["ann"])[ALL_NDCG]
        d = 1 / np.log2(np.arange(2, unrated + FEWEST + 2))
        assert found == pytest.approx(d[unrated:].sum() / d[:FEWEST].sum())


# ---- films


def test_films_by_hand(tmp_path):
    """Five raters of m and one other; tastes without m worked out below."""
    films = space_of(tmp_path, {"east": [2, 0], "north": [0, 5], "m": [-1, -1]})
    ratings = ratings_of(
        {
            "u1": {"east": 5, "north": 3, "m": 4, "elsewhere": 1},  # +1 east -1 north: (1, -1) / sqrt 2
            "u2": {"east": 2, "north": 4, "m": 1, "elsewhere": 5},  # (-1, 1) / sqrt 2
            "u3": {"m": 5},  # nothing else: 0
            "u4": {"east": 3, "m": 3.5},  # one film alone is at its own mean: 0
            "u5": {"east": 4, "north": 4, "m": 1},  # all alike: 0
            "u6": {"east": 1, "north": 4},  # did not rate m: (-1, 1) / sqrt 2
            "u7": {"elsewhere": 3},  # no film of the space: never a candidate
        }
    )
    found = FilmBehaviour.of(ratings, films, unrated=ALL).consistency(np.float32([[1, 0], [1, 1]]), ["m", "m"])
    d = [1 / log2(place + 1) for place in range(1, 7)]
    best = 5 * d[0] + 4 * d[1] + 3.5 * d[2] + d[3] + d[4]
    # by nearness to the east: u1, then u3 u4 u5 at 0, then u2 and u6
    tied = (5 + 3.5 + 1) / 3 * (d[1] + d[2] + d[3])
    np.testing.assert_allclose(found[RATED_NDCG][0], (4 * d[0] + tied + d[4]) / best)
    np.testing.assert_allclose(found[ALL_NDCG][0], (4 * d[0] + tied + 0.5 * (d[4] + d[5])) / best)
    # ranks 5 1 3 3 3 with stars 4 1 5 3.5 1, that is 4 1.5 5 3 1.5
    np.testing.assert_allclose(found[RATED_SPEARMAN][0], (2 * 1 + 2 * 1.5) / sqrt(8 * 9.5))
    # ranks 6 1.5 4 4 4 1.5 with stars 4 1 5 3.5 1 0, that is 5 2.5 6 4 2.5 1
    near, stars = np.array([6, 1.5, 4, 4, 4, 1.5]) - 3.5, np.array([5, 2.5, 6, 4, 2.5, 1]) - 3.5
    np.testing.assert_allclose(found[ALL_SPEARMAN][0], near @ stars / sqrt((near @ near) * (stars @ stars)))


def test_a_taste_without_the_film_that_is_left_of_rounding_alone_is_zero(tmp_path):
    """A third of a star cannot be written in binary: what cancels leaves a direction, which must not count."""
    rng = np.random.default_rng(0)
    vectors = dict(zip(["m", *"abcdefg"], rng.normal(size=(8, 4)), strict=True))
    alike = {f"u{k}": {"m": 1 + k / 3, **dict.fromkeys("abcdefg", 1 / 3)} for k in range(6)}
    films = space_of(tmp_path, vectors)
    found = FilmBehaviour.of(ratings_of(alike), films).consistency(np.float32(rng.normal(size=(3, 4))), ["m"] * 3)
    assert np.isnan(found[RATED_SPEARMAN]).all()  # all cosines are equal
    assert len(set(found[RATED_NDCG].tolist())) == 1


def test_films_with_nothing_to_measure_are_nan(tmp_path):
    films = space_of(tmp_path, {"a": [1, 0], "b": [0, 1]})
    ratings = ratings_of({f"u{k}": {"a": 3, "elsewhere": 1 + k % 5} for k in range(FEWEST - 1)})
    found = FilmBehaviour.of(ratings, films).consistency(np.eye(3, 2, dtype=np.float32), ["a", "b", "elsewhere"])
    for values in found.values():
        assert np.isnan(values).all()


# ---- both


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Random stars of 14 users for 24 films, four of which the space lacks, and random texts."""
    rng = np.random.default_rng(3)
    films = [f"f{k}" for k in range(24)]
    stars = {f"u{k}": {film: float(rng.integers(1, 11)) / 2 for film in films if rng.random() < 0.6} for k in range(14)}
    vectors = {film: rng.normal(size=5) for film in rng.permutation(films[:20]).tolist()}
    texts = np.float32(rng.normal(size=(14, 5)))
    return ratings_of(stars, items=films), stars, space_of(tmp_path_factory.mktemp("crowd"), vectors), texts


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 1e-9 else 0.0


def expected_figures(rated, unrated):
    """Lists of (cosine, stars) and of cosines."""
    every = [*rated, *((score, 0.0) for score in unrated)]
    columns = [tuple(zip(*pairs, strict=True)) for pairs in (rated, every)]
    return [measure(*pair) for pair in columns for measure in (metrics.ndcg, metrics.spearman)]


def test_users_by_plain_loops(crowd):
    ratings, stars, films, texts = crowd
    held_R = np.random.default_rng(4).random(len(ratings.values_R)) < 0.7
    left_out = {user: [f"f{k}" for k in range(number % 5)] for number, user in enumerate(ratings.user_ids)}
    behaviour = UserBehaviour.of(
        ratings.part(held_R), films, rated_before=ratings.part(~held_R), left_out=left_out, unrated=ALL
    )
    found = behaviour.consistency(texts, ratings.user_ids)
    held = {
        (ratings.user_ids[u], ratings.item_ids[i])
        for u, i in zip(ratings.users_R[held_R], ratings.items_R[held_R], strict=True)
    }
    measured = 0
    for row, user in enumerate(ratings.user_ids):
        rated, unrated = [], []
        for film in films:
            score = cosine(texts[row], films[film].vector)
            if film in left_out[user]:
                continue
            if (user, film) in held:
                rated.append((score, stars[user][film]))
            elif film not in stars[user]:
                unrated.append(score)
        if len(rated) < FEWEST:
            assert all(np.isnan(values[row]) for values in found.values())
            continue
        measured += 1
        np.testing.assert_allclose([values[row] for values in found.values()], expected_figures(rated, unrated))
    assert 5 < measured < 14


def taste_by_loop(stars, films, user, *, without):
    others = {film: value for film, value in stars[user].items() if film in films and film != without}
    if not others:
        return np.zeros(films.dimension)
    mean = sum(others.values()) / len(others)
    return sum((value - mean) * films[f].vector / np.linalg.norm(films[f].vector) for f, value in others.items())


def test_films_by_plain_loops(crowd):
    ratings, stars, films, texts = crowd
    asked = films.ids[:14]
    found = FilmBehaviour.of(ratings, films, unrated=ALL).consistency(texts, asked)
    for row, film in enumerate(asked):
        rated, unrated = [], []
        for user in ratings.user_ids:
            score = cosine(texts[row], taste_by_loop(stars, films, user, without=film))
            if film in stars[user]:
                rated.append((score, stars[user][film]))
            else:
                unrated.append(score)
        expected = expected_figures(rated, unrated) if len(rated) >= FEWEST else [np.nan] * 4
        np.testing.assert_allclose([values[row] for values in found.values()], expected)


def test_a_text_that_is_the_taste_of_the_only_one_who_likes_the_film_is_best(crowd, tmp_path):
    """One rater gives 5 stars and the others 0.5: the best text is that rater's taste."""
    _, stars, films, texts = crowd
    film = films.ids[0]
    fan, *others = [user for user in stars if film in stars[user]]
    changed = {user: {**rated, **({film: 5.0 if user == fan else 0.5} if film in rated else {})}
               for user, rated in stars.items()}  # fmt: skip
    behaviour = FilmBehaviour.of(ratings_of(changed), films, unrated=0)
    best = taste_by_loop(changed, films, fan, without=film)
    found = behaviour.consistency(np.float32([best, -best, *texts]), [film] * (2 + len(texts)))
    assert len(others) >= FEWEST
    assert found[RATED_NDCG][0] == 1
    assert found[RATED_NDCG][1:].min() < 1
    assert found[RATED_SPEARMAN][0] == found[RATED_SPEARMAN].max() > found[RATED_SPEARMAN][1]


@pytest.mark.parametrize("kind", ["users", "films"])
def test_figures_depend_on_text_entity_and_seed_alone(crowd, kind):
    ratings, _, films, texts = crowd

    def made(seed):
        if kind == "users":
            return UserBehaviour.of(ratings, films, rated_before=NOBODY, left_out={}, unrated=3, seed=seed)
        return FilmBehaviour.of(ratings, films, unrated=2, seed=seed)

    ids = (ratings.user_ids if kind == "users" else films.ids)[:14]
    first, behaviour = made(0).consistency(texts, ids), made(0)
    backwards = behaviour.consistency(texts[::-1], ids[::-1])
    again = behaviour.consistency(2 * texts, ids)
    for name in MEASURES:
        np.testing.assert_allclose(first[name], backwards[name][::-1])
        np.testing.assert_allclose(first[name], again[name])
    other = made(1).consistency(texts, ids)
    np.testing.assert_array_equal(first[RATED_NDCG], other[RATED_NDCG])
    assert not np.array_equal(first[ALL_NDCG], other[ALL_NDCG], equal_nan=True)


def test_texts_pair_with_ids(crowd):
    ratings, _, films, texts = crowd
    behaviour = FilmBehaviour.of(ratings, films)
    with pytest.raises(ValueError, match="zip"):
        behaviour.consistency(texts[:2], films.ids[:3])
    with pytest.raises(ValueError, match="mismatch"):
        behaviour.consistency(texts[:2, :3], films.ids[:2])


# ---- prediction of held-out ratings


@pytest.fixture(scope="module")
def halves():
    """60 users, 50 films, a third rated; two in five of the ratings are held out."""
    rng = np.random.default_rng(5)
    users_R, items_R = np.nonzero(rng.random((60, 50)) < 0.33)
    values_R = (rng.integers(1, 11, len(users_R)) / 2).astype(np.float32)
    order = rng.permutation(len(users_R))  # not sorted by user
    ratings = Ratings([f"u{k}" for k in range(60)], [f"f{k}" for k in range(50)],
                      users_R[order].astype(np.uint32), items_R[order].astype(np.uint32), values_R[order])  # fmt: skip
    held_R = rng.random(len(users_R)) < 0.4
    factors = Factors(np.float32(rng.normal(size=(60, 4))), np.float32(rng.normal(size=(50, 4))))
    return ratings.part(~held_R), ratings.part(held_R), factors


def pairs_of(ratings, user):
    triples = zip(ratings.users_R.tolist(), ratings.items_R.tolist(), ratings.values_R.tolist(), strict=True)
    return {film: stars for who, film, stars in triples if who == user}


def test_predictors_by_plain_loops(halves):
    training, held_out, factors = halves
    stars_of = {film: [] for film in range(50)}
    for film, stars in zip(training.items_R.tolist(), training.values_R.tolist(), strict=True):
        stars_of[film].append(stars)
    overall = sum(map(sum, stars_of.values())) / len(training.values_R)
    predictions = {
        "WALS, 4 factors": lambda user, film: float(factors.items_IE[film] @ factors.users_UE[user]),
        "mean rating": lambda user, film: (sum(stars_of[film]) + 5 * overall) / (len(stars_of[film]) + 5),
        "number of ratings": lambda user, film: len(stars_of[film]),
    }
    found = predictors(training, held_out, factors)
    assert [each.name for each in found] == list(predictions)
    for each, predicted in zip(found, predictions.values(), strict=True):
        ndcg, recall = [], []
        for user in range(60):
            held = pairs_of(held_out, user)
            if len(held) >= 5:
                ndcg.append(metrics.ndcg([predicted(user, film) for film in held], list(held.values())))
            liked = {film for film, stars in held.items() if stars >= 4}
            if liked:
                seen = pairs_of(training, user)
                ranked = sorted((f for f in range(50) if f not in seen), key=lambda f: -predicted(user, f))
                recall.append(len(liked & set(ranked[:20])) / min(20, len(liked)))
        assert len(recall) > len(ndcg) > 20
        assert each.ndcg.value == pytest.approx(np.mean(ndcg))
        assert each.recall.value == pytest.approx(np.mean(recall))
        assert each.ndcg.low < each.ndcg.value < each.ndcg.high


def test_a_perfect_predictor_reaches_one(halves):
    training, held_out, _ = halves
    table_UI = np.zeros((60, 50), np.float32)
    table_UI[held_out.users_R, held_out.items_R] = held_out.values_R
    perfect = predictors(training, held_out, Factors(table_UI, np.eye(50, dtype=np.float32)))[0]
    assert (perfect.name, perfect.ndcg.value, perfect.recall.value) == ("WALS, 50 factors", 1, 1)


def test_at_most_so_many_users_are_measured(halves):
    training, held_out, factors = halves
    every = [each.ndcg.value for each in predictors(training, held_out, factors)]
    some = [each.ndcg.value for each in predictors(training, held_out, factors, users=10)]
    assert some == [each.ndcg.value for each in predictors(training, held_out, factors, users=10)]
    assert some != every
    assert every == [each.ndcg.value for each in predictors(training, held_out, factors, users=60)]


def test_parts_of_other_ratings_are_refused(halves):
    training, held_out, factors = halves
    with pytest.raises(ValueError, match="same lists"):
        predictors(training, NOBODY, factors)
    with pytest.raises(ValueError, match=r"expected factors of \(users, films\) \(60, 50\), got \(60, 49\)"):
        predictors(training, held_out, Factors(factors.users_UE, factors.items_IE[1:]))


def test_grouped():
    assert [rows.tolist() for rows in grouped(np.array([2, 0, 2, 3], np.uint8), 5)] == [[1], [], [0, 2], [3], []]
