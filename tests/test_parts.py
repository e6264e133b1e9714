"""Parts of a file: whole or absent, in order, one plan, one writer."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecspeak import parts
from vecspeak.errors import ConfigError
from vecspeak.parts import check_plan, open_parts, parts_folder

PLAN = {"what": "numbers", "of": {"a": 1}}


def rows(first: int, count: int) -> pa.Table:
    return pa.table({"n": list(range(first, first + count))})


def numbers(path) -> list[int]:
    return pq.read_table(path).column("n").to_pylist()


def test_parts_become_one_file_with_its_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROW_GROUP", 5)
    out = tmp_path / "out.parquet"
    assert not check_plan(out, PLAN)
    with open_parts(out, PLAN) as made:
        for count in (3, 4, 1, 6, 2):
            made.append(rows(made.rows, count))
        assert not out.exists()
        made.finish()
    assert numbers(out) == list(range(16))
    assert pq.ParquetFile(out).num_row_groups == 3  # 3 + 4, 1 + 6, 2
    assert check_plan(out, PLAN)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    with pytest.raises(ConfigError, match="is there, complete"), open_parts(out, PLAN):
        pass


def test_going_on_begins_after_the_last_whole_part(tmp_path):
    out = tmp_path / "out.parquet"
    with open_parts(out, PLAN) as made:
        made.append(rows(0, 3))
    (parts_folder(out) / ".part-000000000003.parquet.tmp").write_bytes(b"half")
    with open_parts(out, PLAN) as made:
        assert made.rows == 3
        assert not list(parts_folder(out).glob(".part*"))
        made.append(rows(3, 2))
        made.finish()
    assert numbers(out) == list(range(5))


@pytest.mark.parametrize("at", ["replace", "rmtree"])
def test_a_stop_while_finishing_loses_nothing(tmp_path, monkeypatch, at):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt), open_parts(out, PLAN) as made:
        made.append(rows(0, 4))
        target = (parts.Path, "replace") if at == "replace" else (parts.shutil, "rmtree")
        monkeypatch.setattr(*target, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        made.finish()
    monkeypatch.undo()
    assert check_plan(out, PLAN) == (at == "rmtree")
    if at == "replace":
        with open_parts(out, PLAN) as made:
            made.finish()
    assert numbers(out) == list(range(4))


def test_another_plan_is_refused_by_the_name_of_what_differs(tmp_path):
    out = tmp_path / "out.parquet"
    with open_parts(out, PLAN) as made:
        made.append(rows(0, 3))
    for other in ({**PLAN, "what": "letters"}, {**PLAN, "more": 1}, {"of": PLAN["of"]}):
        with pytest.raises(ConfigError, match=r"made with another (what|more)"), open_parts(out, other):
            pass
    with pytest.raises(ConfigError, match=r"another of\.a: 1, now 2\. "), open_parts(out, {**PLAN, "of": {"a": 2}}):
        pass
    assert len(list(parts_folder(out).glob("part-*"))) == 1


def test_one_writer_at_a_time(tmp_path):
    out = tmp_path / "out.parquet"
    with open_parts(out, PLAN), pytest.raises(ConfigError, match="Another process is writing"), open_parts(out, PLAN):
        pass
    with open_parts(out, PLAN):
        pass


def test_a_damaged_or_missing_part_is_named(tmp_path):
    out = tmp_path / "out.parquet"
    with open_parts(out, PLAN) as made:
        for _ in range(3):
            made.append(rows(made.rows, 2))
    second = parts_folder(out) / "part-000000000002.parquet"
    whole = second.read_bytes()
    second.write_bytes(whole[:50])
    with pytest.raises(ConfigError, match=r"part-000000000002\.parquet is damaged"), open_parts(out, PLAN):
        pass
    second.unlink()
    with pytest.raises(ConfigError, match=r"lacks part-000000000002\.parquet"), open_parts(out, PLAN):
        pass
    second.write_bytes(whole)
    (parts_folder(out) / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match=r"plan\.json cannot be read"), open_parts(out, PLAN):
        pass


def test_a_disk_that_refuses_is_told(tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    with open_parts(out, PLAN) as made:
        monkeypatch.setattr(parts.pq, "write_table", lambda *_: (_ for _ in ()).throw(OSError("No space left")))
        with pytest.raises(ConfigError, match="cannot be written: No space left"):
            made.append(rows(0, 2))
        monkeypatch.undo()
        assert made.rows == 0
        made.append(rows(0, 2))
        made.finish()
    assert numbers(out) == [0, 1]
