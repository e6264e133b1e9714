"""Narration on a Ray cluster of this machine gives the rows of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_narrate import PROMPT, ROWS, Stopped, folder, job_of, narrated, stop_after  # noqa: F401 - folder is a fixture

from vecspeak.errors import ConfigError
from vecspeak.narrate import narrate_to
from vecspeak.narrate_ray import OnRay


def narrate_on_ray(made: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: Ray leaves threads and sockets behind, and warns."""
    command = [sys.executable, "-m", "vecspeak.cli", "narrate", str(made / "model"), str(made / "space.lance"),
               "--prompt", PROMPT, "--out", str(out), "--max-tokens", "12", "--checkpoint-every", "4",
               "--engine", "ray", "--workers", "2"]  # fmt: skip
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_two_workers_write_the_rows_of_one_process(folder, tmp_path):  # noqa: F811
    expected = narrated(job_of(folder), tmp_path / "local.parquet")
    done = narrate_on_ray(folder, tmp_path / "ray.parquet")
    assert done.returncode == 0, done.stderr
    assert f"{ROWS} rows, {ROWS} of them now" in done.stdout
    assert pq.read_table(tmp_path / "ray.parquet").equals(expected, check_metadata=True)


@pytest.mark.slow
def test_a_cluster_goes_on_where_one_process_was_stopped(folder, tmp_path):  # noqa: F811
    out = tmp_path / "out.parquet"
    with pytest.raises(Stopped):
        narrated(job_of(folder), out, on_rows=stop_after(13))
    done = narrate_on_ray(folder, out)
    assert done.returncode == 0, done.stderr
    assert f"{ROWS} rows, " in done.stdout
    assert f", {ROWS} of them now" not in done.stdout
    assert pq.read_table(out).equals(narrated(job_of(folder), tmp_path / "local.parquet"))


def test_workers_that_cannot_be_are_refused(folder, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match="workers is 0; expected at least 1"):
        narrate_to(tmp_path / "out.parquet", job_of(folder), engine=lambda job: OnRay(job, workers=0))
    assert not list(tmp_path.iterdir())
