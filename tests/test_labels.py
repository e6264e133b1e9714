"""Clusters and their names, on a tiny Elm and a space of three clumps."""

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny

from vecspeak import cli_explore
from vecspeak.cli import main
from vecspeak.compare import compare
from vecspeak.decoding import Decoding
from vecspeak.errors import ConceptError, ConfigError, PromptError
from vecspeak.labels import (
    NOISE,
    centre_of,
    cluster_numbers,
    column_clusters,
    distinct_words,
    label_clusters,
    write_labels,
)
from vecspeak.space import Space

SIZES = (20, 15, 10)
N = sum(SIZES)
CLUMP = np.repeat([0, 1, 2], SIZES)
SHORT = Decoding(max_tokens=6)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    rng = np.random.default_rng(0)
    made = 3 * np.eye(3, tiny.E)[CLUMP] + 0.2 * rng.normal(size=(N, tiny.E))
    columns = {
        "title": [f"No. {row}" for row in range(N)],
        "kinds": [[f"kind{clump}", "all"] if clump else [] for clump in CLUMP],
        "word": [None if clump == 2 else f"w{clump}" for clump in CLUMP],
    }
    ids = [f"e{row}" for row in range(N)]
    return Space.create(tmp_path_factory.mktemp("l") / "s.lance", ids=ids, vectors=made, name="s", columns=columns)


@pytest.fixture(scope="module")
def elm(space):
    return tiny.elm(space=space)


LAYOUT = np.random.default_rng(1).normal(size=(N, 2)).astype(np.float32) * 0.1 + 5 * CLUMP[:, None]


@pytest.mark.parametrize(("method", "count"), [("kmeans", 3), ("hdbscan", None)])
def test_clumps_are_found(space, method, count):
    names = cluster_numbers(space, LAYOUT, method=method, count=count)
    assert len(set(names)) == 3
    for clump in range(3):
        assert len({name for name, own in zip(names, CLUMP, strict=True) if own == clump}) == 1


def test_a_column_gives_the_first_of_its_values(space):
    assert column_clusters(space, "kinds") == [f"kind{c}" if c else None for c in CLUMP]
    assert column_clusters(space, "word") == [None if c == 2 else f"w{c}" for c in CLUMP]


def test_a_centre_is_the_mean_at_the_mean_length(space):
    members = space.vectors[:20]
    mean = members.mean(0)
    expected = mean / np.linalg.norm(mean) * np.linalg.norm(members, axis=1).mean()
    np.testing.assert_allclose(centre_of(space, range(20), label="c").vector, expected, atol=1e-5)


def test_each_cluster_is_asked_about_at_its_centre_largest_first(elm, space):
    names = column_clusters(space, "word")
    found = label_clusters(elm, names, "Describe {x}.", decoding=SHORT, own_names=True)
    assert [(cluster.name, cluster.size, cluster.label) for cluster in found] == [("w0", 20, "w0"), ("w1", 15, "w1")]
    for cluster, rows in zip(found, (range(20), range(20, 35)), strict=True):
        alone = elm.ask("Describe {x}.", x=centre_of(space, rows, label="c"), max_tokens=6)
        assert cluster.answer.text == alone.text


def test_a_word_belongs_to_the_centre_it_is_nearest_to(monkeypatch, elm, space):
    ranked = {"e0": ["war", "sea", "love"], "e1": ["sea", "rain", "war"], "e2": ["sea", "war"]}
    monkeypatch.setattr(type(elm), "words", lambda self, point, k: ranked[point.id])
    found = distinct_words(elm, [space[id] for id in ranked])
    assert found == ["war, love", "sea, rain", "sea, war"]  # the last has none of its own


def test_the_table_has_a_row_for_every_entity(elm, space, tmp_path):
    names = column_clusters(space, "word")
    clusters = label_clusters(elm, names, "Describe {x}.", decoding=SHORT)
    write_labels(tmp_path / "l.parquet", space, LAYOUT, names, clusters)
    table = pq.read_table(tmp_path / "l.parquet")
    assert table.column_names == ["id", "title", "vector", "x", "y", "cluster", "label", "text", "score"]
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == space.ids
    np.testing.assert_array_equal([row["vector"] for row in rows], space.vectors)
    np.testing.assert_allclose([[row["x"], row["y"]] for row in rows], LAYOUT, rtol=1e-6)
    assert [row["cluster"] for row in rows] == names
    assert {row["label"] for row in rows[:20]} == {clusters[0].label} and {row["text"] for row in rows[:20]} == {
        clusters[0].answer.text
    }
    assert all((row["label"], row["text"], row["score"]) == (NOISE, None, None) for row in rows[35:])
    assert [path.name for path in tmp_path.iterdir()] == ["l.parquet"]


def test_duckdb_opens_the_table(elm, space, tmp_path):
    names = column_clusters(space, "word")
    write_labels(
        tmp_path / "l.parquet", space, LAYOUT, names, label_clusters(elm, names, "Describe {x}.", decoding=SHORT)
    )
    query = f"SELECT count(*), min(len(vector)), max(len(vector)) FROM '{tmp_path / 'l.parquet'}' WHERE label <> ''"
    # in a process of its own: it complains of leaks at the end
    code = f"import duckdb; print(duckdb.sql({query!r}).fetchall())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"[({N}, {space.dimension}, {space.dimension})]"


def test_what_cannot_be_labelled_says_why(elm, space):
    for call, match in (
        (lambda: cluster_numbers(space, LAYOUT, method="kmeans", count=1), "Expected 2 to 45 clusters, got 1"),
        (lambda: cluster_numbers(space, LAYOUT, method="hdbscan", count=3), "finds the number of clusters itself"),
        (lambda: label_clusters(elm, [None] * N, "Describe {x}.", decoding=SHORT), "all are noise"),
        (lambda: label_clusters(elm, ["a"] * N, "{x} and {y}", decoding=SHORT), "needs one slot"),
        (lambda: label_clusters(tiny.elm(), ["a"] * N, "{x}", decoding=SHORT), "has no space"),
    ):
        with pytest.raises((ConfigError, PromptError), match=match):
            call()


# ---- two sets


def test_two_sets_are_compared_at_their_centres(elm, space):
    first, second = space.ids[:20], space.ids[20:35]
    found = compare(elm, first, second, "How does {x} differ from {y}?", name="more", decoding=SHORT)
    assert found.concept.quality.value == 1
    difference = space.vectors[:20].mean(0) - space.vectors[20:35].mean(0)
    unit = difference / np.linalg.norm(difference)
    np.testing.assert_allclose(found.concept.step_E / np.linalg.norm(found.concept.step_E), unit, atol=1e-4)
    alone = elm.ask("How does {a} differ from {b}?", a=found.centres[0], b=found.centres[1], max_tokens=6)
    assert found.answer.text == alone.text


def test_sets_that_cannot_be_compared_say_why(elm, space):
    for first, second, prompt, error, match in (
        (["e0"], ["e1", "e2"], "{x} {y}", ConceptError, "at least two positive"),
        (["e0", "e1"], ["e1", "e2"], "{x} {y}", ConceptError, "'e1' is given twice"),
        (["e0", "e1"], ["e3", "e2"], "{x}", PromptError, "needs two slots"),
    ):
        with pytest.raises(error, match=match):
            compare(elm, first, second, prompt, name="more", decoding=SHORT)


# ---- the commands


@pytest.fixture
def command(elm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vecspeak.bundled.open_model", lambda model, space: elm)
    monkeypatch.setattr("vecspeak.maps.map_layout", lambda vectors_NE: LAYOUT)

    def run(*words):
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_label_writes_the_table_and_shows_it(command, tmp_path):
    code, out, _ = command("label", "m", "--out", "l.parquet", "--column", "word", "--best-of", "1")
    assert code == 0
    assert "w0" in out and "2 clusters, 10 of 45 entities in none -> l.parquet" in out
    assert pq.read_table(tmp_path / "l.parquet").num_rows == N


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--out", "no/l.parquet"], "expected a file in a folder that exists"),
        (["--out", "l.parquet", "--method", "dbscan"], "One of: kmeans, hdbscan"),
        (["--out", "l.parquet", "--count", "1"], "Expected 2 to 45 clusters"),
        (["--out", "l.parquet", "--column", "word", "--count", "3"], "leave out --count and --method"),
        (["--out", "l.parquet", "--column", "word", "--method", "hdbscan"], "leave out --count and --method"),
        (["--out", "l.parquet", "--column", "nothing"], "no column 'nothing'"),
    ],
)
def test_label_refuses_in_one_line_and_leaves_nothing(command, tmp_path, words, match):
    code, out, err = command("label", "m", "--best-of", "1", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and match in err
    assert not list(tmp_path.iterdir())


def test_a_prompt_without_a_slot_is_refused_before_the_map_is_drawn(command, monkeypatch):
    monkeypatch.setattr("vecspeak.maps.map_layout", None)  # would fail
    assert "needs one slot" in command("label", "m", "--out", "l.parquet", "--prompt", "Describe.")[2]


def test_compare_tells_what_sets_two_sets_apart(command, space):
    ids = ",".join(space.ids[:20]), ",".join(space.ids[20:35])
    code, out, _ = command("compare", "m", *ids, "--best-of", "1")
    assert code == 0
    assert out.startswith("A, more than B: ") and "told apart: balanced accuracy 1.00" in out
    code, out, _ = command("compare", "m", *ids, "--best-of", "1", "--json", "--save", "more")
    assert '"words"' in out
    assert code == 0 and (space.path.with_suffix(".concepts") / "more.json").is_file()


def test_modules_of_commands_import_nothing_heavy():
    assert "torch" not in vars(cli_explore)
