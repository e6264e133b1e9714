"""The paper's own numbers (arXiv 2310.04475), under our names of its tasks: data/tasks/films.toml and user.toml."""

from typing import NamedTuple

LINK = "https://arxiv.org/abs/2310.04475"


class Consistency(NamedTuple):
    """A row of Table 2."""

    sc: float
    """Cosine of the re-encoded answer with the vector."""
    bc: float
    """Spearman; which users rank, and by what vectors, is not stated."""


class Interpolation(NamedTuple):
    """A group of bars of Fig. 3, read off the figure (+-0.01): SC halfway to one film; NDCG for user profiles."""

    elm: float
    palm: float
    """PaLM 2-L, from the texts of both ends."""
    gpt: float
    """GPT-4, from the texts of both ends."""


TABLE_2 = {
    "summary": Consistency(0.91, 0.94),
    "description": Consistency(0.91, 0.80),
    "positive_review": Consistency(0.94, 0.81),
    "negative_review": Consistency(0.93, 0.79),
    "neutral_review": Consistency(0.92, 0.76),
    "five_positive": Consistency(0.91, 0.80),
    "five_negative": Consistency(0.89, 0.80),
    "improve": Consistency(0.91, 0.82),
    "criticize": Consistency(0.89, 0.77),
    "pitch": Consistency(0.96, 0.80),
    "convince1": Consistency(0.92, 0.96),
    "convince2": Consistency(0.90, 0.88),
    "convince3": Consistency(0.88, 0.86),
    "dissuade1": Consistency(0.88, 0.85),
    "dissuade2": Consistency(0.88, 0.87),
    "funnier": Consistency(0.88, 0.81),
    "sadder": Consistency(0.91, 0.82),
    "scarier": Consistency(0.90, 0.84),
    "viewer": Consistency(0.89, 0.80),
    "interpolation": Consistency(0.89, 0.80),
    "similarities": Consistency(0.86, 0.83),
    "why_like_nn": Consistency(0.83, 0.48),
    "diff_than_nn": Consistency(0.82, 0.48),
    "common_with_nn": Consistency(0.77, 0.46),
}
"""In the order of our task file: 19 tasks about one film, 5 about two."""

FIGURE_3 = {
    "summary": Interpolation(0.97, 0.87, 0.73),
    "positive_review": Interpolation(0.93, 0.83, 0.60),
    "negative_review": Interpolation(0.96, 0.77, 0.81),
    "neutral_review": Interpolation(0.91, 0.89, 0.70),
    "five_positive": Interpolation(0.87, 0.66, 0.53),
    "description": Interpolation(0.88, 0.55, 0.70),
    "pitch": Interpolation(0.91, 0.71, 0.61),
    "user_profile": Interpolation(0.57, 0.45, 0.46),
}
