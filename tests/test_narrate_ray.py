"""Narration on a Ray cluster of this machine gives the rows of one process."""

import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from vecspeak.bundled import bundled_model_path, bundled_space_path
from vecspeak.decoding import Decoding
from vecspeak.errors import ConfigError
from vecspeak.narrate import Job, Local, narrate_to
from vecspeak.narrate_ray import OnRay

ROWS = 40
JOB = Job(bundled_model_path(), bundled_space_path(), "Summarise {film}.", Decoding(max_tokens=8), ROWS)


def narrate_on_ray(out, *more: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: Ray leaves threads and sockets behind, and warns."""
    command = [sys.executable, "-m", "vecspeak.cli", "narrate", "films", "films", "--prompt", JOB.prompt,
               "--out", str(out), "--limit", str(ROWS), "--max-tokens", "8", "--guidance", "0",
               "--frequency-penalty", "0", "--checkpoint-every", "8", "--engine", "ray", *more]  # fmt: skip
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)


@pytest.mark.slow
def test_two_workers_write_the_rows_of_one_process(tmp_path):
    done = narrate_on_ray(tmp_path / "ray.parquet", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert f"{ROWS} rows, {ROWS} of them now" in done.stdout
    narrate_to(tmp_path / "local.parquet", JOB, engine=Local)
    ray, local = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("ray", "local"))
    for name in ("id", "text", "distance", "model"):
        assert ray.column(name).to_pylist() == local.column(name).to_pylist()
    assert ray.column("consistency").to_numpy() == pytest.approx(local.column("consistency").to_numpy(), abs=1e-5)
    assert ray.schema.metadata == local.schema.metadata


def test_workers_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="workers is 0; expected at least 1"):
        OnRay(JOB, workers=0)
