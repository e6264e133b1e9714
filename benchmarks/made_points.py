"""What the bundled film model says where no film is: steered points, points between films, points beyond all films.

    python benchmarks/made_points.py docs/images          (Markdown to stdout, three figures into the folder)
    python benchmarks/made_points.py /tmp/trial --films 2 --only interpolation

Answers to "Summarise {film}.", with the model's own decoding and at most 60 tokens, never best-of, which would choose
by the measure. The films asked about are of the test side. SC is the cosine of the re-encoded answer with the point.

Steering. Each film is pushed along each bundled concept. A concept was fitted from the genres of the training films;
its score knows nothing of that direction: the mean cosine of the re-encoded answer with a few plain phrases
(`PHRASES`), minus the mean cosine with the phrases of the other nine. Controls: a random direction of equal length for
each film and concept, and the pushes along the other nine concepts under the same score. A random direction leads out
of the data where a concept does not, so the second control is the harder one.

Interpolation. A text that is about as near to both ends is nearer to the midpoint than to either, whatever it says:
the share of such answers is to be read against that of another pair's answer and of the answers and the teacher's
summaries of the ends. Finding its own midpoint among all has a true chance level.

Distance. "The data" are the training films, as a space of their own: a held-out film is no row of it, and a training
film is left out of its own neighbours. So a made point never has the film that it was made of for a neighbour. A point
in the midst of the data is nearer to any text about films, so there is also SC beyond floor: SC minus the mean cosine
of all other points' answers with the point.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from made_points_figures import distance_figure, interpolation_figure, steering_figure
from made_points_shared import Asked, ask, encode, shown, side, spearman, spearman_interval, table

from vecspeak import Elm, Point, Space, load_bundled
from vecspeak.concepts import Concept, load_concepts
from vecspeak.geometry import grounded
from vecspeak.metrics import (
    cross_consistency,
    derangement,
    found_within,
    identification_ranks,
    mean_interval,
    semantic_consistency,
    unit_rows,
)
from vecspeak.space import Direction

FILMS, PAIRS, POINTS = 45, 50, 40
"""Films steered, pairs walked between, points of each kind."""

STRENGTHS = [0, 0.5, 1, 1.5, 2, 2.5, 3]
ALPHAS = [round(0.1 * step, 1) for step in range(11)]
STEERED, MIXED = [1, 2, 3, 5, 8], [0.1, 0.25, 0.5, 0.75]
GROUNDED = ["steered 3", "steered 5", "steered 8", "mixed 0.25", "mixed 0.5", "mixed 0.75"]
SHARE = 0.5
"""How far a grounded point is pulled back."""

BINS = [0, 25, 50, 75, 90, 99, 100]

PHRASES = {
    "animated": ["a cartoon for children", "talking animals in a family film", "colourful drawn characters"],
    "criminal": ["gangsters and a robbery", "a detective hunts a murderer", "police, drugs and the mafia"],
    "funny": ["a funny comedy full of jokes", "hilarious and silly situations", "it makes you laugh out loud"],
    "futuristic": ["robots and space travel", "a future of advanced technology", "aliens and a distant planet"],
    "magical": ["wizards, spells and dragons", "an enchanted fairy tale world", "a quest with mythical creatures"],
    "musical": ["singing and dancing", "songs performed on a stage", "a show with music and choreography"],
    "romantic": ["two people fall in love", "a tender love story", "a couple, a kiss and a wedding"],
    "scary": ["a terrifying horror story", "ghosts, monsters and blood", "a frightening nightmare"],
    "thrilling": ["tense suspense and danger", "a dangerous conspiracy", "a desperate chase against time"],
    "warlike": ["soldiers in battle", "an army at the front of a war", "combat, bombs and military orders"],
}


# ---- steering


def steering(elm: Elm, space: Space, out: Path, films: int | None) -> None:
    rng = np.random.default_rng(1)
    test = side(space, "test")
    chosen = [space[id] for id in rng.permutation(test)[: films or FILMS]]
    concepts = load_concepts(space)
    if list(concepts) != list(PHRASES):
        raise SystemExit(f"PHRASES are of {sorted(PHRASES)}, the space has {sorted(concepts)}.")
    points = []
    for concept in concepts.values():
        for film in chosen:
            for way in (concept, random_direction(concept, space.dimension, rng)):
                points += [film if strength == 0 else film.steer(way, strength) for strength in STRENGTHS]
    asked = ask(elm, points, part="steering")
    shape = (len(concepts), len(chosen), 2, len(STRENGTHS))
    scores_NC = concept_scores(elm, asked.texts_NE)
    score_CFWSC = scores_NC.reshape(*shape, len(concepts))
    own = np.stack([score_CFWSC[c, ..., c] for c in range(len(concepts))])  # concepts, films, ways, strengths
    two = STRENGTHS.index(2)
    # change[pushed along, scored by], mean over films
    change_CC = (score_CFWSC[:, :, 0, two] - score_CFWSC[:, :, 0, 0]).mean(1)
    print(f"## Steering\n\n{len(chosen)} test films, {len(points)} points. Score at each strength, mean over films.\n")
    header = [f"{strength:g}" for strength in STRENGTHS]
    table(
        ["concept", *header, "steps that rise", "monotone", "change 0 to 2", "random direction, 0 to 2", "Spearman",
         "random, Spearman", "rank among the ten pushes"],
        [steering_row(name, own[c], two, change_CC[:, c], c) for c, name in enumerate(concepts)]
        + [steering_row("**mean of all**", own.mean(0), two, None, None)],
    )  # fmt: skip
    print(
        "\nRank 1: no other concept's push raises this score more. Spearman: of strength and score within a film, mean "
        "over films, 0 where a film's score never changes. The last row is of each film's mean over the concepts."
    )
    steering_figure(out / "steering.png", list(concepts), STRENGTHS, own)


def random_direction(concept: Concept, dimension: int, rng: np.random.Generator) -> Direction:
    step_E = rng.normal(size=dimension)
    return Direction("random", (step_E * np.linalg.norm(concept.step_E) / np.linalg.norm(step_E)).astype(np.float32))


def concept_scores(elm: Elm, texts_NE: np.ndarray) -> np.ndarray:
    """(N, C) cosine with a concept's phrases, mean, minus the mean of the other concepts'."""
    phrases_CPE = [unit_rows(encode(elm, phrases)) for phrases in PHRASES.values()]
    cosine_NC = np.stack([(texts_NE @ phrases_PE.T).mean(1) for phrases_PE in phrases_CPE], axis=1)
    others_NC = (cosine_NC.sum(1, keepdims=True) - cosine_NC) / (len(PHRASES) - 1)
    return cosine_NC - others_NC


def steering_row(name: str, score_FWS: np.ndarray, two: int, change_C: np.ndarray | None, own: int | None) -> list[str]:
    means_S = score_FWS[:, 0].mean(0)
    rises = int((np.diff(means_S) > 0).sum())
    steps = len(means_S) - 1
    change_FW = score_FWS[:, :, two] - score_FWS[:, :, 0]
    rank = "" if change_C is None else str(1 + int((change_C > change_C[own]).sum()))
    rho_W = [np.mean([spearman(np.array(STRENGTHS), s, constant=0.0) for s in score_FWS[:, w]]) for w in range(2)]
    return [
        name, *(f"{mean:.3f}" for mean in means_S), f"{rises}/{steps}", "yes" if rises == steps else "no",
        *(shown(mean_interval(change_FW[:, way], seed=0)) for way in range(2)),
        *(f"{rho:.2f}" for rho in rho_W), rank,
    ]  # fmt: skip


# ---- interpolation


def interpolation(elm: Elm, space: Space, out: Path, films: int | None) -> None:
    rng = np.random.default_rng(2)
    every = list(combinations(side(space, "test"), 2))
    pairs = [every[row] for row in rng.permutation(len(every))[: max(2, min(films or PAIRS, PAIRS))]]
    points = [space[a] if x == 0 else space[b] if x == 1 else space[a].toward(space[b], x)
              for a, b in pairs for x in ALPHAS]  # fmt: skip
    asked = ask(elm, points, part="interpolation")
    shape = (len(pairs), len(ALPHAS))
    sc_PA = asked.sc_N.reshape(shape)
    texts_PAE = asked.texts_NE.reshape(*shape, -1)
    points_PAE = unit_rows(np.stack([point.vector for point in points])).reshape(*shape, -1)
    other = strangers(pairs)
    shuffled_PA = np.einsum("pae,pae->pa", texts_PAE[other], points_PAE)
    print(f"\n## Interpolation\n\n{len(pairs)} random pairs of test films. Intervals over pairs, which share films.\n")
    table(
        ["share", "SC", "SC of another pair's answer"],
        [[f"{alpha:g}", shown(mean_interval(sc_PA[:, a], seed=0)), shown(mean_interval(shuffled_PA[:, a], seed=0))]
         for a, alpha in enumerate(ALPHAS)],
    )  # fmt: skip
    middle = ALPHAS.index(0.5)
    summaries = dict(zip(space.ids, space.column("summary"), strict=True))
    teacher_PE = [unit_rows(encode(elm, [summaries[pair[end]] for pair in pairs])) for end in (0, 1)]
    sources = {
        "the midpoint's answer": [texts_PAE[:, middle]],
        "control: another pair's midpoint's answer": [texts_PAE[other, middle]],
        "control: the answers of the two ends": [texts_PAE[:, 0], texts_PAE[:, -1]],
        "control: the teacher's summaries of the two ends": teacher_PE,
    }
    ends_P3E = points_PAE[:, [middle, 0, -1]]
    print("\nNearer (cosine) to the midpoint than to both ends, and which of all the midpoints it is nearest to;")
    print(f"chance of the last is {1 / len(pairs):.3f}, that of the first is what the second row says.\n")
    table(
        ["text", "nearer to the midpoint than to both ends", "cosine with midpoint minus the nearer end's",
         "finds its midpoint among all"],
        [[name, *midpoint_cells(found, ends_P3E)] for name, found in sources.items()],
    )  # fmt: skip
    interpolation_figure(out / "interpolation.png", ALPHAS, sc_PA, shuffled_PA)


def strangers(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Another pair for each, none left its own; of many shuffles the one in which fewest share a film."""
    orders = [derangement(len(pairs), seed=seed) for seed in range(1000)]
    return min(orders, key=lambda order: sum(bool({*pairs[i]} & {*pairs[j]}) for i, j in enumerate(order)))


def midpoint_cells(sources: list[np.ndarray], ends_P3E: np.ndarray) -> list[str]:
    """Shares and margin; of several texts a pair, their mean, so that a pair counts once."""
    cosine_KP3 = np.stack([np.einsum("pe,pxe->px", text_PE, ends_P3E) for text_PE in sources])
    margin_KP = cosine_KP3[..., 0] - cosine_KP3[..., 1:].max(-1)
    own_P = np.arange(len(ends_P3E))
    found_KP = [found_within(identification_ranks(text_PE, ends_P3E[:, 0], own_P), 1) for text_PE in sources]
    values = [(margin_KP > 0).mean(0), margin_KP.mean(0), np.mean(found_KP, axis=0)]
    return [shown(mean_interval(value_P, seed=0)) for value_P in values]


# ---- distance


def distance(elm: Elm, space: Space, out: Path, films: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train = training_space(space, Path(folder) / "train.lance")
        kinds = kinds_of_points(space, train, min(films or POINTS, POINTS))
        names, n = list(kinds), len(next(iter(kinds.values())))
        points = [point for some in kinds.values() for point in some]
        asked = ask(elm, points, part="distance")
        pulled = {name: [grounded(point, SHARE) for point in kinds[name]] for name in GROUNDED}
        asked_pulled = ask(elm, [p for some in pulled.values() for p in some], part="distance, grounded")
        vectors_NE = np.stack([point.vector for point in points])
        shape = (len(names), n)
        percentile_KN = train.distances(points).reshape(shape)
        whole_KN = space.distances([replace(point, space=space) for point in points]).reshape(shape)
        nearest_KN = np.array([1 - near[0].similarity for near in train.neighbours_of(points, 1)]).reshape(shape)
    sc_KN = asked.sc_N.reshape(shape)
    above_KN = sc_KN - cross_consistency(asked.texts_NE, vectors_NE).reshape(shape)
    print(f"\n## Distance\n\n{n} points of each of {len(names)} kinds. Nearest: 1 minus the cosine with the nearest")
    print("training film. Spearman is within the kind; - where all percentiles are equal.\n")
    columns = ["kind", "percentile", "nearest", "SC", "SC beyond floor", "Spearman, percentile and SC",
               "Spearman, nearest and SC"]  # fmt: skip
    rows = []
    for k, name in enumerate(names):
        means = [f"{percentile_KN[k].mean():.1f}", f"{nearest_KN[k].mean():.3f}"]
        measured = [shown(mean_interval(values[k], seed=0)) for values in (sc_KN, above_KN)]
        rhos = [shown(spearman_interval(x[k : k + 1], sc_KN[k : k + 1])) for x in (percentile_KN, nearest_KN)]
        rows.append([name, *means, *measured, *rhos])
    table(columns, rows)
    print("\nAll points, resampled by film with all points made of it:\n")
    far = {
        "percentile among the training films": percentile_KN,
        "`Point.distance`, among all films": whole_KN,
        "nearest": nearest_KN,
    }
    measures = (sc_KN, above_KN)
    table(
        ["Spearman of", "with SC", "with SC beyond floor"],
        [[name, *(shown(spearman_interval(x, y)) for y in measures)] for name, x in far.items()],
    )
    print("\n")
    table(["percentile", "points", "SC", "SC beyond floor"], bin_rows(percentile_KN, sc_KN, above_KN))
    print(f"\nGrounded: {SHARE:g} of the way to the middle of the ten nearest training films.\n")
    rows_of = {name: slice(g * n, (g + 1) * n) for g, name in enumerate(GROUNDED)}
    table(
        ["kind", "SC as it is", "SC with the point asked for, grounded", "difference", "SC with the grounded point"],
        [grounded_row(name, sc_KN[names.index(name)], kinds[name], asked_pulled, rows_of[name]) for name in GROUNDED],
    )
    distance_figure(out / "distance.png", names, percentile_KN, nearest_KN, sc_KN)


def training_space(space: Space, path: Path) -> Space:
    """The training films alone."""
    ids = side(space, "train")
    vectors_NE = np.stack([space[id].vector for id in ids])
    return Space.create(path, ids=ids, vectors=vectors_NE, name="train", metric=space.metric, encoder=space.encoder)


def kinds_of_points(space: Space, train: Space, n: int) -> dict[str, list[Point]]:
    """n points of each kind; the i-th of every kind but the training and the random ones is made of the i-th film."""
    rng = np.random.default_rng(3)
    held = [train.point(space[id].vector, label=id) for id in rng.permutation(side(space, "test"))[: 2 * n]]
    films, partners = held[:n], held[n:]
    concepts = list(load_concepts(space).values())
    ways = [concepts[row] for row in rng.integers(len(concepts), size=n)]
    unit, fresh = (
        [train.point(row_E, label="random") for row_E in unit_rows(rng.normal(size=(n, space.dimension)))]
        for _ in range(2)
    )
    kinds = {
        "training films": [train[id] for id in rng.permutation(train.ids)[:n]],
        "test films": films,
        "midpoints": [a.toward(b, 0.5) for a, b in zip(films, partners, strict=True)],
    }
    kinds |= {f"steered {by}": [f.steer(way, by) for f, way in zip(films, ways, strict=True)] for by in STEERED}
    kinds |= {f"mixed {by:g}": [f.toward(u, by) for f, u in zip(films, unit, strict=True)] for by in MIXED}
    return kinds | {"random": fresh, "negatives": [train.point(-film.vector, label="negative") for film in films]}


def bin_rows(percentile_KN: np.ndarray, *measures_KN: np.ndarray) -> list[list[str]]:
    """Means of the measures in each bin, the last one of exactly 100 alone."""
    bin_KN = np.digitize(percentile_KN, BINS) - 1
    names = [f"{low} to below {high}" for low, high in pairwise(BINS)] + ["100"]
    rows = []
    for b, name in enumerate(names):
        inside = bin_KN == b
        cells = [shown(mean_interval(values[inside], seed=0)) for values in measures_KN]
        rows.append([name, str(int(inside.sum())), *cells])
    return rows


def grounded_row(name: str, sc_N: np.ndarray, points: list[Point], pulled: Asked, rows: slice) -> list[str]:
    asked_for_N = semantic_consistency(pulled.texts_NE[rows], np.stack([point.vector for point in points]))
    values = (sc_N, asked_for_N, asked_for_N - sc_N, pulled.sc_N[rows])
    return [name, *(shown(mean_interval(value_N, seed=0)) for value_N in values)]


PARTS: dict[str, Callable[[Elm, Space, Path, int | None], None]] = {
    "steering": steering,
    "interpolation": interpolation,
    "distance": distance,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the figures")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--films", type=int, help="films, pairs and points of a kind at most, for a trial")
    args = parser.parse_args()
    if args.films is not None and args.films < 2:
        parser.error("--films is at least 2")
    args.out.mkdir(parents=True, exist_ok=True)
    elm = load_bundled()
    assert elm.space is not None, "the bundled model comes with its space"
    print(f"Decoding: {elm.decoding.but(max_tokens=60)}\n")
    for part in args.only:
        PARTS[part](elm, elm.space, args.out, args.films)


if __name__ == "__main__":
    main()
