"""Narration of many points: rows a second, against `generate` of Hugging Face, and memory by the number of rows.

nice python benchmarks/narration.py --rows 10000 --out narration.json

The bundled film model says what lies at points between films, greedily, in one process. Between its tables of 500
rows the rivals get their turn, so that all see the same machine: `generate` on one row at a time, and on batches as
large as narration's, each with whole prompts. They only write; narration also measures consistency and distance, so
its time is given with and without these. All have the model's frequency penalty, which ends its loops: without it
nearly all answers are as long as they may be, and the texts are of no use.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from vecspeak.batching import asking_batch
from vecspeak.bundled import bundled_model_path, bundled_space_path
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.narrate import Job, Local, narrate_to
from vecspeak.prompts import end_token, render
from vecspeak.space import Space

T = TypeVar("T")

PROMPT = "Summarise {film}."
DECODING = Decoding(max_tokens=120, frequency_penalty=0.6)
TABLE = 500
ALONE = 4
"""Rows that `generate` writes one at a time, each turn."""


@dataclass
class Spent:
    """Time of one contender."""

    rows: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    def time(self, rows: int, work: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.rows += rows
        return result

    def over(self, other: "Spent") -> dict[str, float]:
        """How many times as many rows: by the clock, and by CPU time, which other work on the machine spoils less."""
        wall = (self.rows / self.wall) / (other.rows / other.wall)
        return {"wall": round(wall, 2), "cpu": round((self.rows / self.cpu) / (other.rows / other.cpu), 2)}

    def told(self) -> dict[str, float]:
        return {
            "rows": self.rows,
            "rows_per_second": round(self.rows / self.wall, 3),
            "rows_per_cpu_second": round(self.rows / self.cpu, 3),
        }


def points_between_films(path: Path, rows: int, *, seed: int = 0) -> Space:
    """A space of points between two films each, on the great circle."""
    films = Space.open(bundled_space_path())
    rng = np.random.default_rng(seed)
    unit_NE = films.vectors / np.linalg.norm(films.vectors, axis=1, keepdims=True)
    pairs = rng.integers(len(films), size=(rows, 2))
    first_NE, second_NE = unit_NE[pairs[:, 0]], unit_NE[pairs[:, 1]]
    angle_N1 = np.arccos(np.clip((first_NE * second_NE).sum(1, keepdims=True), -1, 1)).clip(min=1e-6)
    share_N1 = rng.uniform(0.1, 0.9, size=(rows, 1))
    vectors = (np.sin((1 - share_N1) * angle_N1) * first_NE + np.sin(share_N1 * angle_N1) * second_NE) / np.sin(
        angle_N1
    )
    ids = [f"p{i}" for i in range(rows)]
    return Space.create(path, ids=ids, vectors=vectors, name="between films", encoder=films.encoder)


class FrequencyPenalty(LogitsProcessor):
    """`Decoding.frequency_penalty` for `generate`, which has none."""

    def __init__(self) -> None:
        self._counts_BV: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if self._counts_BV is None:
            self._counts_BV = torch.zeros_like(scores)
        if input_ids.shape[1]:
            self._counts_BV[torch.arange(len(scores)), input_ids[:, -1]] += 1
        return cast(torch.FloatTensor, scores - DECODING.frequency_penalty * self._counts_BV)


def generate(elm: Elm, vectors_NE: np.ndarray) -> list[str]:
    """Greedy texts of Hugging Face's `generate`, all rows in one batch."""
    prompt = render(elm.tokenizer, PROMPT, elm.adapter.tokens_per_vector)
    batch = asking_batch([prompt] * len(vectors_NE), [{"film": vector} for vector in vectors_NE])
    end = end_token(elm.tokenizer)
    with torch.inference_mode():
        ids = elm.base.generate(
            inputs_embeds=elm.embed(batch), attention_mask=batch.mask_BT, max_new_tokens=DECODING.max_tokens,
            do_sample=False, eos_token_id=end, pad_token_id=end,
            logits_processor=LogitsProcessorList([FrequencyPenalty()]),
        )  # fmt: skip
    return [elm.read(row) for row in ids.tolist()]


class Contest:
    """The local engine, with the rivals' turns between its tables."""

    def __init__(self, job: Job):
        self._local, self._job = Local(job), job
        self._elm, self._space = self._local.narrator.elm, Space.open(job.space)
        self.spent = {name: Spent() for name in ("narrate", "measuring", "generate, one by one", "generate, batches")}
        self.same = self.compared = 0
        generate(self._elm, self._space.vectors[:2])  # nobody pays for the first call
        list(self._local.tables(len(self._space) - 4, size=4, on_rows=lambda rows: None))
        assert self._elm.encoder is not None
        encode = self._elm.encoder.encode
        self._elm.encoder.encode = lambda texts: self.spent["measuring"].time(len(texts), lambda: encode(texts))

    def tables(self, first: int, *, size: int, on_rows: Callable[[int], None]) -> Iterator[pa.Table]:
        source = self._local.tables(first, size=size, on_rows=on_rows)
        done = first
        while (table := self.spent["narrate"].time(0, lambda: next(source, None))) is not None:
            self.spent["narrate"].rows += len(table)
            self._rivals(done, table.column("text").to_pylist())
            done += len(table)
            print(json.dumps({name: vars(spent) for name, spent in self.spent.items()}), file=sys.stderr, flush=True)
            yield table

    def _rivals(self, first: int, texts: list[str]) -> None:
        vectors = self._space.vectors[first : first + self._job.batch_size]
        batch = self.spent["generate, batches"].time(len(vectors), lambda: generate(self._elm, vectors))
        self.same += sum(ours == theirs for ours, theirs in zip(texts, batch, strict=False))
        self.compared += len(batch)
        for vector in vectors[:ALONE]:
            self.spent["generate, one by one"].time(1, lambda v=vector: generate(self._elm, v[None]))


def contest(space: Space, folder: Path, *, batch_size: int) -> dict[str, object]:
    """Rows a second of all three, in one process."""
    job = Job(bundled_model_path(), space.path, PROMPT, DECODING, len(space), batch_size)
    made: list[Contest] = []

    def engine(job: Job) -> Contest:
        made.append(Contest(job))
        return made[0]

    narrate_to(folder / "contest.parquet", job, engine=engine, checkpoint_every=TABLE)
    spent = made[0].spent
    whole, measuring = spent["narrate"], spent["measuring"]
    writing = Spent(whole.rows, whole.wall - measuring.wall, whole.cpu - measuring.cpu)
    found: dict[str, object] = {name: one.told() for name, one in {**spent, "writing alone": writing}.items()}
    for ours, name in ((whole, "narrate"), (writing, "writing alone")):
        for rival in ("generate, one by one", "generate, batches"):
            found[f"{name} / {rival}"] = ours.over(spent[rival])
    return found | {"texts equal": f"{made[0].same} of {made[0].compared}"}


def peak_memory(space: Space, out: Path, *, limit: int) -> float:
    """Largest resident MiB of `vecspeak narrate` in a process of its own."""
    command = [sys.executable, "-m", "vecspeak.cli", "narrate", "films", str(space.path), "--prompt", PROMPT]
    command += ["--out", str(out), "--limit", str(limit), "--max-tokens", "40", "--guidance", "0"]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.2)
    assert process.wait() == 0
    assert pq.read_metadata(out).num_rows == limit
    return round(peak / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="points of the contest")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[10_000, 100_000], help="sizes for memory")
    parser.add_argument("--memory-limit", type=int, default=2_000, help="rows narrated of each")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    args = parser.parse_args()
    found: dict[str, object] = {"threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.rows:
            found["contest"] = contest(
                points_between_films(folder / "points.lance", args.rows), folder, batch_size=args.batch_size
            )
        found["peak MiB"] = {
            rows: peak_memory(
                points_between_films(folder / f"{rows}.lance", rows),
                folder / f"{rows}.parquet",
                limit=args.memory_limit,
            )
            for rows in args.memory_rows
        }
    print(json.dumps(found, indent=2))
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
