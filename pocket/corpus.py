"""The texts the pocket model learns from, read in place, with the held-out films taken out.

Every source becomes a list of `Passage`s; films of the validation and test sides are left out of
all of them (by MovieLens id, and by title and year where a source has no id for the film).
"""

import csv
import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecspeak.splits import split_entities

_PLAIN = str.maketrans({0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-"})
"""Typographic quotes and dashes, as the vocabulary is small."""

SPLIT_SIZES = {"test": 90, "validation": 90, "train": 720}


@dataclass(frozen=True)
class Passage:
    """One text of one source."""

    source: str
    """films, oneliners, extracts, reviews or glosses"""
    key: str
    """what the text is about: the same key, the same side of any split"""
    row: int
    """row in the source file, to find its vector again"""
    kind: str
    """the field of a film text, else the source's name"""
    text: str


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def film_pairs(data: Path) -> list[tuple[str, str]]:
    """(film, partner) id pairs whose partner is among the 900."""
    with open(data / "films/films.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    known = {row["id"] for row in rows}
    return [(row["id"], row["partner_id"]) for row in rows if row["partner_id"] in known]


def film_split(data: Path) -> dict[str, str]:
    """film id -> train, validation or test: 720, 90, 90, both films of a pair on one side."""
    ids = [str(film["id"]) for film in read_jsonl(data / "films/films.jsonl")]
    return split_entities(ids, pairs=film_pairs(data), sizes=SPLIT_SIZES, salt="films")


def held_out_films(data: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """MovieLens ids, and (title, year) pairs, of the validation and test films."""
    side = film_split(data)
    with open(data / "films/films.tsv", encoding="utf-8", newline="") as file:
        titles = {row["id"]: row["title"] for row in csv.DictReader(file, delimiter="\t")}
    ids = {i for i, s in side.items() if s != "train"}
    return ids, {title_year(titles[i]) for i in ids}


def title_year(title: str, year: str | int | None = None) -> tuple[str, str]:
    """A comparable form: "Matrix, The (1999)" and ("The Matrix", 1999) are the same."""
    match = re.match(r"(.*?)\s*\((\d{4})\)\s*$", title)
    if match and year is None:
        title, year = match[1], match[2]
    title = re.sub(r"\s*\(.*?\)", "", title).casefold()
    title = re.sub(r"^(.*), (the|an?|les?|la|il|das|der|die)$", r"\2 \1", title)
    return re.sub(r"[^a-z0-9]", "", title), str(year)


def passages(data: Path, *, max_words: int = 90) -> list[Passage]:
    """All training passages of all sources; texts over `max_words` are cut at a sentence end."""
    out_ids, out_titles = held_out_films(data)
    found: list[Passage] = []
    side = film_split(data)
    for row, film in enumerate(read_jsonl(data / "films/films.jsonl")):
        if side[str(film["id"])] == "train":
            for kind, text in film.items():
                if kind != "id":
                    found.append(Passage("films", f"ml{film['id']}", row, kind, as_text(text)))
    for source in ("oneliners", "extracts", "reviews"):
        for row, item in enumerate(read_jsonl(data / f"texts/film_{source}.jsonl.gz")):
            movie = str(item.get("movieId"))
            if movie in out_ids or title_year(item.get("title", ""), item.get("year")) in out_titles:
                continue
            text = cut(clean(item["text"]), max_words)
            key = f"ml{movie}" if item.get("movieId") else f"{source}{item.get('imdbId', row)}"
            if 4 <= len(text.split()) <= max_words:
                found.append(Passage(source, key, row, source, text))
    with gzip.open(data / "wordnet/glosses.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        for row, item in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
            text = clean(item["definition"])
            if 4 <= len(text.split()) <= max_words:
                found.append(Passage("glosses", item["synset"], row, item["members"].split("|")[0], text))
    return found


def held_out(passage: Passage) -> bool:
    """One in fifty, by key: for the bits per character of the report, never trained on."""
    return passage.source != "films" and hashlib.sha256(passage.key.encode()).digest()[0] < 5


def as_text(text: str | list[str]) -> str:
    """A list of characteristics becomes a bulleted list, one a line."""
    return text if isinstance(text, str) else "\n".join(f"- {item}" for item in text)


def clean(text: str) -> str:
    text = re.sub(r"<br\s*/?>|\s+", " ", text)
    return text.translate(_PLAIN).strip()


def cut(text: str, max_words: int) -> str:
    """The longest run of whole sentences within `max_words`; all of it where it is short enough."""
    if len(text.split()) <= max_words:
        return text
    head = " ".join(text.split()[:max_words])
    end = max(head.rfind(". "), head.rfind("! "), head.rfind("? "))
    return head[: end + 1] if end > 0 else ""
