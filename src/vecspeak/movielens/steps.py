"""Steps of a long run, each done once and its outcome kept."""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from vecspeak.files import write_whole
from vecspeak.movielens.results import StepTaken

Found = TypeVar("Found")


class Steps:
    """Steps done and what they found, each kept in a file of its own."""

    def __init__(self, folder: Path, event: Callable[[str], None]) -> None:
        self.folder = folder
        self._event = event

    def once(self, name: str, make: Callable[[], Found], kind: type[Found]) -> Found:
        """What the step found, now or before. `kind` is anything pydantic can write as JSON."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            return self.found(name, kind)
        self._event(name)
        began = time.monotonic()
        found = make()
        step = StepTaken(name=name, seconds=time.monotonic() - began, peak_gib=peak_gib())
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {"step": step.model_dump(), "found": json.loads(TypeAdapter(kind).dump_json(found))}
        write_whole(path, json.dumps(whole, indent=1))
        self._event(f"{name}: {step.seconds / 60:.1f} min, peak {step.peak_gib:.1f} GiB")
        return found

    def found(self, name: str, kind: type[Found]) -> Found:
        """What a finished step found."""
        adapter = TypeAdapter(kind)
        return adapter.validate_json(json.dumps(json.loads((self.folder / f"{name}.json").read_text("utf-8"))["found"]))

    def taken(self) -> tuple[StepTaken, ...]:
        """The finished steps in the order in which they ended."""
        files = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        return tuple(StepTaken.model_validate(json.loads(path.read_text("utf-8"))["step"]) for path in files)


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
