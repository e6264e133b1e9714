"""One question about every entity of a space, in batches kept full, into a Parquet file.

vecspeak narrate films-elm films.lance --task summary --out summaries.parquet

Memory does not grow with the number of rows: vectors are read from disk as they are needed, and what is written
waits for the rows before it and no longer. Shapes: n rows, E domain dimension.
"""

import hashlib
import shutil
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast

import lance
import numpy as np
import pyarrow as pa

from vecspeak.adapter import Adapter
from vecspeak.answers import Asked, Question
from vecspeak.decoding import Decoding, Row, run
from vecspeak.elm import Elm, Fingerprint
from vecspeak.errors import ConfigError
from vecspeak.parts import check_plan, open_parts, parts_folder
from vecspeak.prompts import the_slot
from vecspeak.space import EXACT_UP_TO, Point, Space
from vecspeak.spacefile import open_space
from vecspeak.store import check_space, load, load_adapter, read_manifest

READ = 1_024
"""Rows read from disk at a time."""

CHECKPOINT = 1_000
"""Rows of a part: a kill costs the work of so many at most, and those in flight."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("consistency", pa.float32()),
        pa.field("distance", pa.float32()),
        pa.field("model", pa.string(), nullable=False),
    ]
)
"""What comes out: `Answer`'s text, consistency (null without an encoder) and distance, and `model_fingerprint`."""


@dataclass(frozen=True)
class Job:
    """What is to be narrated: everything a worker on another machine needs to know."""

    model: Path
    """Model folder."""
    space: Path
    """Folder of the space."""
    prompt: str
    """Asked of every entity; one slot."""
    decoding: Decoding
    rows: int
    """How many, from the first row of the space on."""
    batch_size: int = 64
    """Answers written at a time; no answer depends on it."""

    def __post_init__(self) -> None:
        for name in ("rows", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1.")

    @cached_property
    def fingerprint(self) -> str:
        """`model_fingerprint` of the model; read once, and told to the workers."""
        return model_fingerprint(self.model)


class Engine(Protocol):
    """Where a job is done."""

    def tables(self, first: int, *, size: int, on_rows: Callable[[int], None]) -> Iterator[pa.Table]:
        """Narrate the job's rows from number `first` on: tables of `SCHEMA`, in order, of `size` rows but the last.

        `on_rows` is called with the number of rows done since its last call.
        """
        ...


def narrate_to(
    out: Path,
    job: Job,
    *,
    engine: Callable[[Job], Engine],
    checkpoint_every: int = CHECKPOINT,
    on_start: Callable[[int], None] = lambda done: None,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write the rows of a job to a Parquet file of `SCHEMA`, going on where an earlier call was stopped.

    Every row of the space is there exactly once and in its order, whatever was killed meanwhile.

    Args:
        out: the file; its parts are kept beside it until it is complete.
        engine: `Local`, or another that gives the same rows.
        checkpoint_every: rows of a part.
        on_start: called with the number of rows that are there already.
        on_rows: called with the number of rows narrated since the last call.

    Returns:
        How many rows this call narrated.

    Raises:
        ConfigError: `open_parts` refuses, or the space has changed under way.
        VecspeakError: what the engine raises when it is made, before anything is written.
    """
    plan = plan_of(job)
    if check_plan(out, plan):
        shutil.rmtree(parts_folder(out), ignore_errors=True)  # where a kill left it, at the very end
        on_start(job.rows)
        return 0
    ready = engine(job)
    with open_parts(out, plan) as parts:
        first = parts.rows
        on_start(first)
        for table in ready.tables(first, size=checkpoint_every, on_rows=on_rows) if first < job.rows else ():
            parts.append(table)
        if parts.rows != job.rows:
            raise ConfigError(f"{job.space} gave {parts.rows} rows, expected {job.rows}: it has changed meanwhile.")
        parts.finish()
    return job.rows - first


def plan_of(job: Job) -> dict[str, Any]:
    """What decides the rows of a job, as JSON values; not how many are written at a time, nor where."""
    return {
        "model": job.fingerprint,
        "space": space_fingerprint(job.space),
        "prompt": job.prompt,
        "decoding": asdict(job.decoding),
        "rows": job.rows,
    }


def model_fingerprint(folder: Path) -> str:
    """SHA-256 in hex of what makes a model: elm.json and all weights in its folder."""
    files = [folder / "elm.json", *sorted(folder.rglob("*.safetensors"))]
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def space_fingerprint(folder: Path) -> dict[str, Any]:
    """What tells a space from another one or an older one: name, rows, version, and a hash of its first rows."""
    dataset, header = open_space(folder)
    ids, vectors = take_rows(dataset, list(range(min(READ, dataset.count_rows()))))
    digest = hashlib.sha256("\n".join(ids).encode())
    digest.update(vectors.tobytes())
    return {
        "name": header.name,
        "rows": dataset.count_rows(),
        "version": dataset.version,
        "first": digest.hexdigest(),
    }


def take_rows(dataset: lance.LanceDataset, rows: list[int]) -> tuple[list[str], np.ndarray]:
    """Ids and vectors (n, E) of rows, read from disk."""
    table = dataset.take(rows, columns=["id", "vector"])
    vectors = table.column("vector").combine_chunks().flatten().to_numpy()
    return table.column("id").to_pylist(), vectors.reshape(len(rows), -1)


def rows_from(dataset: lance.LanceDataset, first: int, end: int) -> Iterator[tuple[str, np.ndarray]]:
    """Id and vector (E,) of each row of a range, READ of them in memory at a time."""
    for start in range(first, end, READ):
        ids, vectors = take_rows(dataset, list(range(start, min(start + READ, end))))
        yield from zip(ids, vectors, strict=True)


def reference(space: Space) -> Space:
    """What distances are measured against: the space, or beyond EXACT_UP_TO entities a drawn part of that size.

    In the part as in the whole, a distance is compared with those of the entities there: the part is thinner, for both
    sides of the comparison. The draw is the same in every run. Neither memory nor the time of a row grows with the
    space.
    """
    if len(space) <= EXACT_UP_TO:
        return space
    dataset, _ = open_space(space.path)
    drawn = np.sort(np.random.default_rng(0).choice(len(space), EXACT_UP_TO, replace=False))
    ids, vectors = take_rows(dataset, drawn.tolist())
    with TemporaryDirectory() as folder:
        near = Space.create(Path(folder) / "near.lance", ids=ids, vectors=vectors, name=space.name, metric=space.metric)
        near.distances([near[ids[0]]])  # reads all it will need, so the folder may go
    return near


class Narrator:
    """A model that is asked one question about many points."""

    def __init__(self, elm: Elm, near: Space, job: Job):
        """`near`: what distances are measured against. Raises as `Elm.ask`."""
        slot = the_slot(job.prompt)
        self.elm, self._near, self._job, self._slot = elm, near, job, slot
        self._asked = elm.check(Question(job.prompt, {slot: elm.fingerprint.mean}), job.decoding)
        elm.check_encoder(job.decoding)

    def tables(
        self, rows: Iterable[tuple[str, np.ndarray]], *, size: int, on_rows: Callable[[int], None]
    ) -> Iterator[pa.Table]:
        """Narrate ids and vectors; tables of `SCHEMA`, in order, `size` rows each, the last one shorter."""
        written = self._in_order(rows, on_rows)
        while some := list(islice(written, size)):
            yield self._table(some)

    def _in_order(self, rows: Iterable[tuple[str, np.ndarray]], on_rows: Callable[[int], None]) -> Iterator["_Written"]:
        """The rows as they came; one that is written early waits for those before it."""
        begun: dict[int, _Written] = {}
        following = 0
        for key, tokens in run(self.elm.decoder(), self._decoder_rows(rows, begun), at_once=self._job.batch_size):
            number, sample = cast(tuple[int, int], key)
            begun[number].samples[sample] = tokens
            if begun[number].complete:
                on_rows(1)
            while following in begun and begun[following].complete:
                yield begun.pop(following)
                following += 1

    def _decoder_rows(
        self, rows: Iterable[tuple[str, np.ndarray]], begun: dict[int, "_Written"]
    ) -> Iterator[tuple[Hashable, Row]]:
        source = enumerate(rows)
        while some := list(islice(source, self._job.batch_size)):
            asked = [replace(self._asked, points={self._slot: Point(vector, id)}) for _, (id, vector) in some]
            for (number, (id, _)), about, samples in zip(
                some, asked, self.elm.rows(asked, self._job.decoding), strict=True
            ):
                begun[number] = _Written(id, about, [None] * len(samples))
                yield from (((number, sample), row) for sample, row in enumerate(samples))

    def _table(self, written: list["_Written"]) -> pa.Table:
        ids = [[ids or [] for ids in w.samples] for w in written]
        answers = self.elm.answers([w.asked for w in written], ids, chosen_by=self._job.decoding.chosen_by)
        points = [Point(w.asked.points[self._slot].vector, w.id, self._near, w.id) for w in written]
        texts = [(answer.text, answer.consistency) for answer in answers]
        return table_of(points, texts, near=self._near, model=self._job.fingerprint)


def table_of(
    points: Sequence[Point], texts: Sequence[tuple[str, float | None]], *, near: Space, model: str
) -> pa.Table:
    """Rows of `SCHEMA`: of each point its id, a text and its consistency, and the distance in `near`."""
    columns = {
        "id": [point.id for point in points],
        "text": [text for text, _ in texts],
        "consistency": [consistency for _, consistency in texts],
        "distance": pa.array(near.distances(points), pa.float32(), from_pandas=True),  # null where it is nan
        "model": [model] * len(points),
    }
    return pa.table(columns, schema=SCHEMA)


@dataclass(eq=False)
class _Written:
    """A row and the tokens of its samples; None for those that are not written yet."""

    id: str
    asked: Asked
    samples: list[list[int] | None]

    @property
    def complete(self) -> bool:
        return None not in self.samples


class Local:
    """The engine of this one process. Raises as `load`, and as `Narrator`, before any row."""

    def __init__(self, job: Job):
        self._job = job
        self.narrator = open_narrator(job)

    def tables(self, first: int, *, size: int, on_rows: Callable[[int], None]) -> Iterator[pa.Table]:
        """As `Engine.tables`."""
        dataset, _ = open_space(self._job.space)
        return self.narrator.tables(rows_from(dataset, first, self._job.rows), size=size, on_rows=on_rows)


def open_adapter(job: Job) -> tuple[Adapter, Fingerprint, Space]:
    """What can be known of a job without its base. Raises ModelError and SpaceError where the parts do not fit."""
    adapter, fingerprint = load_adapter(job.model, read_manifest(job.model))
    space = Space.open(job.space)
    check_space(fingerprint, space)
    return adapter, fingerprint, space


def open_narrator(job: Job) -> Narrator:
    """The model of a job, loaded and ready. Raises as `load`, and as `Narrator`."""
    space = Space.open(job.space)
    elm = load(job.model)
    check_space(elm.fingerprint, space)
    return Narrator(elm, reference(space), job)
