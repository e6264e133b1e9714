"""The release as read and split, and the spaces made of it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vecspeak.encode import Encoder
from vecspeak.factors import Ratings, factorise
from vecspeak.movielens.predictors import predictors
from vecspeak.movielens.release import Release, read_release
from vecspeak.movielens.results import Predictor
from vecspeak.movielens.settings import Settings
from vecspeak.movielens.spaces import (
    Profile,
    held_out_ratings,
    make_behavioural_space,
    make_corpus_space,
    make_profile_space,
    make_semantic_space,
    read_profiles,
    user_sides,
)
from vecspeak.movielens.steps import Steps
from vecspeak.movielens.texts import all_texts, corpus_films
from vecspeak.space import Space

SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Data:
    """The release as read and split."""

    release: Release
    training: Ratings
    held_out: Ratings
    texts: dict[str, list[str]]
    """Film -> its texts in the tables given."""
    profiles: dict[str, Profile]
    notes: tuple[str, ...]

    @staticmethod
    def read(settings: Settings) -> "Data":
        release = read_release(settings.folder)
        texts, text_notes = all_texts(settings.texts, release.films)
        profiles, profile_notes = read_profiles(settings.profiles, release.ratings)
        held_R = held_out_ratings(release.ratings, seed=0)
        training, held_out = release.ratings.part(~held_R), release.ratings.part(held_R)
        notes = release.notes + text_notes + profile_notes
        return Data(release, training, held_out, texts, profiles, notes)

    @property
    def counts(self) -> dict[str, int]:
        """What there is and how it was split."""
        sides = Counter(user_sides(sorted(self.profiles)).values())
        films = Counter(row["split"] for row in corpus_films(self.release.films)[0].values())
        return {
            "ratings": len(self.release.ratings.values_R),
            "of them held out": len(self.held_out.values_R),
            "films": len(self.release.films),
            "rated often enough": len(self.release.ratings.item_ids),
            "users": len(self.release.ratings.user_ids),
            **{f"films with the corpus's texts, {side}": films[side] for side in SIDES},
            **{f"users with a profile, {side}": sides[side] for side in SIDES if sides},
        }


def make_spaces(settings: Settings, out: Path, steps: Steps, data: Data, encoder: Encoder) -> tuple[str, ...]:
    """The spaces, in `out`; returns notes on what they leave out."""

    def semantic() -> tuple[str, ...]:
        return make_semantic_space(data.release, data.texts, encoder, out / "semantic.lance")[1]

    def behavioural() -> tuple[str, ...]:
        films = Space.open(out / "semantic.lance")
        path = out / "behavioural.lance"
        return make_behavioural_space(data.release, data.training, factors, data.profiles, films, path, seed=0)[1]

    notes = steps.once("semantic vectors", semantic, tuple[str, ...])
    if not (out / "steps/behavioural vectors.json").is_file():
        factors = factorise(data.training, factors=settings.factors)
        steps.once("held-out ratings", lambda: predictors(data.training, data.held_out, factors), tuple[Predictor, ...])
    notes += steps.once("behavioural vectors", behavioural, tuple[str, ...])
    if not (out / "corpus.lance").exists():
        make_corpus_space(Space.open(out / "semantic.lance"), out / "corpus.lance")
    if data.profiles and not (out / "profiles.lance").exists():
        make_profile_space(data.profiles, encoder, out / "profiles.lance")
    return notes
