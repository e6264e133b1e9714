"""What the explorer asks: the model, the map, search, points, concepts, labels."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pyarrow as pa
import pytest
from serving import TOYS, serving, toy_served, toy_space, until

from vecspeak.concepts import Concept, load_concepts
from vecspeak.errors import ConceptError
from vecspeak.geometry import parse_point
from vecspeak.serve.app import STATIC
from vecspeak.serve.failures import Failure
from vecspeak.serve.ground import expression_at, place_of
from vecspeak.serve.layouts import Layouts
from vecspeak.serve.search import Index
from vecspeak.serve.served import Concepts
from vecspeak.serve.table import Tables, accepted, colour_columns
from vecspeak.space import Space


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return toy_served(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def http(served):
    with serving(served) as address, httpx.Client(base_url=address) as client:
        yield client


def table(response: httpx.Response) -> pa.Table:
    assert response.headers["content-type"] == "application/vnd.apache.arrow.stream"
    return table_of(response.content)


def table_of(stream: bytes) -> pa.Table:
    return pa.ipc.open_stream(io.BytesIO(stream)).read_all()


def test_the_model_is_told(http, served):
    told = http.get("/api/model").json()
    assert told["model"] == "toys"
    assert told["space"] == {
        "name": "toys", "count": TOYS, "dimension": 6, "metric": "cosine", "columns": ["price", "tags"],
        "id_example": "0", "slot": served.tasks[0].slots[0],
    }  # fmt: skip
    assert (told["layouts"], told["default_layout"], told["users"]) == (["umap", "pca", "tsne"], "umap", False)
    assert told["decoding"]["max_tokens"] == served.elm.decoding.max_tokens


def test_scripts_travel_compressed_and_events_do_not(http):
    script = max((STATIC / "assets").glob("*.js"), key=lambda path: path.stat().st_size)
    told = http.get(f"/assets/{script.name}", headers={"accept-encoding": "gzip"})
    assert (told.headers["content-encoding"], told.content) == ("gzip", script.read_bytes())
    assert told.num_bytes_downloaded < script.stat().st_size / 2
    body = {"model": "toys", "stream": True, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "Describe "}, {"type": "entity", "entity": "1"}]}]}  # fmt: skip
    assert "content-encoding" not in http.post("/v1/chat/completions", json=body).headers


def test_tasks_of_one_and_two_points_are_told(http, served):
    told = http.get("/api/tasks").json()["tasks"]
    assert [task["name"] for task in told] == [task.name for task in served.tasks if len(task.slots) <= 2]
    assert all(f"{{{slot}}}" in task["prompt"] for task in told for slot in task["slots"])


@pytest.mark.parametrize("layout", ["umap", "pca", "tsne"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_the_map_is_an_arrow_stream(http, served, layout, encoding):
    found = table(http.get("/api/space", params={"layout": layout}, headers={"accept-encoding": encoding}))
    assert found.column_names == ["id", "title", "x", "y", "price", "tags"]
    assert found["id"].to_pylist() == served.space.ids
    assert found["title"].to_pylist() == served.space.column("title")
    places = np.column_stack([found["x"].to_numpy(), found["y"].to_numpy()])
    assert np.array_equal(places, served.layouts.get(layout))
    assert (places.min(), places.max()) == (0, 1)
    assert np.array_equal(found["price"].to_numpy(), np.float32(served.space.column("price")), equal_nan=True)
    assert found["tags"].to_pylist() == ["soft"] * (TOYS // 2) + ["(none)"] * (TOYS // 2)
    assert pa.types.is_dictionary(found.schema.field("tags").type)


def test_zstd_is_sent_where_it_is_taken(http):
    plain = http.get("/api/space", headers={"accept-encoding": "identity"}).content
    with http.stream("GET", "/api/space", headers={"accept-encoding": "gzip, zstd"}) as response:
        assert response.headers["content-encoding"] == "zstd"
        packed = b"".join(response.iter_raw())
    assert pa.Codec("zstd").decompress(packed, len(plain), asbytes=True) == plain
    assert len(packed) < len(plain)


def test_a_map_that_is_known_is_not_sent_again(http):
    tag = http.get("/api/space").headers["etag"]
    again = http.get("/api/space", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    other = http.get("/api/space", params={"layout": "pca"}, headers={"if-none-match": tag, "accept-encoding": "zstd"})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("q", "ids", "total"),
    [("7", ["7", "27", "37", "17"], 4), ("bear", [str(n) for n in range(TOYS // 2)], 20), ("CAFE rob", None, 20),
     ("robot 3", ["30", "31"], 10), ("nobody", [], 0), ("", [str(n) for n in range(20)], TOYS)],
)  # fmt: skip
def test_search(http, q, ids, total):
    told = http.get("/api/search", params={"q": q}).json()
    assert told["total"] == total
    found = [result["id"] for result in told["results"]]
    if q == "7":  # the id itself first, then titles that have it
        assert found[0] == "7"
        assert sorted(found) == sorted(ids)
    elif ids is not None:
        assert found[: len(ids)] == ids
    assert len(http.get("/api/search", params={"q": q, "limit": 1}).json()["results"]) == min(1, total)


@pytest.mark.parametrize("columns", [None, {"title": [None, ""]}, {"title": ["Tea", None]}])
def test_what_has_no_title_is_found_and_named_by_its_id(tmp_path, columns):
    ids = ["Café-1", "b"]
    space = Space.create(tmp_path / "bare.lance", ids=ids, vectors=np.eye(2), columns=columns, name="bare")
    assert Index(space).search("CAFÉ-1", 5).rows == [0]
    assert Index(space).title(1) == "b"
    written = Tables(space, Layouts(space, tmp_path / "kept")).payload("pca", "identity")
    assert table_of(written.body)["title"].to_pylist()[1] == "b"
    assert space.neighbours(space["Café-1"], 1)[0].title is None


def test_neighbours(http, served):
    told = http.get("/api/neighbours", params={"point": "1:2@0.5", "k": 3}).json()["neighbours"]
    near = served.space.neighbours(parse_point(served.space, "1:2@0.5"), 3)
    assert told == [vars(each) for each in near]


def test_the_geometry_of_an_entity(http, served):
    told = http.post("/api/point", json={"point": "3"}).json()
    point, (x, y) = served.space["3"], served.layouts.get("umap")[3].tolist()
    assert (told["label"], told["hypothetical"], told["x"], told["y"]) == ("3", False, x, y)
    assert told["distance"] == point.distance
    assert told["words"] == served.elm.words(point, 8)
    assert told["point"] == "3"
    assert np.array_equal(np.float32(told["vector"]), point.vector)
    assert told["row"] == {"id": "3", "title": "Bear 3", "price": None, "tags": ["soft", "new"], "note": "note 3"}
    assert told["neighbours"] == [vars(each) for each in served.space.neighbours(point, 8)]


def test_the_geometry_of_a_made_point_and_of_its_vector(http):
    told = http.post("/api/point", json={"point": "1:2@0.5"}).json()
    assert (told["label"], told["hypothetical"], told["row"]) == ("1:2@0.5", True, None)
    assert 0 <= told["x"] <= 1
    again = http.post("/api/point", json={"vector": told["vector"]}).json()
    assert (again["label"], again["point"]) == ("vector", None)
    assert {**again, "label": "", "point": ""} == {**told, "label": "", "point": ""}


def test_a_point_without_a_map_has_all_but_its_place(http, served, monkeypatch):
    known = http.post("/api/point", json={"point": "3", "layout": "tsne"}).json()
    monkeypatch.setattr(served.layouts, "_failed", {"tsne"})
    told = http.post("/api/point", json={"point": "3", "layout": "tsne"}).json()
    assert told == {**known, "x": None, "y": None}
    assert http.post("/api/point", json={"map": [0.5, 0.5], "layout": "tsne"}).status_code == 503


def test_a_place_of_the_map_is_a_point(http, served):
    x, y = served.layouts.get("umap")[5].tolist()
    told = http.post("/api/point", json={"map": [x, y]}).json()
    assert np.array_equal(np.float32(told["vector"]), served.space["5"].vector)
    assert (told["label"], told["hypothetical"], told["x"], told["y"]) == ("5", False, x, y)
    # the same point by its expression, which can be pushed and mixed further
    between = http.post("/api/point", json={"map": [0.5, 0.5], "layout": "pca"}).json()
    again = http.post("/api/point", json={"point": between["point"]}).json()
    assert between["hypothetical"] is True
    assert again["vector"] == between["vector"]
    assert http.post("/api/point", json={"point": f"({between['point']}):1@0.5"}).status_code == 200


def test_a_point_between_places_is_the_weighted_sum_of_what_is_near(tmp_path):
    vectors = np.float32([[1, 0], [0, 1], [3, 3]])
    space = Space.create(tmp_path / "s.lance", ids=["a", "b", "c: d"], vectors=vectors, name="s", metric="euclidean")
    places = np.float32([[0, 0], [1, 0], [0, 1000]])
    assert expression_at(space, places, 0.5, 0) == "a*0.5000 + b*0.5000"
    assert expression_at(space, places, 0.25, 0) == "a*0.9000 + b*0.1000"  # weights 1/0.0625 and 1/0.5625
    assert expression_at(space, places, 0, 1000) == '"c: d"*1.0000'
    assert parse_point(space, expression_at(space, places, 0, 1000)).id == "c: d"
    assert place_of(space, places, space["b"]) == (1, 0)
    assert place_of(space, places, space.point(np.float32([0.9, 0.1]))) == (0, 0)


# ---- concepts


def test_a_concept_is_fitted_used_and_forgotten(http, served):
    soft = [str(number) for number in range(15)]
    told = http.post("/api/concepts", json={"name": "soft", "positive": soft})
    assert told.status_code == 201
    assert (told.json()["name"], told.json()["saved"]) == ("soft", False)
    assert told.json()["quality"]["value"] > 0.8
    assert http.get("/api/concepts").json()["concepts"][-1] == told.json()
    assert http.post("/api/point", json={"point": "30+soft*2"}).json()["label"] == "30 + soft*2"
    assert load_concepts(served.space) == {}


def test_a_concept_is_kept_where_that_is_asked_for(http, served):
    soft, hard = [str(number) for number in range(15)], [str(number) for number in range(25, 35)]
    told = http.post("/api/concepts", json={"name": "kept", "positive": soft, "negative": hard, "save": True})
    assert told.json()["saved"] is True
    assert list(load_concepts(served.space)) == ["kept"]
    again = http.post("/api/concepts", json={"name": "kept", "positive": soft})
    assert (again.status_code, "Choose another name" in again.text) == (400, True)


def test_where_concepts_cannot_be_kept_no_folder_is_told(http, served, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("vecspeak.serve.served.concept_folder", lambda _: tmp_path / "file" / "folder")
    soft = [str(number) for number in range(15)]
    refused = http.post("/api/concepts", json={"name": "lost", "positive": soft, "save": True})
    assert refused.status_code == 400
    assert str(tmp_path) not in refused.text


def test_concepts_of_one_server_are_bounded_and_each_has_a_name_of_its_own(tmp_path, monkeypatch):
    space, soft = toy_space(tmp_path), [str(number) for number in range(15)]
    concepts = Concepts(space, most=2)
    fit, both = Concept.fit, threading.Barrier(2)

    def together(*args, **kwargs):
        both.wait(5)
        return fit(*args, **kwargs)

    monkeypatch.setattr(Concept, "fit", together)
    with ThreadPoolExecutor(2) as clients:
        saving = [clients.submit(concepts.fit, "soft", ids, None, save=True) for ids in (soft, soft[1:])]
    monkeypatch.undo()
    (refused,) = [each.exception() for each in saving if each.exception()]
    assert isinstance(refused, ConceptError)
    (kept,) = [each.result() for each in saving if not each.exception()]
    assert load_concepts(space)["soft"].source == kept.source
    for _ in range(2):  # again is the same one
        concepts.fit("new", soft, None, save=False)
    with pytest.raises(Failure, match="As many concepts as this server keeps"):
        concepts.fit("more", soft, None, save=True)
    named = Space.create(tmp_path / "n.lance", ids=["soft", "b"], vectors=np.eye(2), name="n")
    with pytest.raises(ConceptError, match="has an entity 'soft'"):
        Concepts(named, most=2).fit("soft", ["soft", "b"], None, save=False)


# ---- labels and columns


def test_labels_are_words_at_places_of_the_map(http, served):
    until(lambda: http.get("/api/labels").status_code == 200)
    for layout in ("umap", "pca"):
        labels = http.get("/api/labels", params={"layout": layout}).json()["labels"]
        assert sum(label["size"] for label in labels) == TOYS
        assert [label["size"] for label in labels] == sorted((label["size"] for label in labels), reverse=True)
        assert all(label["text"] and 0 <= label["x"] <= 1 and 0 <= label["y"] <= 1 for label in labels)


def test_columns_that_can_colour(tmp_path):
    rows = 8
    columns = {
        "year": [1990, None, *range(6)], "flag": [True, False] * 4, "kind": ["a", "b", "", None] * 2,
        "first": [["x", "y"], [], None, ["z"]] * 2, "text": [f"long text {n}" for n in range(rows)],
        "nothing": [None] * rows, "x": [0.5] * rows, "rated_at": [1147880044, None] * 4, "far": [1e300] * rows,
    }  # fmt: skip
    space = Space.create(
        tmp_path / "s.lance", ids=[str(n) for n in range(rows)], vectors=np.eye(rows), columns=columns, name="s"
    )
    found = colour_columns(space)
    assert list(found) == ["year", "flag", "kind", "first", "rated_at", "far"]
    assert found["rated_at"].to_numpy()[0] == np.float32(1147880044)
    assert np.isnan(found["year"].to_numpy()[1])
    assert found["kind"].to_pylist() == ["a", "b", "(none)", "(none)"] * 2
    assert found["first"].to_pylist() == ["x", "(none)", "(none)", "z"] * 2


@pytest.mark.parametrize(
    ("header", "encoding"),
    [("", "identity"), ("gzip", "gzip"), ("gzip, deflate, br, zstd", "zstd"), ("gzip;q=0.5, br", "gzip"),
     ("zstd;q=0, gzip", "gzip"), ("GZIP", "gzip"), ("deflate", "identity")],
)  # fmt: skip
def test_encodings_that_a_client_takes(header, encoding):
    assert accepted(header) == encoding
