"""A Parquet file that takes hours to make: written in parts, in order, each row in one of them, whole at the end.

    out.parquet.parts/
      plan.json                 what is being made; a run of another plan is refused
      part-000000000000.parquet the rows from that number on

A part is complete or not there, so a run that was killed goes on after the last one. The file itself appears
once all rows are there, with the plan in its metadata, and the folder goes.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from vecspeak.errors import ConfigError
from vecspeak.spacefile import one_line

PLAN = "plan.json"

KEY = b"vecspeak"
"""Key of the plan in the file's metadata."""

ROW_GROUP = 32_768
"""Rows of a row group of the finished file, or a part more; they are held in memory while they are gathered."""


@dataclass
class Parts:
    """The rows that are there; made by `open_parts`."""

    out: Path
    plan: Mapping[str, Any]
    folder: Path
    rows: int
    """Rows written so far; the next one has this number."""

    def append(self, rows: pa.Table) -> None:
        """Write the next rows as one part. Raises ConfigError where the disk refuses."""
        with _writing(self.folder / _part_name(self.rows)) as temporary:
            pq.write_table(rows, temporary)
        self.rows += len(rows)

    def finish(self) -> None:
        """Put the parts together as the file, and remove the folder. Raises ConfigError where the disk refuses."""
        with _writing(self.out) as temporary:
            _join(_parts(self.folder), temporary, plan=self.plan)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def open_parts(out: Path, plan: Mapping[str, Any]) -> Iterator[Parts]:
    """The parts of a file, to go on with where there are some; nobody else may write them meanwhile.

    Args:
        out: the Parquet file to make.
        plan: plain JSON values that say what it is made of; equal plans make equal rows.

    Raises:
        ConfigError: the file is there, its parts were made by another plan, another process is at work, or
            the disk refuses.
    """
    check_plan(out, plan)  # before anything is made
    folder = parts_folder(out)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {one_line(error)}.") from error
    with _locked(folder):
        if check_plan(out, plan):  # again, now that nobody else can write
            raise ConfigError(f"{out} is there, complete.")
        for rest in folder.glob(".*.tmp"):  # of a killed process
            rest.unlink()
        if not (folder / PLAN).exists():
            with _writing(folder / PLAN) as temporary:
                temporary.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        yield Parts(out, plan, folder, sum(_counts(folder)))


def parts_folder(out: Path) -> Path:
    """Where the parts of a file are kept while it is made."""
    return out.with_name(f"{out.name}.parts")


def check_plan(out: Path, plan: Mapping[str, Any]) -> bool:
    """Whether the file is there already, made by this plan. Raises ConfigError for what another plan made."""
    if out.exists():
        _same_plan(plan, _plan_of_file(out), what=out)
        return True
    kept = parts_folder(out) / PLAN
    if kept.exists():
        try:
            found = json.loads(kept.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{kept} cannot be read ({one_line(error)}). Remove that folder to start anew."
            ) from error
        _same_plan(plan, found, what=kept.parent)
    return False


def _same_plan(plan: Mapping[str, Any], found: Any, *, what: Path) -> None:
    if not isinstance(found, dict):
        raise ConfigError(f"{what} was not made by this command, so it is left alone. Choose another --out.")
    for name, ours, theirs in _differences(plan, found):
        raise ConfigError(
            f"{what} was made with another {name}: {_brief(theirs)}, now {_brief(ours)}. "
            "Choose another --out, or remove it to start anew."
        )


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(name, value of ours, value of theirs) of each that differs; `outer.inner` is the name of one within another."""
    for name in {**ours, **theirs}:
        one, other = ours.get(name), theirs.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from ((f"{name}.{inner}", *values) for inner, *values in _differences(one, other))
        elif one != other:
            yield name, one, other


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"


def _plan_of_file(path: Path) -> Any:
    """The plan in a Parquet file's metadata; None for a file of something else."""
    try:
        return json.loads((pq.read_schema(path).metadata or {})[KEY])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None


def _part_name(first: int) -> str:
    return f"part-{first:012d}.parquet"


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _counts(folder: Path) -> Iterator[int]:
    """Rows of each part. Raises ConfigError where one is damaged or missing."""
    rows = 0
    for path in _parts(folder):
        try:
            count = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{path} is damaged ({one_line(error)}). Remove it and those after it.") from error
        if path.name != _part_name(rows):
            raise ConfigError(f"{folder} lacks {_part_name(rows)}, but has {path.name}. Remove that and those after.")
        rows += count
        yield count


def _join(parts: list[Path], path: Path, *, plan: Mapping[str, Any]) -> None:
    schema = pq.read_schema(parts[0]).with_metadata({KEY: json.dumps(plan)})
    gathered: list[pa.Table] = []
    with pq.ParquetWriter(path, schema) as writer:
        for number, part in enumerate(parts, 1):
            gathered.append(pq.read_table(part))
            if number == len(parts) or sum(map(len, gathered)) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(gathered).cast(schema))
                gathered.clear()


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which is renamed once its bytes are on the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {one_line(error)}.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / ".lock", timeout=0):  # the system frees that of a killed process
            yield
    except Timeout as error:
        raise ConfigError(f"Another process is writing {folder}. Wait for it, or choose another --out.") from error
