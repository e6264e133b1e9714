import json

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from vecspeak.errors import SpaceError
from vecspeak.importing import FORMATS, Reading, import_space
from vecspeak.space import Space
from vecspeak.spacefile import Header

VECTORS = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
IDS = ["a", "b", "c d", "é", "007", "f", "g"]
TITLES = ["Alpha", "B, the second", 'C "quoted"', "D", "E\nover two lines", "F", ""]
YEARS = [1999, 2000, None, 2002, 2003, 2004, 2005]


def table(**more):
    return {"id": IDS, "vector": VECTORS.tolist(), "title": TITLES, "year": YEARS} | more


def rows_of(columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def csv_cell(value):
    return json.dumps(value) if isinstance(value, list) else "" if value is None else value


def write_csv(path, columns):
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([csv_cell(value) for value in row.values()] for row in rows_of(columns))
    return path


def write_parquet(path, columns):
    pq.write_table(pa.table(columns), path)
    return path


def write_table(path, columns):
    if path.suffix == ".jsonl":
        return write_jsonl(path, rows_of(columns))
    if path.suffix == ".parquet":
        return write_parquet(path, columns)
    return write_csv(path, columns)


def check(space, *, ids=IDS, vectors=VECTORS):
    assert space.ids == list(ids)
    np.testing.assert_array_equal(space.vectors, vectors)


def check_table(space):
    check(space)
    assert space.columns == ["title", "year"]
    assert space.column("title") == TITLES and space.column("year") == YEARS


def ids_file(folder, ids=IDS):
    (folder / "ids.txt").write_text("".join(f"{i}\n" for i in ids), "utf-8")
    return folder / "ids.txt"


@pytest.fixture
def target(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "things.lance"


def refused(source, target, match, **reading):
    with pytest.raises(SpaceError, match=match) as caught:
        import_space(source, target, reading=Reading(**reading))
    assert "\n" not in str(caught.value)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path, target, dtype, order, monkeypatch):
    monkeypatch.setattr("vecspeak.read_arrays.BLOCK_VALUES", 6)  # two rows at a time
    array = np.asarray(VECTORS * 10, dtype=dtype, order=order)
    np.save(tmp_path / "v.npy", array)
    seen = []
    made = import_space(
        tmp_path / "v.npy", target, reading=Reading(ids=ids_file(tmp_path)), on_rows=lambda *n: seen.append(n)
    )
    check(made.space, vectors=array.astype(np.float32))
    assert (made.notes, seen) == ((), [(2, 7), (2, 7), (2, 7), (1, 7)])
    assert (made.space.name, made.space.source, made.space.metric) == ("things", "v.npy", "cosine")


def test_npy_without_ids_numbers_the_rows_and_says_so(tmp_path, target):
    np.save(tmp_path / "v.npy", VECTORS)
    made = import_space(tmp_path / "v.npy", target)
    check(made.space, ids="0123456")
    assert made.notes == ("The ids are row numbers; give real ones with --ids FILE, one per line.",)


def test_header_is_kept(tmp_path, target):
    np.save(tmp_path / "v.npy", VECTORS)
    header = Header("mine", "dot", "enc", "here", "MIT")
    space = import_space(tmp_path / "v.npy", target, header=header).space
    assert (space.name, space.metric, space.encoder, space.source, space.licence) == (
        "mine",
        "dot",
        "enc",
        "here",
        "MIT",
    )


def test_npz(tmp_path, target):
    np.savez(tmp_path / "v.npz", embeddings=VECTORS, ids=IDS, year=np.arange(7), odd=np.ones(3))
    made = import_space(tmp_path / "v.npz", target)
    check(made.space)
    assert made.space.column("year") == list(range(7))
    assert made.notes == ("Left out, not one value per row: odd.",)


def test_npz_with_names(tmp_path, target):
    np.savez(tmp_path / "v.npz", a=VECTORS, b=VECTORS + 1, keys=np.array([i.encode() for i in IDS]))
    refused(tmp_path / "v.npz", target, r"2 2-d arrays, name one with --vector-column. Its arrays: a \(7, 3\)")
    refused(tmp_path / "v.npz", target, "no 2-d array 'c'", vector_column="c")
    refused(tmp_path / "v.npz", target, "no array 'k' for the ids", vector_column="a", id_column="k")
    made = import_space(tmp_path / "v.npz", target, reading=Reading(vector_column="b", id_column="keys"))
    check(made.space, vectors=VECTORS + 1)


def test_safetensors(tmp_path, target, monkeypatch):
    monkeypatch.setattr("vecspeak.read_arrays.BLOCK_VALUES", 6)
    save_file({"emb": VECTORS, "year": np.arange(7)}, tmp_path / "v.safetensors")
    made = import_space(tmp_path / "v.safetensors", target, reading=Reading(ids=ids_file(tmp_path)))
    check(made.space)
    assert made.space.column("year") == list(range(7)) and made.notes == ()


def test_parquet(tmp_path, target, monkeypatch):
    monkeypatch.setattr("vecspeak.read_tables.ROWS", 2)
    made = import_space(write_parquet(tmp_path / "v.parquet", table()), target)
    check_table(made.space)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 3), pa.large_list(pa.float64()), pa.list_(pa.float32())])
def test_parquet_keeps_every_kind_of_list_and_column(tmp_path, target, kind):
    columns = {
        "movie": pa.array(range(7)),
        "name": pa.array(TITLES).dictionary_encode(),
        "emb": pa.array(VECTORS.tolist(), kind),
        "genres": [["x"], [], None, ["y", "z"], [], [], []],
        "facts": [{"a": 1}] * 7,
        "empty": pa.nulls(7),
    }
    reading = Reading(id_column="movie", title_column="name", vector_column="emb")
    space = import_space(write_parquet(tmp_path / "v.parquet", columns), target, reading=reading).space
    check(space, ids="0123456")
    assert space.columns == ["title", "genres", "facts", "empty"]
    assert space.column("title") == TITLES and space.column("genres")[:4] == [["x"], [], None, ["y", "z"]]
    assert space.row("1")["facts"] == {"a": 1} and space.row("1")["empty"] is None


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_one_column_per_dimension(tmp_path, target, suffix):
    columns = {
        "id": IDS,
        **{f"emb_{d}": VECTORS[:, d].astype(float).tolist() for d in (0, 2, 1)},
        "embargo": [True] * 7,
    }
    source = tmp_path / f"v.{suffix}"
    {"parquet": write_parquet, "csv": write_csv, "jsonl": lambda p, c: write_jsonl(p, rows_of(c))}[suffix](
        source, columns
    )
    space = import_space(source, target, reading=Reading(vector_column="emb_*")).space
    check(space, vectors=VECTORS[:, [0, 2, 1]])
    assert space.column("embargo") == [True] * 7


def test_csv(tmp_path, target):
    check_table(import_space(write_csv(tmp_path / "v.csv", table()), target).space)


def test_csv_types_come_from_all_rows(tmp_path, target, monkeypatch):
    monkeypatch.setattr("vecspeak.read_tables.LONGEST_LINE", 400)  # many blocks
    rows = 200
    columns = {
        "id": [f"{row:04}" for row in range(rows)],
        "vector": [f"[{row}, 1]" for row in range(rows)],
        "code": [str(row) for row in range(rows - 1)] + ["12x"],
    }
    space = import_space(write_csv(tmp_path / "v.csv", columns), target).space
    assert space.ids == columns["id"] and space.column("code") == columns["code"]
    np.testing.assert_array_equal(space.vectors[:, 0], np.arange(rows))


def test_jsonl(tmp_path, target, monkeypatch):
    monkeypatch.setattr("vecspeak.reading.ROWS", 2)
    monkeypatch.setattr("vecspeak.read_tables.ROWS", 2)
    check_table(import_space(write_jsonl(tmp_path / "v.jsonl", rows_of(table())), target).space)


def test_jsonl_with_fields_that_come_late(tmp_path, target, monkeypatch):
    monkeypatch.setattr("vecspeak.reading.ROWS", 1)
    monkeypatch.setattr("vecspeak.read_tables.ROWS", 1)
    rows = [
        {"id": 1, "vector": [1, 2], "n": 1, "tags": []},
        {"id": "b", "vector": [1, 2.5], "n": 1.5, "tags": ["x"], "facts": {"q": 1}},
    ]
    space = import_space(write_jsonl(tmp_path / "v.jsonl", rows), target).space
    check(space, ids="1b", vectors=np.array([[1, 2], [1, 2.5]]))
    assert [space.row(i) for i in space] == [
        {"id": "1", "n": 1.0, "tags": [], "facts": None},
        {"id": "b", "n": 1.5, "tags": ["x"], "facts": {"q": 1}},
    ]


@pytest.mark.parametrize("head", ["2 3\n", ""])
def test_word2vec(tmp_path, target, head):
    (tmp_path / "v.vec").write_text(f"{head}new_york 1 2 3 \né 1e-2 -2 .5\n", "utf-8")
    space = import_space(tmp_path / "v.vec", target).space
    check(space, ids=["new_york", "é"], vectors=np.array([[1, 2, 3], [0.01, -2, 0.5]], np.float32))


def test_word2vec_words_may_hold_spaces(tmp_path, target):
    (tmp_path / "v.txt").write_text("1 2\nnew york 1 2\n")
    check(import_space(tmp_path / "v.txt", target).space, ids=["new york"], vectors=np.array([[1, 2]]))


def test_lancedb_table(tmp_path, target):
    lancedb = pytest.importorskip("lancedb")
    database = lancedb.connect(tmp_path / "db")
    database.create_table("films", rows_of(table()))
    refused(tmp_path / "db", target, "It is a database; name one of its tables: .*films.lance")
    check_table(import_space(tmp_path / "db" / "films.lance", target).space)


def test_a_space_can_be_imported_over_itself(tmp_path, target):
    first = Space.create(target, ids=IDS, vectors=VECTORS, name="old", columns={"title": TITLES, "year": YEARS})
    again = import_space(first.path, target, header=Header("new"), overwrite=True).space
    check_table(again)
    assert again.name == "new"


def test_a_failed_import_keeps_the_space_that_was_there(tmp_path, target):
    Space.create(target, ids=IDS, vectors=VECTORS, name="old")
    np.save(tmp_path / "v.npy", np.full((3, 2), np.nan))
    with pytest.raises(SpaceError, match="nan"):
        import_space(tmp_path / "v.npy", target, overwrite=True)
    check(Space.open(target))
    assert [path.name for path in target.parent.iterdir()] == ["things.lance"]


def test_a_late_fault_leaves_nothing_behind(tmp_path, target, monkeypatch):
    monkeypatch.setattr("vecspeak.read_arrays.BLOCK_VALUES", 30)
    vectors = np.ones((1000, 3), np.float32)
    vectors[997, 2] = np.inf
    np.save(tmp_path / "v.npy", vectors)
    refused(tmp_path / "v.npy", target, r"Row 997, column 2 \(counted from 0\), id '997': .* got inf")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.array([[1, "a"]], object), "no array of plain numbers.*Python objects"),
        (np.array([["a", "b"]]), "expected real numbers"),
        (np.ones((2, 2), complex), "holds complex128, expected real numbers"),
        (np.ones(4), r"shape \(4,\), expected \(rows, dimensions\)"),
        (np.ones((0, 4)), "no rows"),
        (np.ones((3, 0)), "no numbers"),
        (np.array([[1.0, 0], [0, 0]]), "Row 1 .* zero vector"),
    ],
)
def test_refused_npy(tmp_path, target, array, match):
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    refused(tmp_path / "v.npy", target, match)


def test_refused_npz_pickle(tmp_path, target):
    np.savez(tmp_path / "v.npz", v=VECTORS, ids=np.array(IDS, object), allow_pickle=True)
    refused(tmp_path / "v.npz", target, "no archive of plain arrays: Object arrays cannot be loaded")


def test_refused_truncated_npy(tmp_path, target):
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "v.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:-5])
    refused(tmp_path / "v.npy", target, "no array of plain numbers")


def test_refused_bfloat16(tmp_path, target):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    save_torch({"v": torch.ones(3, 2, dtype=torch.bfloat16)}, tmp_path / "v.safetensors")
    refused(tmp_path / "v.safetensors", target, "holds BF16, .* store float32")


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (IDS[:6], "ids.txt has 6 ids for 7 vectors"),
        ([*IDS[:6], "a"], "Id 'a' is there twice, again in row 6"),
        (["", *IDS[1:]], "Row 0 .* has no id"),
    ],
)
def test_refused_ids(tmp_path, target, ids, match):
    np.save(tmp_path / "v.npy", VECTORS)
    refused(tmp_path / "v.npy", target, match, ids=ids_file(tmp_path, ids))


def test_refused_ids_file(tmp_path, target):
    np.save(tmp_path / "v.npy", VECTORS)
    refused(tmp_path / "v.npy", target, "no file of ids", ids=tmp_path / "nope")
    (tmp_path / "latin").write_bytes("é\n".encode("latin-1"))
    refused(tmp_path / "v.npy", target, "not UTF-8 text", ids=tmp_path / "latin")


@pytest.mark.parametrize("suffix", [*FORMATS, ".JSONL"])
def test_refused_garbage(tmp_path, target, suffix):
    (tmp_path / f"v{suffix}").write_bytes(b"\x00\xff\x13\x37 garbage\n" * 3)
    refused(tmp_path / f"v{suffix}", target, ".")
    (tmp_path / f"v{suffix}").write_bytes(b"")
    refused(tmp_path / f"v{suffix}", target, ".")


RAGGED = table(vector=[[1, 2, 3]] * 6 + [[1, 2]])
TABLE_FAULTS = [
    ({"columns": RAGGED}, r"row 6 \(counted from 0\) has 2 numbers, the first row has 3"),
    ({"columns": table(vector=[[1, 2, 3]] * 6 + [None])}, "row 6 .*"),
    ({"columns": table(vector=[[1, 2, 3]] * 6 + [[1, None, 3]])}, r"row 6, column 1 \(counted from 0\) has no number"),
    ({"columns": table(vector=[[]] * 7)}, "row 0 .* has an empty vector|expected lists of numbers"),
    ({"columns": table(vector=[["x", "y"]] * 7)}, "."),
    ({"columns": table(id=["a"] * 7)}, "Id 'a' is there twice, again in row 1"),
    ({"columns": {**table(), "id": [*IDS[:6], ""]}}, "Row 6 .* has no id"),
    (
        {"columns": {"key": IDS, "vector": VECTORS.tolist()}},
        "no id column 'id'. .* one of: key, vector",
    ),
    (
        {"columns": {"id": IDS, "emb": VECTORS.tolist()}},
        "no vector column 'vector'. .* one of: id, emb",
    ),
    ({"columns": table(), "title_column": "name"}, "no title column 'name'"),
    ({"columns": table(), "title_column": "year"}, "a column 'title' beside 'year'"),
    ({"columns": table(key=IDS), "id_column": "key"}, "called 'id', a name the space itself uses"),
    ({"columns": table(), "vector_column": "emb_*"}, r"no vector column 'emb_\*'"),
    ({"columns": table(), "ids": "ids.txt"}, "--ids means nothing for"),
]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(("fault", "match"), TABLE_FAULTS)
def test_refused_tables(tmp_path, target, suffix, fault, match, monkeypatch):
    monkeypatch.setattr("vecspeak.reading.ROWS", 2)  # faults beyond the first chunk
    monkeypatch.setattr("vecspeak.read_tables.ROWS", 2)
    reading = {name: value for name, value in fault.items() if name != "columns"}
    source = write_table(tmp_path / f"v.{suffix}", fault["columns"])
    refused(source, target, match, **reading)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"id": "a", "vector": [1, NaN]}', "Row 0, column 1 .* got nan"),
        ('{"id": "a", "vector": [1, 1e999]}', "Row 0, column 1 .* got inf"),
        ('{"id": "a", "vector": [1, "2"]}', "row 0 .* Could not convert '2'"),
        ('{"id": "a", "vector": 3}', "row 0"),
        ('{"id": true, "vector": [3]}', "row 0 .* expected string"),
        ('{"id": 1.5, "vector": [3]}', "row 0 .* expected string"),
        ('{"id": "a", "vector": [1, 2]', "row 0 .* is not JSON"),
        ("[" * 200_000, "row 0 .* is not JSON"),
        ("[1, 2]", "row 0 .* is list, expected an object"),
        ('{"id": "a", "vector": [1], "x": 1}\n{"id": "b", "vector": [1], "x": "y"}', "column 'x' holds values of diff"),
        ('{"id": "a", "vector": [1], "x": 36893488147419103232}', "column 'x'"),
    ],
)
def test_refused_jsonl(tmp_path, target, text, match):
    (tmp_path / "v.jsonl").write_text(text + "\n")
    refused(tmp_path / "v.jsonl", target, match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,vector\na,\n", "row 0 .* is not JSON"),
        ("id,vector\na,1 2 3\n", "row 0 .* is not JSON"),
        ("id,vector\na\n", "Expected 2 columns, got 1"),
        ("id,vector,id\na,[1],b\n", "two columns 'id'"),
        ("id,vector\n", "no rows"),
        ("id,v1,v2\na,1,x\n", "conversion error to double"),
        ("id,v1,v2\na,1,\n", "row 0 .* column 'v2' has no number"),
    ],
)
def test_refused_csv(tmp_path, target, text, match):
    (tmp_path / "v.csv").write_text(text)
    refused(tmp_path / "v.csv", target, match, vector_column="v*" if "v1" in text else None)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("3 2\na 1 2\nb 3 4\n", "promises 3 rows in its first line and has 2"),
        ("a 1 2\nb 3\n", "row 1 .* has 1 numbers, expected 2"),
        ("a 1 2\nb 3 x\n", "row 1 .* could not convert string to float: 'x'"),
        ("a 1 2\na 3 4\n", "Id 'a' is there twice"),
        ("hello\n", "no word2vec text"),
        ("2 0\na\nb\n", "no word2vec text"),
    ],
)
def test_refused_word2vec(tmp_path, target, text, match):
    (tmp_path / "v.txt").write_text(text)
    refused(tmp_path / "v.txt", target, match)


def test_an_endless_line_is_refused(tmp_path, target, monkeypatch):
    monkeypatch.setattr("vecspeak.reading.LONGEST_LINE", 100)
    (tmp_path / "v.txt").write_text("a 1 2\nb " + "1" * 1000)
    refused(tmp_path / "v.txt", target, "line 2: longer than 100 characters")


def test_refused_sources(tmp_path, target):
    refused(tmp_path / "nope.npy", target, "There is no .*nope.npy to import")
    (tmp_path / "v.pkl").write_text("")
    refused(tmp_path / "v.pkl", target, r"unknown format. Known: .npy .npz")
    refused(tmp_path, target, "Expected a Lance dataset")
    np.save(tmp_path / "v.npy", VECTORS)
    refused(tmp_path / "v.npy", target, "--vector-column means nothing for", vector_column="x")


def test_lance_without_our_columns(tmp_path, target):
    lance.write_dataset(pa.table({"key": ["a"], "v": [[1.0, 2.0]]}), str(tmp_path / "x.lance"))
    refused(tmp_path / "x.lance", target, "no id column 'id'")
    space = import_space(tmp_path / "x.lance", target, reading=Reading(id_column="key", vector_column="v")).space
    check(space, ids="a", vectors=np.array([[1, 2]]))
