"""The pace of a long piece of work, by a clock that is ours."""

import pytest

from vecspeak import pace
from vecspeak.pace import pace_bar


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_what_was_there_before_does_not_count_as_fast(clock, capsys):
    with pace_bar(1_000) as bar:
        bar.start(600)
        for _ in range(2):
            clock[0] += 20
            bar.advance(100)
        assert str(bar) == "5.0 rows/s, 0:40 left"
    told = capsys.readouterr().err
    assert "700 of 1,000 rows, 5.0 rows/s, 1:00 left" in told
    assert "800 of 1,000 rows, 5.0 rows/s, 0:40 left" in told


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    with pace_bar(100) as bar:
        bar.start(0)
        for _ in range(30):
            clock[0] += 1
            bar.advance(1)
    assert capsys.readouterr().err.count("of 100 rows") == 2
