"""WordNet glosses -> senses.parquet: one row per word sense, with the encoder's vector of its definition.

    python senses.py glosses.tsv.gz

README.md says where the file comes from. The columns of what is written: id (the synset), title (its words), text
(the definition), lexfile, living (yes, no, or nothing for other than nouns), split, partner, vector.
"""

import argparse
import csv
import gzip
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from vecspeak.encode import DEFAULT_ENCODER, load_encoder

LIVING_THING = "00004258-n"
FEWEST_WORDS = 4
"""Shorter definitions ("not able") are left out, as they were from what the pocket base has read."""
UNREAD = 5
"""The pocket base has read WordNet's definitions as plain text, all but those of synsets whose SHA-256 begins with a
byte below this (pocket/corpus.py). Held-out senses come from these, so that nobody has seen their definitions."""
PLAIN = str.maketrans("‘’“”–", "''\"\"-")  # noqa: RUF001 - the vocabulary of the pocket base is small
COMPARED = 3
"""Among training senses every third has a partner: enough to learn to compare."""


@dataclass(frozen=True)
class Sense:
    """One line of the file."""

    id: str
    lexfile: str
    words: tuple[str, ...]
    definition: str
    hypernyms: tuple[str, ...]


def read_senses(path: Path) -> dict[str, Sense]:
    """Id -> sense, in the order of the file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        senses = [
            Sense(row["synset"], row["lexfile"], _parts(row["members"]), row["definition"].translate(PLAIN),
                  _parts(row["hypernyms"]))
            for row in rows
        ]  # fmt: skip
    return {sense.id: sense for sense in senses}


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("|")) if cell else ()


def split(senses: dict[str, Sense], *, train: int, validation: int, test: int) -> dict[str, str]:
    """Id -> side, for so many senses of each side at most; who is drawn depends on the ids alone.

    Senses of one word, and senses near each other in the tree, have definitions that are alike. So no training sense
    shares a word or a hypernym with a held-out one, or is its hypernym or hyponym.
    """
    usable = sorted((id for id, s in senses.items() if len(s.definition.split()) >= FEWEST_WORDS), key=_digest)
    held = [id for id in usable if hashlib.sha256(id.encode()).digest()[0] < UNREAD][: test + validation]
    barred = relatives(senses, held).union(held)
    taught = [id for id in usable if id not in barred][:train]
    print(f"{len(senses):,} senses; {len(held)} held out, {len(barred) - len(held):,} kept away as their relatives")
    return {
        **dict.fromkeys(taught, "train"),
        **dict.fromkeys(held[:test], "test"),
        **dict.fromkeys(held[test:], "validation"),
    }


def _digest(id: str) -> bytes:
    return hashlib.sha256(f"senses:{id}".encode()).digest()


def relatives(senses: dict[str, Sense], ids: Iterable[str]) -> set[str]:
    """Senses that share a word or a hypernym with one of `ids`, or stand right above or below it."""
    of_word, below = defaultdict(set), defaultdict(set)
    for sense in senses.values():
        for word in sense.words:
            of_word[word.lower()].add(sense.id)
        for hypernym in sense.hypernyms:
            below[hypernym].add(sense.id)
    found: set[str] = set()
    for sense in (senses[id] for id in ids):
        found.update(*(of_word[word.lower()] for word in sense.words), below[sense.id], sense.hypernyms)
        found.update(*(below[hypernym] for hypernym in sense.hypernyms))
    return found


def living(senses: dict[str, Sense]) -> dict[str, str | None]:
    """Id -> whether a noun stands below "living thing"."""
    known = {LIVING_THING: True}

    def below(id: str) -> bool:
        if id not in known:
            known[id] = False  # while it is being looked at, and where the line of a hypernym is missing
            known[id] = any(below(hypernym) for hypernym in (senses[id].hypernyms if id in senses else ()))
        return known[id]

    return {id: ("yes" if below(id) else "no") if id.endswith("-n") else None for id in senses}


def partners(senses: dict[str, Sense], sides: dict[str, str]) -> dict[str, str]:
    """Id -> another sense of the same side to compare it with: of the same word if there is one, else of its file."""
    of_word, of_file = defaultdict(list), defaultdict(list)
    for id, side in sides.items():
        of_file[side, senses[id].lexfile].append(id)
        for word in senses[id].words:
            of_word[side, word.lower()].append(id)
    found: dict[str, str] = {}
    for number, (id, side) in enumerate(sides.items()):
        same = [other for word in senses[id].words for other in of_word[side, word.lower()] if other != id]
        ring = of_file[side, senses[id].lexfile]
        following = ring[(ring.index(id) + 1) % len(ring)]
        if (side != "train" or number % COMPARED == 0) and (same or following != id):
            found[id] = same[0] if same else following
    return found


def encoded(texts: Sequence[str]) -> np.ndarray:
    """(N, E) vectors of the definitions, said as they come."""
    encoder, blocks = load_encoder(DEFAULT_ENCODER), []
    for start in range(0, len(texts), 1000):
        blocks.append(encoder.encode(texts[start : start + 1000]))
        print(f"encoded {min(start + 1000, len(texts)):,} of {len(texts):,}", flush=True)
    return np.concatenate(blocks)


def table(senses: dict[str, Sense], sides: dict[str, str]) -> pa.Table:
    """What `vecspeak space import` reads."""
    alive, partner = living(senses), partners(senses, sides)
    chosen = [senses[id] for id in sides]
    vectors_NE = encoded([sense.definition for sense in chosen])
    return pa.table(
        {
            "id": [sense.id for sense in chosen],
            "title": [", ".join(sense.words) for sense in chosen],
            "text": [sense.definition for sense in chosen],
            "lexfile": [sense.lexfile for sense in chosen],
            "living": [alive[sense.id] for sense in chosen],
            "split": list(sides.values()),
            "partner": pa.array([partner.get(sense.id) for sense in chosen], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors_NE.ravel(), vectors_NE.shape[1]),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="WordNet glosses -> senses.parquet.")
    parser.add_argument("glosses", type=Path, help="glosses.tsv.gz")
    parser.add_argument("--out", type=Path, default=Path("senses.parquet"))
    parser.add_argument("--train", type=int, default=18_000, help="training senses, at most")
    parser.add_argument("--validation", type=int, default=200)
    parser.add_argument("--test", type=int, default=500)
    given = parser.parse_args()
    senses = read_senses(given.glosses)
    sides = split(senses, train=given.train, validation=given.validation, test=given.test)
    parquet.write_table(table(senses, sides), given.out)
    print(f"written: {given.out}, {len(sides):,} senses")


if __name__ == "__main__":
    main()
