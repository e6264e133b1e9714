"""What a teacher was asked and answered, and what that has cost: one SQLite file, which survives a kill.

An answer is kept under its key: a hash of the model, how it was asked, and the prompt. Equal prompts are asked once.
An attempt is written down with what it may cost before it is sent, and again with what it has cost; one that a kill
left open counts as the most it may have cost.
"""

import asyncio
import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vecspeak.errors import TeacherError
from vecspeak.spacefile import one_line

FORMAT = 1

_TABLES = f"""
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, cut INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, time REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, settled INTEGER NOT NULL
);
PRAGMA user_version = {FORMAT};
"""


class BudgetSpent(Exception):
    """The next attempt may cost more than is left."""


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    model: str
    text: str
    cut: bool
    tokens_in: int
    tokens_out: int
    time: float
    """Seconds since 1970."""


def key_of(prompt: str, *, model: str, max_tokens: int) -> str:
    """Where an answer is kept: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps([model, max_tokens, prompt]).encode()).hexdigest()


class Answers:
    """The file of answers and attempts, for one process at a time.

    Raises:
        TeacherError: a file of another kind or a newer format, or one that another process has open.
    """

    def __init__(self, path: Path) -> None:
        try:
            # a write is safe from a kill once it returns; a power cut may take the last ones, which are asked again
            self._file = sqlite3.connect(path, isolation_level=None, timeout=0)
            self._file.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            version = self._file.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT:
                raise TeacherError(f"{path} has format {version}; this version reads up to {FORMAT}. Upgrade vecspeak.")
            self._file.executescript(_TABLES)
        except sqlite3.OperationalError as error:
            raise TeacherError(f"{path} cannot be opened ({one_line(error)}): is another run using it?") from error
        except sqlite3.DatabaseError as error:
            raise TeacherError(f"{path} is no file of answers: {one_line(error)}. Name another --out.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._file.execute("SELECT count(*) FROM answers").fetchone()[0]

    def __contains__(self, key: object) -> bool:
        return self._file.execute("SELECT 1 FROM answers WHERE key = ?", (key,)).fetchone() is not None

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key."""
        found = self._file.execute(
            "SELECT model, text, cut, tokens_in, tokens_out, time FROM answers WHERE key = ?", (key,)
        ).fetchone()
        return Answer(found[0], found[1], bool(found[2]), *found[3:]) if found else None

    def put(self, key: str, *, model: str, text: str, cut: bool, tokens_in: int, tokens_out: int) -> None:
        """Keep an answer; a second one to the same prompt is left out."""
        row = (key, model, text, cut, tokens_in, tokens_out, time.time())
        self._file.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def open_attempt(self, tokens_in: int, tokens_out: int) -> int:
        """Write down an attempt with the most it may take; its number."""
        row = (tokens_in, tokens_out)
        done = self._file.execute("INSERT INTO attempts (tokens_in, tokens_out, settled) VALUES (?, ?, 0)", row)
        assert done.lastrowid is not None
        return done.lastrowid

    def settle_attempt(self, number: int, tokens_in: int, tokens_out: int) -> None:
        """Write down what an attempt has taken."""
        row = (tokens_in, tokens_out, number)
        self._file.execute("UPDATE attempts SET tokens_in = ?, tokens_out = ?, settled = 1 WHERE number = ?", row)

    def taken(self) -> tuple[int, int]:
        """Tokens of all attempts so far, in and out."""
        return self._file.execute(
            "SELECT coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0) FROM attempts"
        ).fetchone()


@dataclass(frozen=True)
class Price:
    """Of a token in and of one out; in tokens, each is 1."""

    token_in: float = 1.0
    token_out: float = 1.0

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """What so many cost."""
        return tokens_in * self.token_in + tokens_out * self.token_out


class Budget:
    """Pays for attempts, of all runs on a file of answers together. Satisfies `endpoint.Purse`."""

    def __init__(self, answers: Answers, *, limit: float | None, price: Price) -> None:
        self._answers, self._limit, self._price = answers, limit, price
        self.spent = price.of(*answers.taken())
        self._open: dict[int, float] = {}
        self._settled = asyncio.Event()

    async def reserve(self, tokens_in: int, tokens_out: int) -> int:
        """Waits until there is enough left beside what is under way. Raises BudgetSpent where there will not be."""
        cost = self._price.of(tokens_in, tokens_out)
        while self._limit is not None and self.spent + sum(self._open.values()) + cost > self._limit:
            if self.spent + cost > self._limit:
                raise BudgetSpent
            self._settled.clear()
            await self._settled.wait()
        ticket = self._answers.open_attempt(tokens_in, tokens_out)
        self._open[ticket] = cost
        return ticket

    def settle(self, ticket: int, tokens_in: int, tokens_out: int) -> None:
        self._answers.settle_attempt(ticket, tokens_in, tokens_out)
        self.spent += self._price.of(tokens_in, tokens_out)
        del self._open[ticket]
        self._settled.set()
