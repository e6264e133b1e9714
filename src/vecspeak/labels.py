"""Clusters of a space, named by asking the model about their centres, not by summarising sample texts.

Written as Parquet that Embedding Atlas, DuckDB and pandas open as it is: one row an entity.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecspeak.answers import Answer, Question
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.errors import ConfigError
from vecspeak.geometry import mean
from vecspeak.prompts import the_slot
from vecspeak.space import Point, Space

NOISE = "(none)"
"""Label of the entities that lie in no cluster."""
LABEL_WORDS = 3
"""Words of a cluster's label: those of the base nearest to its centre that no other centre is nearer to."""

Method = Literal["kmeans", "hdbscan"]


@dataclass(frozen=True)
class Cluster:
    """Some entities of a space, their centre, and what the model says there."""

    name: str
    """The column's own value, or the cluster's number."""
    size: int
    centre: Point
    label: str
    """The words that set it apart from the other clusters; the column's value where there is one."""
    answer: Answer


def cluster_numbers(space: Space, layout_N2: np.ndarray, *, method: Method, count: int | None) -> list[str | None]:
    """The cluster of each entity, None for noise.

    Args:
        layout_N2: the map; HDBSCAN runs on it, since in hundreds of dimensions it calls nearly everything noise.
        method: `kmeans` on the vectors (of unit length under cosine), or `hdbscan` on the map.
        count: how many clusters k-means makes; the square root of half the entities by default.

    Raises:
        ConfigError: a count below 2 or above the entities, or one for hdbscan, which finds its own.
    """
    if method == "hdbscan":
        from sklearn.cluster import HDBSCAN

        if count is not None:
            raise ConfigError("hdbscan finds the number of clusters itself; leave the count out, or take kmeans.")
        smallest = max(5, len(space) // 60)
        finder = HDBSCAN(min_cluster_size=smallest, copy=True)  # pyright: ignore[reportArgumentType] - it is a bool
        numbers = finder.fit_predict(layout_N2)
        return [None if number < 0 else str(number) for number in numbers.tolist()]
    from sklearn.cluster import KMeans

    count = max(2, round((len(space) / 2) ** 0.5)) if count is None else count
    if not 2 <= count <= len(space):
        raise ConfigError(f"Expected 2 to {len(space)} clusters, got {count}.")
    vectors_NE = space.vectors
    if space.metric == "cosine":
        vectors_NE = vectors_NE / np.linalg.norm(vectors_NE, axis=1, keepdims=True)
    return [str(number) for number in KMeans(count, random_state=0).fit_predict(vectors_NE).tolist()]


def column_clusters(space: Space, column: str) -> list[str | None]:
    """The value of a column as each entity's cluster: the first where it lists several, None where there is none.

    Raises:
        SpaceError: an unknown column.
    """
    first = (v[0] if isinstance(v, list) and v else None if isinstance(v, list) else v for v in space.column(column))
    return [None if value is None or value == "" else str(value) for value in first]


def label_clusters(
    elm: Elm,
    names: Sequence[str | None],
    prompt: str,
    *,
    decoding: Decoding,
    own_names: bool = False,
) -> list[Cluster]:
    """Ask about the centre of each cluster, largest first.

    Args:
        elm: the model, with its space.
        names: each entity's cluster, in the order of the space; None for none.
        prompt: one question with one slot, asked of every centre.
        own_names: the names say what they are (a column's values), so they stay the labels.

    Raises:
        ConfigError: no cluster at all.
        PromptError: a prompt without exactly one slot.
    """
    space = _space_of(elm)
    slot = the_slot(prompt)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows.setdefault(name, []).append(row)
    if not rows:
        raise ConfigError("No entity lies in a cluster: all are noise. Try kmeans.")
    ordered = sorted(rows, key=lambda name: (-len(rows[name]), name))
    centres = [centre_of(space, rows[name], label=f"centre of {name}") for name in ordered]
    labels = ordered if own_names else distinct_words(elm, centres)
    answers = elm.ask_many([Question(prompt, {slot: centre}) for centre in centres], decoding=decoding)
    parts = zip(ordered, centres, labels, answers, strict=True)
    return [Cluster(name, len(rows[name]), centre, label, answer) for name, centre, label, answer in parts]


def centre_of(space: Space, rows: Sequence[int], *, label: str) -> Point:
    """`geometry.mean` of the entities in these rows, under a short label."""
    return replace(mean([space[space.ids[row]] for row in rows]), label=label)


def distinct_words(elm: Elm, points: Sequence[Point]) -> list[str]:
    """A few words for each point, each word given to the point that it is nearest to."""
    found = [elm.words(point, 12 * LABEL_WORDS) for point in points]
    best: dict[str, tuple[int, int]] = {}
    for number, words in enumerate(found):
        for rank, word in enumerate(words):
            best[word] = min(best.get(word, (rank, number)), (rank, number))
    own = [[word for word in words if best[word][1] == number] for number, words in enumerate(found)]
    return [", ".join((kept or words)[:LABEL_WORDS]) for kept, words in zip(own, found, strict=True)]


def write_labels(
    path: Path, space: Space, layout_N2: np.ndarray, names: Sequence[str | None], clusters: Sequence[Cluster]
) -> None:
    """Parquet of one row an entity: id, title, vector, x, y, cluster, label, text, score; whole or not at all.

    `score` is the consistency of the cluster's text with its centre, null without an encoder.
    """
    by_name = {cluster.name: cluster for cluster in clusters}
    of_entity = [by_name.get(name) if name is not None else None for name in names]
    flat = pa.array(np.ascontiguousarray(space.vectors).reshape(-1))
    columns: dict[str, pa.Array] = {
        "id": pa.array(space.ids, pa.string()),
        **({"title": pa.array(space.column("title"))} if "title" in space.columns else {}),
        "vector": pa.FixedSizeListArray.from_arrays(flat, space.dimension),
        "x": pa.array(layout_N2[:, 0].astype(np.float32)),
        "y": pa.array(layout_N2[:, 1].astype(np.float32)),
        "cluster": pa.array(names, pa.string()),
        "label": pa.array([found.label if found else NOISE for found in of_entity], pa.string()),
        "text": pa.array([found.answer.text if found else None for found in of_entity], pa.string()),
        "score": pa.array([found.answer.consistency if found else None for found in of_entity], pa.float32()),
    }
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(pa.table(columns), temporary)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}.") from error


def _space_of(elm: Elm) -> Space:
    if elm.space is None:
        raise ConfigError("The model has no space to find clusters in; load it with one.")
    return elm.space
