"""A teacher behind a server that misbehaves: every target once, after kills, within the budget, rejects kept."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from misbehaving import TOKENS_IN, TOKENS_OUT, Server, misbehaving, said

from vecspeak.cli import main
from vecspeak.space import Space

TASKS = """
[[task]]
name = "audience"
slots = ["item"]
target = "{audience}"
prompts = ["Who is {item} for?"]
teacher = "{text}\\n\\nWho is it for? Do not name it."
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    with misbehaving() as state:
        yield state


def space_of(rows: int, folder: Path) -> Space:
    (folder / "tasks.toml").write_text(TASKS)
    return Space.create(
        folder / "s.lance",
        ids=[f"e{row}" for row in range(rows)],
        vectors=np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32),
        columns={
            "title": [f"Thing {row}" for row in range(rows)],
            "text": [f"This is the number {row} of all." for row in range(rows)],
        },
        name="things",
    )


def command(folder: Path, server: Server, *more: str) -> list[str]:
    words = ["teach", str(folder / "s.lance"), "--tasks", str(folder / "tasks.toml"), "--unnamed"]
    words += ["--out", str(folder / "targets.parquet"), "--teacher-url", server.url, "--teacher-model", "m"]
    return [*words, "--timeout", "0.6", "--max-tokens", "30", *more]


def run_until(words: list[str], server: Server, *, attempts: int) -> None:
    """Run the command in a process of its own and kill it once the server has had so many attempts."""
    process = subprocess.Popen([sys.executable, "-m", "vecspeak.cli", *words], stdout=subprocess.DEVNULL)
    while process.poll() is None and server.attempts.total() < attempts:
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def spent_as_told(out: str) -> int:
    return int(re.findall(r"spent ([\d,]+) tokens in all", out)[0].replace(",", ""))


def check_all_written(folder: Path, rows: int) -> None:
    table = pq.read_table(folder / "targets.parquet").to_pylist()
    assert [row["id"] for row in table] == [f"e{row}" for row in range(rows)]
    expected = [said(number) for number in range(rows)]
    assert [row["text"] for row in table] == [text.strip() for text, _ in expected]
    assert [row["rejected"] for row in table] == [why for _, why in expected]
    assert {row["model"] for row in table} == {"m"} and len({row["prompt_sha256"] for row in table}) == rows
    space = Space.open(folder / "s.lance")
    assert space.column("audience") == [text if why is None else None for text, why in expected]
    assert space.column("text")[1] == "This is the number 1 of all."


def kill_and_go_on(folder: Path, server: Server, capsys: pytest.CaptureFixture[str], *, rows: int, kills: int) -> str:
    """The whole course; what the last run told."""
    space_of(rows, folder)
    budget = rows * 2 * (TOKENS_IN + TOKENS_OUT) + 20_000
    words = command(folder, server, "--budget", str(budget), "--concurrency", "16")
    for kill in range(kills):
        run_until(words, server, attempts=(kill + 1) * rows // (kills + 1))
        assert not (folder / "targets.parquet").exists()
    assert main(words) == 0
    told = capsys.readouterr().out
    check_all_written(folder, rows)
    assert server.charged <= spent_as_told(told) <= budget
    assert set(server.faults) == {"429", "500", "late", "cut", "malformed", "twice", "broken off"}
    # beyond its faults a prompt is asked again only where a kill lost its answer
    needed = sum(server.faults.values()) + rows
    assert needed - kills <= server.attempts.total() <= needed + 16 * kills
    asked = server.attempts.total()
    assert main(words) == 0
    assert server.attempts.total() == asked
    check_all_written(folder, rows)
    return told


def test_every_target_once_after_a_kill(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = kill_and_go_on(tmp_path, server, capsys, rows=240, kills=1)
    rejected = Counter(why for _, why in map(said, range(240)) if why)
    assert all(f"{count} {why}" in told for why, count in rejected.items())


@pytest.mark.slow
def test_five_thousand_targets_after_two_kills(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    told = kill_and_go_on(tmp_path, server, capsys, rows=5000, kills=2)
    with capsys.disabled():
        print(f"\n{told}\nserver: {server.attempts.total():,} attempts, {server.charged:,} tokens charged,"
              f" faults {dict(server.faults)}; {time.monotonic() - began:.0f} s")  # fmt: skip


def test_the_budget_is_never_exceeded_and_more_of_it_goes_on(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space_of(60, tmp_path)
    for budget in (400, 1_500):
        assert main(command(tmp_path, server, "--budget", str(budget), "--concurrency", "8")) == 0
        told = capsys.readouterr().out
        assert server.charged <= spent_as_told(told) <= budget
        assert "THE BUDGET IS SPENT" in told and "which may not be enough" in told
        assert re.search(r"answers of at most [\d,]+; about [\d,]+ tokens in all", told)  # retries are not foreseen
        table = pq.read_table(tmp_path / "targets.parquet")
        assert 0 < table.num_rows < 60
        left = int(re.findall(r"SPENT: (\d+) targets are left", told)[0])
        assert left == 60 - table.num_rows
    assert main(command(tmp_path, server)) == 0
    check_all_written(tmp_path, 60)


def test_a_server_that_is_down_is_told_and_loses_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecspeak.endpoint.FIRST_PAUSE_S", 0.001)
    space_of(40, tmp_path)
    down = Server(url="http://127.0.0.1:9/v1")
    assert main(command(tmp_path, down)) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: 20 prompts in a row without an answer. What was answered is kept.")
    assert not (tmp_path / "targets.parquet").exists()
    assert main(command(tmp_path, server)) == 0
    check_all_written(tmp_path, 40)
