"""What a server takes from outside, and how much of it at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one server; beyond them a request is refused with a reason."""

    body_bytes: int = 4 * 2**20
    """Of a request. A vector of 4,096 numbers written out in JSON takes about 90,000."""
    body_seconds: float = 20
    """From a request's first byte to its last."""
    text_characters: int = 20_000
    """Of all turns of a conversation; what the base can read is checked in tokens besides."""
    points: int = 256
    """Of a conversation, each as often as it is named."""
    rows: int = 16
    """Answers sampled for one request: n times best_of."""
    running: int = 32
    """Answers decoded together; more are faster together and slower each."""
    waiting: int = 128
    """Requests that wait for their turn; the next is told to come again."""
    seconds: float = 120
    """From a request's arrival to the last word of its answer."""
    concepts: int = 200
    """Concepts fitted through one server, saved ones included."""
