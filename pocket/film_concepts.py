"""Fit the concepts that come with the film space, from the genres of the 720 training films.

python pocket/film_concepts.py
"""

from vecspeak import Concept, Space
from vecspeak.bundled import bundled_space_path
from vecspeak.concepts import concept_folder, save_concept

GENRES = {
    "funny": "Comedy",
    "scary": "Horror",
    "romantic": "Romance",
    "animated": "Animation",
    "thrilling": "Thriller",
    "futuristic": "Sci-Fi",
    "warlike": "War",
    "criminal": "Crime",
    "magical": "Fantasy",
    "musical": "Musical",
}


def main() -> None:
    space = Space.open(bundled_space_path())
    training = [id for id, side in zip(space.ids, space.column("split"), strict=True) if side == "train"]
    genres = dict(zip(space.ids, space.column("genres"), strict=True))
    for name, genre in GENRES.items():
        positive = [id for id in training if genre in genres[id]]
        negative = [id for id in training if genre not in genres[id]]
        concept = Concept.fit(space, positive, negative, name=name)
        save_concept(concept, concept_folder(space))
        print(f"{name}: {concept.quality}")


if __name__ == "__main__":
    main()
