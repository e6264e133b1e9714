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
        self._titles = [title or "" for title in space.column("title")] if "title" in space.columns else space.ids
        self._ids = space.ids
        self._folded = [folded(title) for title in self._titles]

    def title(self, row: int) -> str:
        return self._titles[row]

    def search(self, text: str, limit: int) -> Found:
        """Best first: the id itself, then titles that begin so, then words that do, then any part; ties by row."""
        wanted = folded(text.strip())
        if not wanted:
            return Found(list(range(min(limit, len(self._ids)))), len(self._ids))
        ranked = [(rank, row) for row in range(len(self._ids)) if (rank := self._rank(row, wanted)) is not None]
        return Found([row for _, row in sorted(ranked)[:limit]], len(ranked))

    def _rank(self, row: int, wanted: str) -> int | None:
        title, id = self._folded[row], self._ids[row].casefold()
        if id == wanted:
            return 0
        if title.startswith(wanted):
            return 1
        if f" {wanted}" in title:
            return 2
        return 3 if wanted in title or wanted in id else None


def folded(text: str) -> str:
    """Without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
