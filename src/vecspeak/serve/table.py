"""The points of the map as an Arrow stream: id, title, place, and the columns that can colour."""

import gzip
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vecspeak.serve.layouts import Layouts
from vecspeak.serve.search import names_of
from vecspeak.space import Space

CATEGORIES = 100
"""Different values of a column of texts that can colour; more cannot be told apart."""

MISSING = "(none)"

ENCODINGS = ("zstd", "gzip", "identity")
"""As preferred, where the client takes several."""


@dataclass(frozen=True)
class Payload:
    """A table in bytes, as one kind of client takes it."""

    body: bytes
    encoding: str
    tag: str
    """Changes when the content does."""


class Tables:
    """The table of each layout, written once for each encoding."""

    def __init__(self, space: Space, layouts: Layouts) -> None:
        self._space, self._layouts = space, layouts
        self.colours = colour_columns(space)
        self._payloads: dict[tuple[str, str], Payload] = {}
        self._lock = threading.Lock()

    def payload(self, layout: str, encoding: str) -> Payload | None:
        """None while the layout is computed. Raises as `Layouts.get`."""
        places_N2 = self._layouts.get(layout)
        if places_N2 is None:
            return None
        with self._lock:
            if (layout, encoding) not in self._payloads:
                self._payloads[layout, encoding] = self._written(places_N2, encoding)
            return self._payloads[layout, encoding]

    def _written(self, places_N2: np.ndarray, encoding: str) -> Payload:
        space = self._space
        named = {"id": pa.array(space.ids, pa.string()), "title": pa.array(names_of(space), pa.string())}
        table = pa.table({**named, "x": pa.array(places_N2[:, 0]), "y": pa.array(places_N2[:, 1]), **self.colours})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        plain = sink.getvalue().to_pybytes()
        tag = hashlib.blake2b(plain, digest_size=8).hexdigest()
        return Payload(_compressed(plain, encoding), encoding, f'"{tag}-{encoding}"')


def accepted(header: str) -> str:
    """The best encoding that an Accept-Encoding header takes."""
    offers = [offer.strip().lower() for offer in header.split(",")]
    wanted = {name.partition(";")[0].strip() for name in offers if not name.replace(" ", "").endswith(";q=0")}
    return next((name for name in ENCODINGS if name in wanted), "identity")


def colour_columns(space: Space) -> dict[str, pa.Array]:
    """Columns with which a map can be coloured: numbers as float32, texts of few values as a dictionary.

    A list counts by its first value. Missing numbers are NaN, missing texts "(none)".
    """
    found: dict[str, pa.Array] = {}
    for name in space.columns:
        if name not in ("id", "title", "x", "y"):
            values = [value[0] if isinstance(value, list) and value else value for value in space.column(name)]
            array = _colour([None if value == [] else value for value in values])
            if array is not None:
                found[name] = array
    return found


def _colour(values: Sequence[Any]) -> pa.Array | None:
    present = [value for value in values if value is not None]
    if not present:
        return None
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        # as floats: Arrow refuses whole numbers that float32 must round
        return pa.array([np.nan if value is None else float(value) for value in values], pa.float32())
    if not all(isinstance(value, str | bool) for value in present):
        return None
    texts = [MISSING if value is None or value == "" else str(value) for value in values]
    different = len(set(texts))
    if different > CATEGORIES or 2 * different > len(texts):
        return None
    return pa.array(texts, pa.string()).dictionary_encode()


def _compressed(plain: bytes, encoding: str) -> bytes:
    if encoding == "zstd":
        return pa.Codec("zstd", compression_level=6).compress(plain, asbytes=True)
    return gzip.compress(plain, 6, mtime=0) if encoding == "gzip" else plain
