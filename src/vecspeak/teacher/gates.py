"""Gates: which texts of a teacher are no targets, and why.

| reason                 | a text that                                                              |
|------------------------|--------------------------------------------------------------------------|
| empty                  | says nothing, or was withheld by the server's filter                     |
| unfinished             | became too long and ends anywhere                                        |
| refusal                | begins as refusals do                                                    |
| too short              | has fewer than LEAST_WORDS words                                         |
| repeats itself         | has said more than MOST_REPETITION of its word triples before            |
| names the entity       | holds the title, where a teacher was told not to name it                 |
"""

import re

from vecspeak.metrics import repetition

LEAST_WORDS = 3

MOST_REPETITION = 0.3
"""Lists that begin alike reach 0.2; loops of small models 0.5 and more."""

_REFUSAL = re.compile(
    r"(?:(?:i'?m|i am) (?:sorry|unable|not able)|sorry|unfortunately, i|apologies|i (?:cannot|can'?t|can not|won'?t)|"
    r"as an? (?:ai|language model|large language model|assistant))\b",
    re.IGNORECASE,
)

ASKED_FOR_SHORT = re.compile(r"\b(?:one|a single|two) words?\b", re.IGNORECASE)
"""A prompt that wants so little is not refused for it."""


def reason(text: str, *, prompt: str, cut: bool, unnamed: str | None = None) -> str | None:
    """Why a text is no target; None for one that is.

    Args:
        text: what the teacher said.
        prompt: what it was asked.
        cut: whether it ends because it became too long.
        unnamed: the title that it must not hold.
    """
    plain = text.strip().replace("\u2019", "'")
    words = plain.split()
    if not words:
        return "empty"
    if cut:
        return "unfinished"
    if _REFUSAL.match(plain.lstrip("\"'*# ")):
        return "refusal"
    if len(words) < LEAST_WORDS and not ASKED_FOR_SHORT.search(prompt):
        return "too short"
    if repetition(plain) > MOST_REPETITION:
        return "repeats itself"
    if unnamed and _names(plain, unnamed):
        return "names the entity"
    return None


def _names(text: str, title: str) -> bool:
    # a title of one word may be a plain word, too, which is not written large within a sentence
    several = len(title.split()) > 1
    return re.search(rf"(?<!\w){re.escape(title.strip())}(?!\w)", text, re.IGNORECASE if several else 0) is not None
