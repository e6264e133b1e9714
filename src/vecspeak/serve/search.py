"""Entities by what a user types: an id, a title's beginning, a word in it, any part of it."""

import unicodedata
from dataclasses import dataclass

from vecspeak.space import Space


@dataclass(frozen=True)
class Found:
    """Some of the entities that match."""

    rows: list[int]
    total: int


class Index:
    """Ids and titles of a space, folded: without case and accents."""

    def __init__(self, space: Space) -> None:
        self._titles = names_of(space)
        self._folded = [(folded(id), folded(title)) for id, title in zip(space.ids, self._titles, strict=True)]

    def title(self, row: int) -> str:
        return self._titles[row]

    def search(self, text: str, limit: int) -> Found:
        """Best first: the id itself, then titles that begin so, then words that do, then any part; ties by row."""
        wanted = folded(text.strip())
        if not wanted:
            return Found(list(range(min(limit, len(self._folded)))), len(self._folded))
        ranked = [(rank, row) for row in range(len(self._folded)) if (rank := self._rank(row, wanted)) is not None]
        return Found([row for _, row in sorted(ranked)[:limit]], len(ranked))

    def _rank(self, row: int, wanted: str) -> int | None:
        id, title = self._folded[row]
        if id == wanted:
            return 0
        if title.startswith(wanted):
            return 1
        if f" {wanted}" in title:
            return 2
        return 3 if wanted in title or wanted in id else None


def names_of(space: Space) -> list[str]:
    """(N,) what a person is shown of each entity: its title, or its id where it has none."""
    titles = space.column("title") if "title" in space.columns else space.ids
    return [title or id for title, id in zip(titles, space.ids, strict=True)]


def folded(text: str) -> str:
    """Without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
