"""MovieLens releases: each format as published, broken files, and the download."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecspeak.errors import SpaceError
from vecspeak.factors import Ratings
from vecspeak.movielens import download as downloading
from vecspeak.movielens import release as reading
from vecspeak.movielens.download import download
from vecspeak.movielens.release import Release, read_release

RATINGS = ["7,10,4.0,100", "7,2,0.5,100", "30,10,5.0,100", "30,2,3.5,100"]
RATED = {("7", "10"): 4.0, ("7", "2"): 0.5, ("30", "10"): 5.0, ("30", "2"): 3.5}
MOVIES = ["2,Jumanji (1995),Adventure|Children", '10,"Matrix, The (1999)",Action|Sci-Fi']
LINKS = ["2,113497,8844", "10,0133093,603"]


def csv_release(folder: Path, *, ratings=RATINGS, movies=MOVIES, links=LINKS) -> Path:
    for name, header, lines in (
        ("ratings.csv", "userId,movieId,rating,timestamp", ratings),
        ("movies.csv", "movieId,title,genres", movies),
        ("links.csv", "movieId,imdbId,tmdbId", links),
    ):
        write(folder / name, "\n".join([header, *lines]) + "\n")
    return folder


def write(path: Path, text: str, *, encoding: str = "utf-8") -> None:
    path.write_bytes(text.encode(encoding))


def rated(ratings: Ratings) -> dict[tuple[str, str], float]:
    users = [ratings.user_ids[row] for row in ratings.users_R]
    items = [ratings.item_ids[row] for row in ratings.items_R]
    return dict(zip(zip(users, items, strict=True), ratings.values_R.tolist(), strict=True))


def film(release: Release, id: str) -> tuple:
    return release.films.filter(release.films["id"] == id).drop("id").row(0)


def test_csv_as_in_ml_25m(tmp_path):
    movies = [
        *MOVIES,
        "3,M (1931) ,(no genres listed)",
        '4,"Et, ""Dieu"" (And God) (1956)",Drama',
        "5,Death Note: Desu nôto (2006\u20132007),Anime",
        "6,Babylon 5,Sci-Fi",
    ]
    release = read_release(csv_release(tmp_path, movies=movies, links=[*LINKS, "3,12345678,1", "4,,5"]), fewest=2)
    assert release.name == tmp_path.name
    ratings = release.ratings
    assert (ratings.user_ids, ratings.item_ids) == (["7", "30"], ["2", "10"])  # as numbers, not as text
    assert (ratings.users_R.tolist(), ratings.items_R.tolist()) == ([0, 0, 1, 1], [1, 0, 1, 0])
    assert ratings.values_R.tolist() == [4.0, 0.5, 5.0, 3.5]
    assert (ratings.users_R.dtype, ratings.items_R.dtype, ratings.values_R.dtype) == ("int32", "int32", "float32")
    types = {"id": pl.String, "title": pl.String, "year": pl.Int64, "genres": pl.List(pl.String), "imdb": pl.String}
    assert dict(release.films.schema) == types
    assert release.films.rows() == [
        ("2", "Jumanji", 1995, ["Adventure", "Children"], "0113497"),
        ("10", "Matrix, The", 1999, ["Action", "Sci-Fi"], "0133093"),
        ("3", "M", 1931, [], "12345678"),
        ("4", 'Et, "Dieu" (And God)', 1956, ["Drama"], None),
        ("5", "Death Note: Desu nôto", 2006, ["Anime"], None),
        ("6", "Babylon 5", None, ["Sci-Fi"], None),
    ]
    assert release.notes == (
        "1 rows of links.csv without a film id, an IMDb id or all other cells left out",
        "3 of 6 films have no IMDb id in links.csv",
        "4 of 6 films have fewer than 2 ratings",
    )


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_dat_as_in_ml_1m_and_ml_10m(tmp_path, encoding):
    write(tmp_path / "ratings.dat", "".join(line.replace(",", "::") + "\n" for line in RATINGS))
    movies = "2::Misérables, Les (1995)::Drama|Musical\n10::Alien: A :: B (1979)::(no genres listed)\n"
    write(tmp_path / "movies.dat", movies, encoding=encoding)
    release = read_release(tmp_path, fewest=2)
    assert rated(release.ratings) == RATED
    assert film(release, "2") == ("Misérables, Les", 1995, ["Drama", "Musical"], None)
    assert film(release, "10") == ("Alien: A :: B", 1979, [], None)
    assert release.notes == ("no links.csv: no film has an IMDb id",)


@pytest.mark.parametrize("with_genres", [True, False])
def test_ml_100k(tmp_path, with_genres):
    write(tmp_path / "u.data", "".join(line.replace(",", "\t") + "\n" for line in RATINGS))
    action_scifi = "0|1" + "|0" * 13 + "|1" + "|0" * 3
    items = f"2|Æon (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?x|{action_scifi}\n10|unknown||||1{'|0' * 18}\n"
    write(tmp_path / "u.item", items, encoding="latin-1")
    if with_genres:
        names = [*reading.GENRES_100K]
        names[1] = "Fights"
        write(tmp_path / "u.genre", "".join(f"{name}|{n}\n" for n, name in enumerate(names)) + "\n")
    release = read_release(tmp_path, fewest=2)
    assert rated(release.ratings) == RATED
    assert film(release, "2") == ("Æon", 1995, ["Fights" if with_genres else "Action", "Sci-Fi"], None)
    assert film(release, "10") == ("unknown", None, [], None)


def test_the_later_rating_of_a_pair_holds(tmp_path):
    ratings = ["7,10,4.0,100", "7,2,3.0,100", "30,10,1.0,9", "7,10,2.0,99", "30,10,5.0,9", "30,2,2.0,", "30,2,3.5,8"]
    release = read_release(csv_release(tmp_path, ratings=ratings), fewest=2)
    assert rated(release.ratings) == {("7", "10"): 4.0, ("7", "2"): 3.0, ("30", "10"): 5.0, ("30", "2"): 3.5}
    assert release.notes == (
        "1 rows of ratings.csv without a time taken for older than all others",
        "3 ratings of a pair rated again later left out",
    )
    # without times the later row
    write(tmp_path / "ratings.csv", "movieId,userId,rating\n10,7,4.0\n10,30,4.5\n10,7,2.0\n")
    assert rated(read_release(tmp_path, fewest=2).ratings) == {("7", "10"): 2.0, ("30", "10"): 4.5}


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 6), st.sampled_from([0, 0.5, 1, 3.5, 5, 5.5]), st.integers(0, 3)),
        min_size=30,
    )
)
def test_both_forms_say_the_same_and_what_plain_python_says(rows):
    newest: dict[tuple[str, str], tuple[int, float]] = {}
    for user, item, stars, time in rows:
        key = str(user), str(item)
        if 0 < stars <= 5 and item <= 5 and (key not in newest or time >= newest[key][0]):
            newest[key] = time, stars
    counts = {item: sum(key[1] == item for key in newest) for _, item in newest}
    expected = {key: stars for key, (_, stars) in newest.items() if counts[key[1]] >= 2}
    lines = [",".join(map(str, row)) for row in rows]
    with TemporaryDirectory() as first, TemporaryDirectory() as second, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", 200)  # several blocks
        csv_release(Path(first), ratings=lines, movies=[f"{n},Film {n} (199{n}),Drama" for n in range(1, 6)], links=[])
        Path(first, "links.csv").unlink()
        for name in ("ratings", "movies"):
            content = Path(first, f"{name}.csv").read_text("utf-8").split("\n", 1)[1]
            write(Path(second, f"{name}.dat"), content.replace(",", "::"))
        if not expected:
            for folder in (first, second):
                with pytest.raises(SpaceError, match=r"is a rating|no item has 2"):
                    read_release(Path(folder), fewest=2)
            return
        one, other = (read_release(Path(folder), fewest=2) for folder in (first, second))
    assert rated(one.ratings) == expected
    assert len(one.ratings.values_R) == len(expected)
    for name in ("user_ids", "item_ids", "users_R", "items_R", "values_R"):
        np.testing.assert_array_equal(getattr(one.ratings, name), getattr(other.ratings, name))
    assert one.films.equals(other.films)
    assert one.notes == tuple(note.replace(".dat", ".csv") for note in other.notes)


def missing(folder: Path) -> Path:
    return folder / "ml-99m"


def file_for_folder(folder: Path) -> Path:
    return csv_release(folder) / "ratings.csv"


def zip_for_folder(folder: Path) -> Path:
    zipfile.ZipFile(folder / "ml-1m.zip", "w").close()
    return folder / "ml-1m.zip"


def zip_in_folder(folder: Path) -> Path:
    return zip_for_folder(folder).parent


def folder_in_folder(folder: Path) -> Path:
    (folder / "ml-25m").mkdir()
    return csv_release(folder / "ml-25m").parent


def without(name: str) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        (csv_release(folder) / name).unlink()
        return folder

    return prepare


def with_file(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        (csv_release(folder) / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return prepare


def dat(ratings: str, movies: str) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        write(folder / "ratings.dat", ratings)
        write(folder / "movies.dat", movies)
        return folder

    return prepare


def item(line: str, genre: str | None = None) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        write(folder / "u.data", "1\t2\t3\t4\n")
        write(folder / "u.item", line)
        if genre is not None:
            write(folder / "u.genre", genre)
        return folder

    return prepare


HEADER = "userId,movieId,rating,timestamp\n"
REFUSALS = {
    "no folder": (missing, "There is no folder {folder}/ml-99m. Expected the folder of a MovieLens release"),
    "a file": (file_for_folder, "ratings.csv is a file; expected the folder of a MovieLens release. Name the folder"),
    "a zip": (zip_for_folder, "ml-1m.zip is a file; expected the folder of a MovieLens release. Unzip it"),
    "an empty folder": (
        lambda folder: folder,
        "expected ratings.csv and movies.csv, or ratings.dat and movies.dat, or u.data and u.item.",
    ),
    "a zip in the folder": (zip_in_folder, "Unzip ml-1m.zip and name its folder."),
    "a folder too high": (folder_in_folder, "Did you mean {folder}/ml-25m?"),
    "two releases": (with_file("u.data", ""), "holds several releases: ratings.csv and u.data."),
    "no films": (without("movies.csv"), "{folder} has ratings.csv but no movies.csv"),
    "no ratings": (without("ratings.csv"), "holds no MovieLens release"),
    "ratings lack a column": (
        with_file("ratings.csv", "userId,film,rating\n1,2,3\n"),
        "ratings.csv has no column 'movieId'. Expected userId,movieId,rating between commas.",
    ),
    "ratings with semicolons": (
        with_file("ratings.csv", "userId;movieId;rating\n1;2;3\n"),
        "has no column 'userId'. Expected userId,movieId,rating between commas. "
        "Its first line is 'userId;movieId;rating'.",
    ),
    "ratings without a header": (with_file("ratings.csv", "1,2,3,4\n"), "Its first line is '1,2,3,4'."),
    "rows with semicolons": (
        with_file("ratings.csv", HEADER + "1;2;3;4\n"),
        "ratings.csv: none of 1 rows is a rating. Expected lines like 1,296,5.0,1147880044.",
    ),
    "ratings empty": (with_file("ratings.csv", ""), "It is empty."),
    "only a header": (with_file("ratings.csv", HEADER), "ratings.csv has no ratings. Expected lines like 1,296,5.0"),
    "a header and blank lines": (with_file("ratings.csv", HEADER + "\n\r\n\n"), "ratings.csv has no ratings."),
    "ratings in UTF-16": (with_file("ratings.csv", HEADER.encode("utf-16")), "ratings.csv is not text."),
    "ratings binary": (with_file("ratings.csv", b"PK\x03\x04\0\0\xff"), "ratings.csv is not text."),
    "films binary": (with_file("movies.csv", b"\x89PNG\0\0"), "movies.csv is not text."),
    "films not UTF-8": (
        with_file("movies.csv", b"movieId,title,genres\n2,Caf\xe9 (1999),Drama\n"),
        "movies.csv, line 2: not UTF-8.",
    ),
    "films lack a column": (
        with_file("movies.csv", "movieId,name,genres\n2,x,y\n"),
        "movies.csv has no column 'title'",
    ),
    "films empty": (with_file("movies.csv", ""), "movies.csv has no column 'movieId'."),
    "films only a header": (with_file("movies.csv", "movieId,title,genres\n"), "has no film. There are no rows."),
    "films all broken": (
        with_file("movies.csv", "movieId,title,genres\nx,Heat (1995),Drama\n"),
        "movies.csv has no film. 1 rows of movies.csv without a film id, a title or all other cells left out.",
    ),
    "a huge cell": (
        with_file("movies.csv", f"movieId,title,genres\n2,{'x' * 140_000},y\n"),
        "movies.csv is no CSV file",
    ),
    "links lack a column": (with_file("links.csv", "movieId,imdb\n2,1\n"), "links.csv has no column 'imdbId'"),
    "too few ratings": (
        csv_release,
        "ratings.csv: no item has 3 ratings or more. 4 ratings of items with fewer than 3 left out.",
    ),
    "other films": (
        with_file("movies.csv", "movieId,title,genres\n99,Heat (1995),Drama\n"),
        "no item has 3 ratings or more. 4 ratings of 2 films that movies.csv lacks (2, 10) left out.",
    ),
    "dat with tabs": (
        dat("1\t2\t3\t4\n", "2::Heat (1995)::Drama\n"),
        "none of 1 rows is a rating. Expected lines like 1::1193::5::978300760.",
    ),
    "dat empty": (dat("", "2::Heat (1995)::Drama\n"), "ratings.dat has no ratings."),
    "dat films with commas": (dat("1::2::3::4\n", "2,Heat (1995),Drama\n"), "movies.dat has no film. 1 rows"),
    "flags missing": (item("2|Heat (1995)|||u|0|1\n"), "u.item has no film. 1 rows"),
    "genres unnumbered": (item("2|Heat (1995)|||u|0|1\n", "Action\n"), "u.genre: expected a genre and its number"),
}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_read_says_why(tmp_path, case):
    prepare, message = REFUSALS[case]
    folder = prepare(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(SpaceError) as error:
        read_release(folder, fewest=3)
    assert message.format(folder=tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


BROKEN_RATINGS = {
    "no user": ",10,4.0,1",
    "no film": "5,,4.0,1",
    "no rating": "5,10,,1",
    "text for a user": "ann,10,4.0,1",
    "text for a film": "5,Heat,4.0,1",
    "text for a rating": "5,10,good,1",
    "a fraction for a film": "5,10.5,4.0,1",
    "a number too large": "99999999999,10,4.0,1",
    "not a number": "5,10,nan,1",
    "infinite": "5,10,inf,1",
    "zero stars": "5,10,0,1",
    "negative": "5,10,-1.0,1",
    "above five": "5,10,5.5,1",
    "cut off": "5,10",
    "too many cells": "5,10,4.0,1,9",
    "decimal comma": "5,10,4,5,1",
    "no UTF-8": "5,1\udcff0,4.0,1",
    "only commas": ",,,",
}


@pytest.mark.parametrize("case", BROKEN_RATINGS)
@pytest.mark.parametrize("name", ["ratings.csv", "ratings.dat"])
def test_broken_ratings_are_counted(tmp_path, case, name):
    csv_release(tmp_path)
    lines = [*RATINGS[:2], BROKEN_RATINGS[case], *RATINGS[2:]]
    text = "\n".join(lines) + "\n"
    if name == "ratings.dat":
        (tmp_path / "ratings.csv").unlink()
        write(tmp_path / "movies.dat", "2::Jumanji (1995)::Drama\n10::Matrix, The (1999)::Action\n")
        (tmp_path / name).write_bytes(text.replace(",", "::").encode(errors="surrogateescape"))
    else:
        (tmp_path / name).write_bytes((HEADER + text).encode(errors="surrogateescape"))
    before = contents(tmp_path)
    release = read_release(tmp_path, fewest=2)
    assert rated(release.ratings) == RATED
    assert release.notes == (f"1 rows of {name} without a user, a film and a rating above 0 and up to 5 left out",)
    assert contents(tmp_path) == before


LACKS = "rows of movies.csv without a film id, a title or all other cells left out"
BROKEN_TABLES = {
    "film id": ({"movies": [*MOVIES, "x3,Heat (1995),Drama"]}, f"1 {LACKS}"),
    "no film id": ({"movies": [*MOVIES, ",Heat (1995),Drama"]}, f"1 {LACKS}"),
    "no title": ({"movies": [*MOVIES, "3, ,Drama"]}, f"1 {LACKS}"),
    "title not quoted": ({"movies": [*MOVIES, "3,Matrix, The (1999),Drama"]}, f"1 {LACKS}"),
    "cut off": ({"movies": [*MOVIES, "3,Heat (1995)"]}, f"1 {LACKS}"),
    "quote left open": ({"movies": [*MOVIES, '3,"Heat (1995),Drama', "4,M (1931),Drama"]}, f"1 {LACKS}"),
    "film twice": (
        {"movies": [*MOVIES, "2,Heat (1995),Drama"]},
        "1 rows of movies.csv with the id of an earlier film ",
    ),
    "film unknown": (
        {"ratings": [*RATINGS, *(f"7,{film},4,1" for film in (99, 8, 500, 11)), "30,8,1,1"]},
        "5 ratings of 4 films that movies.csv lacks (8, 11, 99, ...) left out",
    ),
    "too few ratings": (
        {"ratings": [*RATINGS, "7,3,4,1"], "movies": [*MOVIES, "3,Heat (1995),Drama"], "links": [*LINKS, "3,1,1"]},
        "1 ratings of items with fewer than 2 left out",
    ),
    "link of no film": ({"links": [*LINKS, "77,1,1"]}, "1 rows of links.csv for films that the film table lacks left"),
    "link twice": ({"links": [*LINKS, "2,1,1"]}, "1 rows of links.csv with the id of an earlier film left out"),
    "link no number": ({"links": [LINKS[0], "10,tt0133093,6"]}, "1 of 2 films have no IMDb id in links.csv"),
}


@pytest.mark.parametrize("case", BROKEN_TABLES)
def test_what_does_not_join_is_counted(tmp_path, case):
    tables, note = BROKEN_TABLES[case]
    release = read_release(csv_release(tmp_path, **tables), fewest=2)
    assert rated(release.ratings) == RATED
    assert film(release, "2") == ("Jumanji", 1995, ["Adventure", "Children"], "0113497")
    assert any(found.startswith(note) for found in release.notes), release.notes


def test_other_ways_to_write_the_same(tmp_path):
    """A byte-order mark, quotes, blanks, Windows line ends, another order of columns, no line end at the end."""
    csv_release(tmp_path)
    lines = ['\ufeff"movieId", "rating","userId"', *('"{1}", {2} ,{0}'.format(*line.split(",")) for line in RATINGS)]
    write(tmp_path / "ratings.csv", "\r\n".join(lines))
    release = read_release(tmp_path, fewest=2)
    assert (rated(release.ratings), release.notes) == (RATED, ())


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served in the place of GroupLens."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(downloading, "BASE_URL", f"http://127.0.0.1:{http.server_port}")
        yield served
        http.shutdown()
        thread.join()


def archive(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return buffer.getvalue()


def serve(served: Path, content: bytes, *, md5: str | None = None, name: str = "ml-1m") -> None:
    (served / f"{name}.zip").write_bytes(content)
    md5 = md5 or f"MD5 ({name}.zip) = {hashlib.md5(content).hexdigest()}\n"
    (served / f"{name}.zip.md5").write_text(md5, "utf-8")


GOOD = {
    "ml-1M/ratings.dat": "1::2::3::4\n2::2::5::4\n",
    "ml-1M/movies.dat": "2::Heat (1995)::Drama\n",
    "ml-1M/more/README": "",
}


def test_a_download_is_a_release_and_is_made_once(server, tmp_path):
    serve(server, archive(GOOD))
    folder = download("ml-1m", tmp_path / "data")
    assert folder == tmp_path / "data/ml-1m"
    assert read_release(folder, fewest=2).ratings.values_R.tolist() == [3, 5]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["ml-1m"]
    (folder / "mine").touch()
    (server / "ml-1m.zip").unlink()
    assert download("ml-1m", tmp_path / "data") == folder
    assert (folder / "mine").exists()


@pytest.mark.parametrize("md5", ["{}  ml-1m.zip\n", "{}"])
def test_other_ways_to_publish_an_md5_and_an_archive_without_a_folder(server, tmp_path, md5):
    content = archive({name.removeprefix("ml-1M/"): text for name, text in GOOD.items()})
    serve(server, content, md5=md5.format(hashlib.md5(content).hexdigest().upper()))
    assert (download("ml-1m", tmp_path) / "movies.dat").is_file()


WRONG = "d41d8cd98f00b204e9800998ecf8427e"
BAD_ARCHIVES = {
    "wrong checksum": (archive(GOOD), WRONG, f"is damaged or cut off: expected MD5 {WRONG}"),
    "truncated": (archive(GOOD)[:60], hashlib.md5(archive(GOOD)).hexdigest(), "is damaged or cut off"),
    "no checksum": (archive(GOOD), "<html>soon</html>", "expected an MD5 checksum, got '<html>soon</html>'"),
    "parent folder": (archive({"../evil": "x"}), None, "has the file '../evil', which would land elsewhere"),
    "hidden parent": (archive({"a/../../evil": "x"}), None, "which would land elsewhere"),
    "absolute": (archive({"/tmp/evil": "x"}), None, "which would land elsewhere"),
    "backslashes": (archive({"..\\evil": "x"}), None, "which would land elsewhere"),
    "no zip": (b"<html>", None, "is no zip archive that can be read"),
    "too large": (archive({"a": "x" * 3000}), None, "is larger than 2,000 bytes"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_a_bad_archive_leaves_nothing(server, tmp_path, monkeypatch, case):
    content, md5, message = BAD_ARCHIVES[case]
    monkeypatch.setattr(downloading, "LARGEST", 2000)
    serve(server, content, md5=md5)
    with pytest.raises(SpaceError) as error:
        download("ml-1m", tmp_path / "data/deep")
    assert message in str(error.value)
    assert not list((tmp_path / "data/deep").iterdir())
    assert not list(tmp_path.rglob("evil*"))


def test_an_archive_that_would_unpack_to_too_much(server, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", "x" * 100_000)
    monkeypatch.setattr(downloading, "LARGEST", 50_000)
    serve(server, buffer.getvalue())
    with pytest.raises(SpaceError, match=r"would unpack to 100,000 bytes; expected at most 50,000"):
        download("ml-1m", tmp_path / "data")


def test_no_network_no_such_file_no_such_name(server, tmp_path, monkeypatch):
    with pytest.raises(SpaceError, match=r"Cannot download ml-10m: HTTP Error 404.*Without a network, get http"):
        download("ml-10m", tmp_path / "data")
    with pytest.raises(SpaceError, match=r"Unknown MovieLens release 'ml-2m'\. One of: ml-25m, ml-32m"):
        download("ml-2m", tmp_path / "data")
    monkeypatch.setattr(downloading, "BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(SpaceError, match=r"Cannot download ml-1m: .*refused.*unzip it to .*ml-1m"):
        download("ml-1m", tmp_path / "data")
    write(tmp_path / "file", "")
    with pytest.raises(SpaceError, match="Cannot download ml-1m"):
        download("ml-1m", tmp_path / "file")
