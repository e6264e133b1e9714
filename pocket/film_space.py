"""Build the bundled film space: 900 films, their texts, and semantic vectors as in the paper.

    python pocket/film_space.py ../shared/data

A film's vector is the average of the encodings of its summary, its description and its three
reviews (docs/decisions/0001); the other texts never feed it.
"""

import argparse
import csv
import re
from pathlib import Path

from corpus import film_pairs, film_split, read_jsonl

from vecspeak import Space, load_encoder
from vecspeak.encode import DEFAULT_ENCODER

VECTOR_TEXTS = ("summary", "description", "positive_review", "negative_review", "neutral_review")
BUNDLED = Path(__file__).parents[1] / "src/vecspeak/data/films.lance"


def title_and_year(title: str) -> tuple[str, int]:
    """ "Matrix, The (1999)" -> ("The Matrix", 1999)."""
    match = re.fullmatch(r"(.*?)\s*\((\d{4})\)\s*", title)
    assert match, title
    name = re.sub(r"^(.*?), (The|An?|Les?|La|Il|Das|Der|Die)\b", r"\2 \1", match[1])
    return name, int(match[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    films = read_jsonl(args.data / "films/films.jsonl")
    with open(args.data / "films/films.tsv", encoding="utf-8", newline="") as file:
        facts = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}
    ids = [str(film["id"]) for film in films]
    side, partner = film_split(args.data), dict(film_pairs(args.data))
    titles, years = zip(*(title_and_year(facts[i]["title"]) for i in ids), strict=True)
    columns = {
        "title": titles,
        "year": years,
        "genres": [facts[i]["genres"].split("|") for i in ids],
        "split": [side[i] for i in ids],
        "partner": [partner.get(i) for i in ids],
        **{key: [film[key] for film in films] for key in films[0] if key != "id"},
    }
    encoder = load_encoder(DEFAULT_ENCODER)
    space = Space.create(
        BUNDLED,
        ids=ids,
        vectors=encoder.encode_passages([[film[key] for key in VECTOR_TEXTS] for film in films]),
        columns=columns,
        name="films",
        metric="cosine",
        encoder=DEFAULT_ENCODER,
        source="900 films well known on MovieLens; texts written for vecspeak by a large language model",
        licence="CC BY 4.0 (texts); ids, titles, years and genres are facts",
        overwrite=True,
    )
    print(f"{len(space)} films of {space.dimension} dimensions in {BUNDLED.name}")


if __name__ == "__main__":
    main()
