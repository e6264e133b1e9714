"""WordNet's relations -> graph.parquet: vectors of word senses that no text went into.

    python graph.py glosses.tsv.gz senses.parquet

Two relations are read, "is a kind of" and "is written with the same word", and nothing else: words serve as names of
links and are never looked into. The rows (ids, texts, sides of the split) are those of senses.parquet, the table
that ../word-senses makes, as far as a sense has a hypernym. Adjectives and adverbs have none and are left out.

A sense's vector is its row of S K idf, factorised: K is the Katz index of the steps upwards, weight 0.9 for each, as in
HOPE (Ou et al. 2016); S begins the climb at the sense itself and at its homonyms; idf is the logarithm of how rarely
an ancestor is met. Shapes: N senses, W words that have several, L links, E dimensions of the vectors.
"""

import argparse
import csv
import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy.sparse import csr_array, diags_array, eye_array
from sklearn.utils.extmath import randomized_svd

DECAY = 0.9
"""Weight of an ancestor for each step up to it."""


@dataclass(frozen=True)
class Relations:
    """What is read of each of N senses. The definitions stay unread."""

    row_of: Mapping[str, int]
    words: Sequence[Sequence[str]]
    hypernyms: Sequence[Sequence[str]]


def read_relations(path: Path) -> Relations:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return Relations(
        {row["synset"]: number for number, row in enumerate(rows)},
        [row["members"].lower().split("|") for row in rows],
        [row["hypernyms"].split("|") for row in rows],
    )


def links(names: Sequence[Sequence[str]], column_of: Mapping[str, int]) -> csr_array:
    """(N, columns) 1 where a sense names a column; names without one are passed over."""
    pairs = [(row, column_of[name]) for row, some in enumerate(names) for name in some if name in column_of]
    rows_L2 = np.array(pairs, np.int64).reshape(-1, 2)
    return csr_array((np.ones(len(pairs)), (rows_L2[:, 0], rows_L2[:, 1])), shape=(len(names), len(column_of)))


def climbs(relations: Relations) -> csr_array:
    """(N, N) the Katz index upwards: 1 for a sense itself, DECAY for its hypernym, DECAY squared for that one's."""
    up_NN = links(relations.hypernyms, relations.row_of) * DECAY
    katz_NN = step_NN = csr_array(eye_array(len(relations.words)))
    while step_NN.nnz:  # ends, as no sense is above itself
        step_NN = csr_array(step_NN @ up_NN)
        katz_NN = csr_array(katz_NN + step_NN)
    return katz_NN


def homonyms(relations: Relations) -> csr_array:
    """(N, N) a step to a sense of the same word, by equal chances; zero for a sense without homonym."""
    senses_of = Counter(word for words in relations.words for word in set(words))
    several = [word for word, count in senses_of.items() if count > 1]
    has_NW = links(relations.words, {word: column for column, word in enumerate(several)})
    return csr_array(_rows_to_one(has_NW) @ _rows_to_one(csr_array(has_NW.T)))


def _rows_to_one(weights: csr_array) -> csr_array:
    return csr_array(diags_array(1 / np.maximum(weights.sum(axis=1), 1)) @ weights)


def vectors(relations: Relations, *, dimension: int) -> np.ndarray:
    """(N, E) float32; the same on every run."""
    katz_NN, n = climbs(relations), len(relations.words)
    idf_N = np.log(n / np.bincount(katz_NN.indices, minlength=n))
    proximity_NN = csr_array((eye_array(n) + homonyms(relations)) @ katz_NN @ diags_array(idf_N)).astype(np.float32)
    print(f"{n:,} senses, {proximity_NN.nnz:,} proximities; factorising", flush=True)
    u_NE, s_E, _ = randomized_svd(proximity_NN, dimension, random_state=0)
    return (u_NE * s_E).astype(np.float32)


def table(relations: Relations, senses: pa.Table, *, dimension: int) -> pa.Table:
    """The rows of `senses` that have a hypernym, each with its vector of the graph."""
    ids = senses["id"].to_pylist()
    rows_N = np.array([relations.row_of[id] for id in ids])
    has_hypernym_N = links(relations.hypernyms, relations.row_of).sum(axis=1)[rows_N] > 0
    print(f"{has_hypernym_N.sum():,} of {len(ids):,} senses of the table have a hypernym")
    vectors_NE = vectors(relations, dimension=dimension)[rows_N[has_hypernym_N]]
    kept = senses.filter(pa.array(has_hypernym_N)).drop_columns("vector")
    return kept.append_column("vector", pa.FixedSizeListArray.from_arrays(vectors_NE.ravel(), vectors_NE.shape[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description="WordNet's relations -> vectors of word senses.")
    parser.add_argument("glosses", type=Path, help="glosses.tsv.gz")
    parser.add_argument("senses", type=Path, help="senses.parquet of ../word-senses")
    parser.add_argument("--out", type=Path, default=Path("graph.parquet"))
    parser.add_argument("--dimension", type=int, default=128)
    given = parser.parse_args()
    made = table(read_relations(given.glosses), parquet.read_table(given.senses), dimension=given.dimension)
    parquet.write_table(made, given.out)
    print(f"written: {given.out}, {len(made):,} senses")


if __name__ == "__main__":
    main()
