"""Forms that give nothing away, scores worked out by hand, and alpha against its published example."""

import csv
import json
import re
from io import StringIO
from itertools import pairwise, permutations
from math import isnan, nan
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vecspeak.errors import RatingError
from vecspeak.metrics import Interval
from vecspeak.rating import STATEMENTS, make_sheet, read_report, statements_of, teacher_texts
from vecspeak.rating_forms import write_sheet
from vecspeak.rating_import import import_ratings, krippendorff_alpha
from vecspeak.report import Chance, Report, Sample, SampleAnswer, TaskScores
from vecspeak.tasks import load_tasks, parse_tasks

NOTHING = Interval(nan, nan, nan)
HEADER = "rater,item,export,consistency,language,quality\n"


def sample(task, id, *, title="A Title"):
    answers = tuple(SampleAnswer(decoding=d, text=f"{d}-{task}-{id}\n", consistency=0.5) for d in ("beamy", "own"))
    return Sample(task=task, id=id, title=title, target=f"told-{task}-{id}", answers=answers)


def report(*samples):
    prompts = {"summary": "Summarise {film}.", "pitch": "Pitch {film}.", "user_profile": "Profile {user}."}
    return Report(
        space="films",
        encoder="none",
        side="test",
        asked=2,
        candidates=2,
        training=2,
        seed=0,
        decodings={"beamy": {}, "own": {}},
        chance=Chance.among(2),
        tasks=tuple(TaskScores(task=t, prompt=p, entities=2, texts=()) for t, p in prompts.items()),
        losses=(),
        overall_gap=NOTHING,
        skipped={},
        samples=samples,
    )


BOTH_TASKS = report(*(sample(task, id) for task in ("summary", "pitch") for id in ("e1", "e2", "e3")))
"""Every entity has texts of two tasks: each is the ground truth of the other."""


def exported(tmp_path, sheet, **options):
    folder = tmp_path / "forms"
    write_sheet(sheet, folder, **options)
    return folder


def rows_of(folder):
    return list(csv.DictReader(StringIO((folder / "items.csv").read_text("utf-8-sig"), newline="")))


def data_of(path):
    found = re.search(r'<script id="form" type="application/json">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# ---- export


def test_each_sample_gives_its_answer_and_the_teachers_text_beside_one_ground_truth():
    sheet = make_sheet(BOTH_TASKS)
    assert [item.item for item in sheet.items] == list(range(1, 13)) == list(sheet.key.items)
    for item in sheet.items:
        hidden = sheet.key.items[item.item]
        other = {"summary": "pitch", "pitch": "summary"}[item.task]
        source = {"generated": "own", "reference": "told"}[hidden.kind]
        assert item.text == f"{source}-{item.task}-{hidden.id}"
        assert (item.ground_truth, hidden.ground_truth) == (f"told-{other}-{hidden.id}", other)
    kinds = sorted((hidden.task, hidden.id, hidden.kind) for hidden in sheet.key.items.values())
    assert kinds == sorted((t, e, k) for t in ("summary", "pitch") for e in ("e1", "e2", "e3") for k in KINDS)
    assert sheet.notes == ("fewer than 40 samples in the report: summary 3, pitch 3",)


KINDS = ("generated", "reference")


def test_a_draw_takes_so_many_of_each_task_and_its_seed_decides():
    drawn = [make_sheet(BOTH_TASKS, per_task=2, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0].notes == () and len(drawn[0].items) == 8
    assert drawn[0].key.export != drawn[2].key.export


def test_the_summary_is_the_first_choice_of_ground_truth_and_parts_of_the_text_are_none():
    texts = {"e1": {"z": "zeta", "description": "described", "summary": "summarised"}}
    one = report(sample("pitch", "e1"))
    assert {item.ground_truth for item in make_sheet(one, texts=texts).items} == {"summarised"}
    del texts["e1"]["summary"]
    assert {item.ground_truth for item in make_sheet(one, texts=texts).items} == {"described"}
    inside = {"e1": {"summary": "told-pitch", "description": "told-pitch-e1 and more", "z": " ", "y": "yes"}}
    assert {item.ground_truth for item in make_sheet(one, texts=inside).items} == {"yes"}


def test_a_task_without_other_texts_rates_answers_alone_and_one_with_some_leaves_the_rest_out():
    sheet = make_sheet(report(*(sample("pitch", id) for id in ("e1", "e2"))))
    assert {(item.text[:3], item.ground_truth[:11]) for item in sheet.items} == {("own", "told-pitch-")}
    assert {hidden.kind for hidden in sheet.key.items.values()} == {"generated"}
    assert sheet.notes[0].startswith("pitch: no other text of the teacher")
    mixed = make_sheet(report(sample("pitch", "e1"), sample("pitch", "e2")), texts={"e2": {"summary": "S"}})
    assert [hidden.id for hidden in mixed.key.items.values()] == ["e2", "e2"]
    assert mixed.notes[0] == "pitch: 1 samples without another text of the teacher left out"


def test_prompts_name_the_entity():
    titled = make_sheet(report(sample("summary", "e1")))
    assert titled.items[0].prompt == "Summarise “A Title”."
    untitled = make_sheet(report(sample("user_profile", "u", title=None)))
    assert untitled.items[0].prompt == "Profile this user."


@pytest.mark.parametrize("name", ["films", "user"])
def test_every_bundled_task_has_statements_of_its_own(name):
    default = statements_of("no-such-task", "Do {x}.")
    qualities = set()
    for task in load_tasks(name).values():
        stated = statements_of(task.name, task.prompts[0])
        assert tuple(stated) == STATEMENTS
        assert stated["quality"] != default["quality"] and stated["consistency"] != default["consistency"]
        qualities.add(stated["quality"])
    assert len(qualities) == len(load_tasks(name))
    assert "film" not in " ".join(default.values())


@pytest.mark.parametrize(
    "bad, options, message",
    [
        (report(), {}, "no samples to rate"),
        (BOTH_TASKS, {"decoding": "x"}, "No answer of decoding 'x' to 'summary'. One of: beamy, own."),
        (report(sample("unscored", "e1")), {}, "samples of task 'unscored', but no prompt"),
    ],
)
def test_reports_that_cannot_be_rated(bad, options, message):
    with pytest.raises(RatingError, match=re.escape(message)):
        make_sheet(bad, **options)


def test_texts_of_a_space():
    class Fake(dict):
        name = "fake"
        row = dict.__getitem__

    tasks = parse_tasks(
        """
        [[task]]
        name = "tell"
        slots = ["x"]
        target = "{story}"
        prompts = ["Tell {x}."]
        [[task]]
        name = "pair"
        slots = ["x", "y"]
        target = "{story}"
        prompts = ["{x} and {y}"]
        """,
        origin="test",
    )
    read = report(sample("pitch", "e1"), sample("summary", "e2"))
    space = Fake(e1={"story": "S"}, e2={"story": None})
    assert teacher_texts(read, space, tasks) == {"e1": {"tell": "S"}, "e2": {}}
    with pytest.raises(RatingError, match="Entity 'e1' of the report is not in fake"):
        teacher_texts(read, Fake(), tasks)


# ---- blindness


def test_raters_get_the_same_items_each_in_another_order(tmp_path):
    folder = exported(tmp_path, make_sheet(BOTH_TASKS), raters=3)
    names = ["items.csv", "key.json", "rater-1.html", "rater-2.html", "rater-3.html"]
    assert sorted(path.name for path in folder.iterdir()) == names
    forms = [data_of(folder / f"rater-{number}.html") for number in (1, 2, 3)]
    orders = [[item["item"] for item in form["items"]] for form in forms]
    assert all(sorted(order) == list(range(1, 13)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    by_number = [sorted(form["items"], key=lambda item: item["item"]) for form in forms]
    assert by_number[0] == by_number[1] == by_number[2]
    assert [form["rater"] for form in forms] == ["rater-1", "rater-2", "rater-3"]


def test_forms_and_table_hold_nothing_of_the_key(tmp_path):
    neutral = report(
        *(
            Sample(
                task=task,
                id=f"secret-{i}",
                title=f"T{i}",
                target=f"- first {task} {i}\n- second",
                answers=(
                    SampleAnswer(decoding="own-decoding", text=f"* third {task} {i} \n* fourth\n", consistency=1),
                ),
            )
            for task in ("summary", "pitch")
            for i in range(4)
        )
    )
    folder = exported(tmp_path, make_sheet(neutral, decoding="own-decoding"))
    for path in (*folder.glob("*.html"), folder / "items.csv"):
        text = path.read_text("utf-8-sig").lower()
        for word in ("own-decoding", "secret-", "generated", "reference", "teacher", '"kind"'):
            assert word not in text, (path.name, word)


def test_items_of_both_kinds_look_alike_but_for_their_text(tmp_path):
    sheet = make_sheet(BOTH_TASKS)
    folder = exported(tmp_path, sheet)
    groups = {}
    for item in data_of(folder / "rater-1.html")["items"]:
        hidden = sheet.key.items[item.pop("item")]
        text = item.pop("text")
        assert text.strip() == text
        groups.setdefault((hidden.task, hidden.id), {})[hidden.kind] = item
    assert len(groups) == 6
    assert all(group["generated"] == group["reference"] for group in groups.values())
    for row in rows_of(folder):
        assert not any(row[name] for name in ("rater", *STATEMENTS))


def test_numbers_and_places_do_not_follow_the_kind():
    many = report(*(sample(task, f"e{i}") for task in ("summary", "pitch") for i in range(100)))
    kinds = [hidden.kind for hidden in make_sheet(many, per_task=100).key.items.values()]
    changes = sum(a != b for a, b in pairwise(kinds))
    assert 160 < changes < 240  # 400 coins: 199.5 changes, standard deviation 10
    assert 70 < kinds[:200].count("generated") < 130


def test_texts_cannot_break_out_of_the_form_nor_run_in_a_spreadsheet(tmp_path):
    nasty = "</script><script>alert(1)</script>"
    one = Sample(
        task="pitch",
        id="e",
        title='=HYPERLINK("x")',
        target=f"{nasty} é \u2028",
        answers=(SampleAnswer(decoding="own", text="- a\n- b,\"c\"", consistency=0), ),
    )  # fmt: skip
    folder = exported(tmp_path, make_sheet(report(one), texts={"e": {"summary": "+1"}}))
    text = (folder / "rater-1.html").read_text("utf-8")
    assert nasty not in text and text.count("</script>") == 2
    items = data_of(folder / "rater-1.html")["items"]
    assert {item["text"] for item in items} == {f"{nasty} é", '• a\n• b,"c"'}
    assert {row["text"] for row in rows_of(folder)} == {f"{nasty} é", '• a\n• b,"c"'}
    assert {row["title"] for row in rows_of(folder)} == {'\'=HYPERLINK("x")'}
    assert {row["ground_truth"] for row in rows_of(folder)} == {"'+1"}


def test_a_form_needs_no_other_file(tmp_path):
    text = (exported(tmp_path, make_sheet(BOTH_TASKS)) / "rater-1.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"https?:|\bsrc=|<link|@import|url\(", text.replace("URL.createObjectURL(", ""))


def test_an_empty_answer_is_shown_as_such():
    blank = Sample(
        task="pitch",
        id="e",
        title=None,
        target="T",
        answers=(SampleAnswer(decoding="own", text=" \n", consistency=0),),
    )
    assert [item.text for item in make_sheet(report(blank)).items] == ["(no text)"]


# ---- the folder


def test_a_folder_is_replaced_only_on_request_and_only_if_nothing_is_lost(tmp_path):
    sheet = make_sheet(BOTH_TASKS)
    folder = exported(tmp_path, sheet, raters=3)
    with pytest.raises(RatingError, match=r"exists\. Choose another name"):
        write_sheet(sheet, folder)
    write_sheet(sheet, folder, raters=1, overwrite=True)
    assert not (folder / "rater-2.html").exists()
    (folder / "ratings-rater-1.csv").write_text("x")
    with pytest.raises(RatingError, match=re.escape("also holds ratings-rater-1.csv")):
        write_sheet(sheet, folder, overwrite=True)
    assert (folder / "key.json").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(RatingError, match="no export"):
        write_sheet(sheet, tmp_path / "mine", overwrite=True)
    with pytest.raises(RatingError, match="does not exist; make it first"):
        write_sheet(sheet, tmp_path / "no" / "forms")


def test_a_failed_write_leaves_nothing(tmp_path):
    sheet = make_sheet(BOTH_TASKS)
    unwritable = SimpleNamespace(
        items=sheet.items, key=SimpleNamespace(**dict(sheet.key), model_dump_json=lambda **_: "\ud800")
    )
    with pytest.raises(UnicodeEncodeError):
        write_sheet(unwritable, tmp_path / "forms")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_reports_are_read_as_saved(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(BOTH_TASKS.to_json(), "utf-8")
    assert read_report(path).samples == BOTH_TASKS.samples
    path.write_text("{}", "utf-8")
    with pytest.raises(RatingError, match=r"is no report\. Make one with"):
        read_report(path)
    with pytest.raises(RatingError, match="cannot be read"):
        read_report(tmp_path / "none.json")


# ---- import


def test_ratings_come_back_as_scores(tmp_path):
    """Generated: consistency 4, 5, 3 by item; reference: 5 for all. Rater b says one less about language."""
    sheet = make_sheet(report(*(sample("pitch", id) for id in ("e1", "e2", "e3"))), texts=TOLD)
    folder = exported(tmp_path, sheet)
    mark = {"e1": 4, "e2": 5, "e3": 3}
    for rater, language in (("a", 5), ("b", 4)):
        lines = []
        for number, hidden in sheet.key.items.items():
            consistency = mark[hidden.id] if hidden.kind == "generated" else 5
            lines.append(f"{rater},{number},{sheet.key.export},{consistency},{language},")
        (tmp_path / f"{rater}.csv").write_text(HEADER + "\n".join(lines) + "\n")
    found = import_ratings(folder, [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert (found.raters, found.ratings, found.problems) == (("a", "b"), 24, ())
    generated, reference = found.tasks
    assert (generated.task, generated.kind, generated.rated, generated.items) == ("pitch", "generated", 3, 3)
    # items 0.75, 1, 0.5; language (1 + 0.75) / 2 everywhere
    assert generated.scores["consistency"].value == pytest.approx(0.75)
    # of three items all three are the worst in 1 of 27 resamples, more than 2.5 %
    assert generated.scores["consistency"].low == 0.5 and generated.scores["consistency"].high == 1
    assert generated.scores["language"] == Interval(0.875, 0.875, 0.875)
    assert reference.scores["consistency"] == Interval(1, 1, 1)
    assert isnan(reference.scores["quality"].value)
    assert found.agreement["consistency"] == 1
    # rater b always one lower: by definition below chance
    assert found.agreement["language"] == pytest.approx(brute_force([[5] * 6, [4] * 6], ordinal)) and (
        found.agreement["language"] < 0
    )
    assert isnan(found.agreement["quality"])


TOLD = {id: {"summary": f"S {id}"} for id in ("e1", "e2", "e3")}


@pytest.fixture
def folder(tmp_path):
    sheet = make_sheet(report(*(sample("pitch", id) for id in ("e1", "e2", "e3"))), texts=TOLD)
    return exported(tmp_path, sheet)


def imported(folder, text, *, encoding="utf-8"):
    path = folder.parent / "r.csv"
    path.write_bytes(text.encode(encoding))
    return import_ratings(folder, [path])


SHORT = "rater,item,consistency,language,quality\n"


def test_a_filled_in_table_of_items_is_read(folder):
    rows = rows_of(folder)
    rows[0] |= {"rater": "ann", "consistency": "2", "language": "4.0"}
    out = StringIO()
    writer = csv.DictWriter(out, rows[0], delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    found = imported(folder, out.getvalue(), encoding="utf-8-sig")
    assert (found.raters, found.ratings, found.problems) == (("ann",), 2, ())
    assert sum(task.rated for task in found.tasks) == 1


@pytest.mark.parametrize(
    "line, problem",
    [
        ("a,99,3,3,3", "no item '99'"),
        ("a,one,3,3,3", "no item 'one'"),
        ("a,1.5,3,3,3", "no item '1.5'"),
        (",1,3,3,3", "no rater"),
        ("a,1,6,,", "consistency is '6', expected a whole number from 1 to 5"),
        ("a,1,,0,", "language is '0', expected"),
        ("a,1,,,good", "quality is 'good', expected"),
        ("a,1,2.5,,", "consistency is '2.5', expected"),
        ("a,1,nan,,", "consistency is 'nan', expected"),
        ("a,1,inf,,", "consistency is 'inf', expected"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named(folder, line, problem):
    found = imported(folder, f"{SHORT}b,2,3,3,3\n{line}\n")
    assert found.ratings == 3 and found.raters == ("b",)
    assert len(found.problems) == 1 and found.problems[0].startswith(f"r.csv, line 3: {problem}")


def test_the_good_cells_of_a_row_count(folder):
    found = imported(folder, f"{SHORT}a,1,6,4,2\n")
    assert found.ratings == 2 and len(found.problems) == 1


def test_ratings_of_another_export_are_noticed(folder):
    found = imported(folder, f"{HEADER}a,1,other,3,3,3\na,2,{make_export(folder)},3,3,3\n")
    assert found.ratings == 3
    assert found.problems == ("r.csv, line 2: of another export, 'other'; left out",)


def make_export(folder):
    return json.loads((folder / "key.json").read_text("utf-8"))["export"]


def test_of_two_ratings_of_an_item_the_later_holds(folder):
    found = imported(folder, f"{SHORT}a,1,1,1,1\nb,1,2,,\na,1,5,5,\na,1,,,\n")
    assert found.problems == ("r.csv, line 4: 'a' rates item 1 again; the later row holds",)
    rated = next(task for task in found.tasks if task.rated)
    assert found.ratings == 3
    assert rated.scores["consistency"].value == pytest.approx((1 + 0.25) / 2)
    assert rated.scores["language"].value == 1 and isnan(rated.scores["quality"].value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "needs the columns .* Has: none"),
        ("rater,item,consistency,language\n", "look at 'quality'"),
        ("rater,item,item,consistency,language,quality\n", "look at 'item'"),
        (SHORT, "No rating in .* All rows are blank"),
        (f"{SHORT}a,1,,,\n", "All rows are blank"),
        (f"{SHORT}a,99,1,1,1\n", "The first problem: r.csv, line 2: no item '99'"),
        (f"{SHORT}a,1,1,1,1,1\n", "line 2: 6 cells under 5 columns"),
        (f'{SHORT}a,1,"1,1,1\n', "is no CSV"),
        (f'{SHORT}a,1,"1"x,1,1\n', "is no CSV"),
    ],
)
def test_files_that_are_refused(folder, text, message):
    with pytest.raises(RatingError, match=message):
        imported(folder, text)


def test_files_that_are_no_text(folder, tmp_path):
    with pytest.raises(RatingError, match="cannot be read as UTF-8 text"):
        imported(folder, f"{SHORT}é,1,1,1,1\n", encoding="latin-1")
    with pytest.raises(RatingError, match="cannot be read as UTF-8 text"):
        import_ratings(folder, [tmp_path / "none.csv"])


def test_a_key_is_needed(folder, tmp_path):
    with pytest.raises(RatingError, match="expected the folder `vecspeak rate export` wrote"):
        import_ratings(tmp_path, [])
    (folder / "key.json").write_text('{"format": 1}')
    with pytest.raises(RatingError, match="is no key to ratings"):
        import_ratings(folder, [])


# ---- alpha

PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
)
"""Krippendorff 2011: four observers, twelve units, missing data."""


def nominal(c, k, counts):
    return float(c != k)


def interval(c, k, counts):
    return (c - k) ** 2


def ordinal(c, k, counts):
    low, high = min(c, k), max(c, k)
    between = sum(count for value, count in counts.items() if low <= value <= high)
    return (between - (counts[c] + counts[k]) / 2) ** 2


def brute_force(ratings_RI, difference):
    """1 - observed / expected disagreement, pair by pair."""
    units = [[value for value in column if not isnan(value)] for column in np.asarray(ratings_RI, float).T]
    units = [unit for unit in units if len(unit) >= 2]
    values = [value for unit in units for value in unit]
    counts = {value: values.count(value) for value in values}
    n = len(values)
    observed = sum(
        difference(a, b, counts) / (len(unit) - 1) for unit in units for a, b in permutations(unit, 2)
    ) / max(n, 1)
    pairs = [difference(a, b, counts) for a, b in permutations(values, 2)]
    return 1 - observed / (sum(pairs) / len(pairs)) if any(pairs) else nan


@pytest.mark.parametrize("difference, alpha", [(nominal, 0.743), (ordinal, 0.815), (interval, 0.849)])
def test_the_oracle_gives_the_published_figures(difference, alpha):
    assert brute_force(PUBLISHED, difference) == pytest.approx(alpha, abs=5e-4)


def test_alpha_gives_the_published_figure():
    assert krippendorff_alpha(PUBLISHED) == pytest.approx(0.815, abs=5e-4)


ratings = st.tuples(st.integers(1, 4), st.integers(0, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([nan, 1, 2, 3, 4, 5]))
)


@given(ratings)
def test_alpha_is_its_definition(ratings_RI):
    expected = brute_force(ratings_RI, ordinal)
    assert krippendorff_alpha(ratings_RI) == pytest.approx(expected, nan_ok=True)


def test_alpha_at_its_ends():
    assert krippendorff_alpha([[1, 3, 5], [1, 3, 5]]) == 1
    assert isnan(krippendorff_alpha([[2, 2], [2, 2]]))
    assert isnan(krippendorff_alpha([[1, 2, 3]]))
    assert isnan(krippendorff_alpha(np.empty((0, 3))))
    assert isnan(krippendorff_alpha([[1, nan], [nan, 2]]))
