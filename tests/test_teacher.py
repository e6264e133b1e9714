"""Teacher: what is wanted, which texts pass the gates, what is kept and paid, and what reaches the space."""

import asyncio
import copy
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from vecspeak.cli import main
from vecspeak.errors import SpaceError, TaskError, TeacherError
from vecspeak.space import Space
from vecspeak.spacefile import Chunk, Header, write_space
from vecspeak.tasks import parse_tasks
from vecspeak.teacher.answers import Answers, Budget, BudgetSpent, Price, key_of
from vecspeak.teacher.asking import ask_local
from vecspeak.teacher.gates import reason
from vecspeak.teacher.targets import join, write_targets
from vecspeak.teacher.wants import Want, Wants
from vecspeak.training import split_examples

ROWS = 6
TASKS = """
[[task]]
name = "describe"
slots = ["thing"]
target = "{text}"
prompts = ["Describe {thing}."]

[[task]]
name = "audience"
slots = ["thing"]
target = "{audience}"
prompts = ["Who would like {thing}?"]
teacher = "{{{text}}} Who is it for?"

[[task]]
name = "colour"
slots = ["thing"]
target = "{colour}"
prompts = ["What colour has {thing}?"]
"""


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """Six things, of which the second has no text and the third an audience."""
    (tmp_path / "tasks.toml").write_text(TASKS)
    return Space.create(
        tmp_path / "s.lance",
        ids=[f"e{row}" for row in range(ROWS)],
        vectors=np.eye(ROWS, 4, dtype=np.float32) + 1,
        columns={
            "title": [f"Thing {row}" for row in range(ROWS)],
            "text": ["one {a}", None, "two", "three", "four", "five"],
            "audience": [None, None, "its own", None, " ", None],
        },
        name="things",
        encoder="enc",
        licence="CC0-1.0",
    )


def wants_of(space: Space, **more) -> Wants:
    settings = {"out": space.path.parent / "t.parquet", "model": "m", "max_tokens": 9}
    return Wants(space, parse_tasks(TASKS, origin="t"), **{**settings, **more})


# ---- what is wanted


def test_only_missing_texts_with_something_to_read_are_wanted(space: Space) -> None:
    wants = list(wants_of(space))
    assert [want.id for want in wants] == ["e0", "e3", "e4", "e5"]
    assert wants[0].prompt == "{one {a}} Who is it for?"  # doubled braces are braces, those of a text stay
    assert (wants[0].column, wants[0].title) == ("audience", "Thing 0")
    counts = {count.task: (count.there, count.wanted, count.sourceless) for count in wants_of(space).counts}
    assert counts == {"describe": (5, 0, 1), "audience": (1, 4, 1), "colour": (0, 0, 6)}


def test_with_a_source_a_task_asks_its_own_question_about_it(space: Space) -> None:
    wants = {want.task: want for want in wants_of(space, source="text", unnamed=True) if want.id == "e5"}
    assert set(wants) == {"audience", "colour"}
    assert wants["colour"].prompt == (
        "Read this text about the thing:\n\nfive\n\nWhat colour has the thing? Do not say its name.\n"
        "Answer from the text, in plain sentences."
    )
    assert wants["audience"].prompt == "{five} Who is it for?"


def test_keys_differ_by_prompt_model_and_length(space: Space) -> None:
    known = {key_of("p", model="m", max_tokens=9), key_of("q", model="m", max_tokens=9)}
    known |= {key_of("p", model="n", max_tokens=9), key_of("p", model="m", max_tokens=8)}
    assert len(known) == 4
    assert key_of("p", model="m", max_tokens=9) in known


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('target = "{audience}"', 'target = "{vector}"', "which the space itself uses"),
        ("{{{text}}} Who", "{plot} Who", "reads the column 'plot'; the space has title, text, audience"),
        ('target = "{colour}"', 'target = "{audience}"\nteacher = "{text}?"', "both write the column 'audience'"),
    ],
)
def test_tasks_that_cannot_be_taught(space: Space, old: str, new: str, words: str) -> None:
    tasks = parse_tasks(TASKS.replace(old, new), origin="t")
    with pytest.raises(TeacherError, match=words):
        list(Wants(space, tasks, Path("t.parquet"), "m", 9))


@pytest.mark.parametrize(
    ("target", "teacher", "words"),
    [
        ("{text}", "Say something.", "names no column to read"),
        ("It is {text}", "{text}?", "writes the one column"),
        ("{thing.text}", "{text}?", "writes the one column"),
    ],
)
def test_a_teacher_fills_one_column(target: str, teacher: str, words: str) -> None:
    text = (
        f'[[task]]\nname = "a"\nslots = ["thing"]\ntarget = "{target}"\nteacher = "{teacher}"\nprompts = ["{{thing}}"]'
    )
    with pytest.raises(TaskError, match=words):
        parse_tasks(text, origin="t")


# ---- gates


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("It is for people who like war films.", None),
        (" \n", "empty"),
        ("Nice film", "too short"),
        ("I\u2019m sorry, but I can't help with that.", "refusal"),
        ("As an AI language model, I have no taste.", "refusal"),
        ("**Sorry**, I cannot say who it is for.", "refusal"),
        ("Sorrow and war, for grown people who like both.", None),
        ("people who like it and people who like it and people who like it", "repeats itself"),
        ("For all who liked the two towers in their youth.", "names the entity"),
        ("For those who look at two towerss of stone.", None),
    ],
)
def test_gates(text: str, why: str | None) -> None:
    assert reason(text, prompt="Who is it for?", cut=False, unnamed="The Two Towers") == why


def test_gates_that_depend_on_how_it_was_asked() -> None:
    assert reason("A text that ends in the", prompt="p", cut=True) == "unfinished"
    assert reason("Warm", prompt="Its mood, in one word?", cut=False) is None
    assert reason("A film about the two towers of it.", prompt="p", cut=False) is None
    # a title of one word counts where it is written as a name
    assert reason("It plays in her house by night.", prompt="p", cut=False, unnamed="Her") is None
    assert reason("In Her a man falls in love.", prompt="p", cut=False, unnamed="Her") == "names the entity"


# ---- what is kept and paid


def test_answers_are_kept_once_and_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "a.answers"
    with Answers(path) as answers:
        for text in ("first", "second"):
            answers.put("k", model="m", text=text, cut=False, tokens_in=1, tokens_out=2)
        assert len(answers) == 1 and "k" in answers and "x" not in answers
        with pytest.raises(TeacherError, match="is another run using it"):
            Answers(path)
    with Answers(path) as answers:
        found = answers.get("k")
        assert found is not None and (found.text, found.tokens_in, answers.get("x")) == ("first", 1, None)


def test_a_file_of_another_kind_or_time_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at " * 9)
    with pytest.raises(TeacherError, match="is no file of answers"):
        Answers(tmp_path / "text")
    with sqlite3.connect(tmp_path / "new") as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(TeacherError, match="format 99"):
        Answers(tmp_path / "new")


@settings(max_examples=25, deadline=None)
@given(
    limit=st.integers(0, 200),
    costs=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), max_size=30),
    workers=st.integers(1, 5),
)
def test_a_budget_is_never_overrun(tmp_path_factory, limit: int, costs: list, workers: int) -> None:
    most_open = 0.0

    async def run(answers: Answers) -> Budget:
        nonlocal most_open
        budget = Budget(answers, limit=limit, price=Price())
        rest = iter(costs)
        open_now: dict[int, int] = {}

        async def work() -> None:
            nonlocal most_open
            for most, share in rest:
                try:
                    ticket = await budget.reserve(most, 0)
                except BudgetSpent:
                    return
                open_now[ticket] = most
                most_open = max(most_open, budget.spent + sum(open_now.values()))
                await asyncio.sleep(0)
                del open_now[ticket]
                budget.settle(ticket, int(share * most), 0)

        await asyncio.wait_for(asyncio.gather(*(work() for _ in range(workers))), timeout=10)
        return budget

    with Answers(tmp_path_factory.mktemp("b") / "a") as answers:
        budget = asyncio.run(run(answers))
        assert most_open <= limit and budget.spent <= limit
        assert budget.spent == answers.taken()[0]
        assert Budget(answers, limit=limit, price=Price(2.0, 1.0)).spent == 2 * budget.spent


def test_an_attempt_that_was_left_open_counts_in_full(tmp_path: Path) -> None:
    with Answers(tmp_path / "a") as answers:
        first, second = answers.open_attempt(30, 12), answers.open_attempt(5, 5)
        assert first != second
        answers.settle_attempt(second, 1, 2)
    with Answers(tmp_path / "a") as answers:
        assert answers.taken() == (31, 14)


# ---- what reaches the space


def write(space: Space, texts: dict[str, str], **more):
    wants = wants_of(space, **more)
    with Answers(space.path.parent / "a") as answers:
        for want in wants:
            if want.id in texts:
                answers.put(want.key, model="m", text=texts[want.id], cut=False, tokens_in=1, tokens_out=1)
        lost = {want.key: "no room" for want in wants if want.id == "e5"}
        written = write_targets(wants.out, wants, answers, model="m", unanswered=lost, unnamed=True)
    join(space, written.columns)
    return written, Space.open(space.path)


def test_targets_are_joined_and_rejects_are_kept(space: Space) -> None:
    texts = {"e0": "For all who like it.", "e3": "Thing 3 is for nobody."}
    written, joined = write(space, texts)
    assert (written.targets, dict(written.rejected), written.left) == (1, {"names the entity": 1, "unanswered": 1}, 1)
    assert joined.column("audience") == ["For all who like it.", None, "its own", None, " ", None]
    assert (joined.ids, joined.encoder, joined.licence) == ([f"e{row}" for row in range(ROWS)], "enc", "CC0-1.0")
    np.testing.assert_array_equal(joined.vectors, np.eye(ROWS, 4) + 1)
    with pytest.raises(SpaceError, match="replaced meanwhile"):
        _ = space.vectors
    table = pq.read_table(space.path.parent / "t.parquet").to_pylist()
    assert [(row["id"], row["text"], row["rejected"]) for row in table] == [
        ("e0", texts["e0"], None),
        ("e3", texts["e3"], "names the entity"),
        ("e5", None, "unanswered: no room"),
    ]
    assert table[0]["time"] is not None and table[2]["time"] is None


def test_what_a_teacher_wrote_is_written_again_and_what_it_did_not_stays(space: Space) -> None:
    _, joined = write(space, {"e0": "For all who like it.", "e4": "For nearly all of them."})
    assert [want.id for want in wants_of(joined)] == ["e0", "e3", "e4", "e5"]
    _, joined = write(joined, {"e0": "For quite other people.", "e4": "Nobody"}, model="other")
    assert joined.column("audience") == ["For quite other people.", None, "its own", None, None, None]


def test_without_a_new_answer_the_old_target_stays_in_table_and_space(space: Space) -> None:
    texts = {"e0": "For all who like it.", "e3": "For some.", "e5": "For those who hear of it late."}
    _, joined = write(space, {**texts, "e4": "Thing 4 is for nobody."})
    rows = pq.read_table(space.path.parent / "t.parquet").to_pylist()
    # now e5 gets no answer, and the others are not asked
    written, joined = write(joined, {}, model="other")
    assert joined.column("audience") == [texts["e0"], None, "its own", None, None, texts["e5"]]
    assert pq.read_table(space.path.parent / "t.parquet").to_pylist() == rows
    assert (written.targets, written.left, written.rejected.total()) == (2, 3, 2)


def test_targets_of_other_tasks_stay_in_the_table(space: Space) -> None:
    _, joined = write(space, {"e0": "For all who like it."})
    colours = parse_tasks(TASKS.split("\n\n")[2].replace("prompts", 'teacher = "{text}?"\nprompts'), origin="c")
    wants = Wants(joined, colours, space.path.parent / "t.parquet", "m", 9)
    with Answers(space.path.parent / "a") as answers:
        for want in wants:
            answers.put(want.key, model="m", text="A warm red one.", cut=False, tokens_in=1, tokens_out=1)
        write_targets(wants.out, wants, answers, model="m", unanswered={}, unnamed=False)
    tasks = [row["task"] for row in pq.read_table(wants.out).to_pylist()]
    assert tasks == ["colour"] * 5 + ["audience"] * 2


def with_audience(values: pa.Array, folder: Path) -> Wants:
    ids, texts = pa.array(["e0", "e1"]), pa.array(["one", "two"])
    chunk = Chunk(ids, np.ones((2, 4), np.float32), {"text": texts, "audience": values})
    write_space(folder / "typed.lance", Header("typed"), [chunk])
    return wants_of(Space.open(folder / "typed.lance"))


def test_a_column_of_numbers_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="Column 'audience' holds int64, no texts"):
        with_audience(pa.array([1, None], pa.int64()), tmp_path).check()


@pytest.mark.parametrize("kind", [pa.large_string(), pa.null()])
def test_texts_may_be_stored_in_other_ways(tmp_path: Path, kind: pa.DataType) -> None:
    wants = with_audience(pa.nulls(2, kind), tmp_path)
    wants.check()
    _, joined = write(wants.space, {"e0": "For all who like it."})
    assert joined.column("audience") == ["For all who like it.", None]


# ---- the command


def local_base(folder: Path) -> str:
    tiny.base().save_pretrained(folder / "base")
    tiny.tokenizer().save_pretrained(folder / "base")
    return str(folder / "base")


def test_a_local_model_teaches_and_training_reads_it(space: Space, capsys: pytest.CaptureFixture[str]) -> None:
    folder = space.path.parent
    words = ["teach", str(space.path), "--tasks", str(folder / "tasks.toml"), "--out", str(folder / "t.parquet")]
    assert main(words) == 0
    assert "audience: 1 have a text in audience, 4 wanted, 1 without" in capsys.readouterr().out
    assert not (folder / "t.parquet").exists() and not (folder / "t.answers").exists()
    words += ["--teacher-model", local_base(folder), "--max-tokens", "12"]
    assert main([*words, "--estimate"]) == 0
    assert "4 prompts to ask: about " in capsys.readouterr().out
    assert main(words) == 0
    told = capsys.readouterr().out
    table = pq.read_table(folder / "t.parquet").to_pylist()
    assert [row["id"] for row in table] == ["e0", "e3", "e4", "e5"]
    kept = {row["id"]: row["text"] for row in table if row["rejected"] is None}
    assert f"{len(kept)} targets in " in told
    joined = Space.open(space.path)
    assert {i: t for i, t in zip(joined.ids, joined.column("audience"), strict=True) if i in kept} == kept
    training, _ = split_examples(joined, parse_tasks(TASKS, origin="t"), seed=0)
    assert {e.target for e in training if e.task == "audience"} == {"its own", *map(str.strip, kept.values())}
    assert main(words) == 0  # all is there
    assert "0 prompts to ask" in capsys.readouterr().out


def test_batches_do_not_change_what_a_local_model_says(space: Space) -> None:
    texts = {}
    for name, some in (("all", slice(None)), ("one", slice(2, 3))):
        with Answers(space.path.parent / name) as answers:
            wants = list(wants_of(space, model=local_base(space.path.parent)))[some]
            ask_local(wants, answers, model=wants_of(space, model=local_base(space.path.parent)).model,
                      max_tokens=9, on_answer=lambda asked: None)  # fmt: skip
            found = answers.get(wants[-1 if name == "one" else 2].key)
            assert found is not None
            texts[name] = found.text
    assert texts["all"] == texts["one"]


@pytest.mark.parametrize("ends", [[], list(range(2, tiny.V, 4))])
def test_a_local_model_ends_where_it_says_so_itself(tmp_path: Path, ends: list[int]) -> None:
    """Gemma and Phi end their turns with a token that is not the tokenizer's."""
    base, tokenizer = tiny.base(), copy.deepcopy(tiny.tokenizer())
    base.generation_config.eos_token_id = ends or None
    base.config.eos_token_id = tokenizer.eos_token = tokenizer.pad_token = None
    base.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with Answers(tmp_path / "a") as answers:
        want = Want("e0", "t", "c", "war", "k", None)
        ask_local([want], answers, model=str(tmp_path), max_tokens=30, on_answer=lambda asked: None)
        found = answers.get("k")
    assert found is not None
    assert (found.cut, found.tokens_out == 30) == (not ends, not ends)


def test_a_prompt_that_is_too_long_for_a_local_model_is_told(space: Space, capsys: pytest.CaptureFixture[str]) -> None:
    model = local_base(space.path.parent)
    long = Want("e0", "t", "c", "war " * 200, "k", None)
    with Answers(space.path.parent / "a") as answers:
        asked = ask_local([long], answers, model=model, max_tokens=9, on_answer=lambda asked: None)
        assert len(answers) == 0
        assert "reads 119" in asked.unanswered["k"]
        with pytest.raises(TeacherError, match="leaves no room for a prompt"):
            ask_local([long], answers, model=model, max_tokens=128, on_answer=lambda asked: None)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--out", "t.csv"], "expected a name ending in .parquet"),
        (["--out", "none/t.parquet"], "does not exist; make it first"),
        (["--out", "t.parquet", "--teacher-url", "http://x/v1"], "--teacher-url needs --teacher-model"),
        (["--out", "t.parquet", "--teacher-model", "m", "--budget", "5"], "--budget is for an endpoint"),
        (["--out", "t.parquet", "--price-in", "5"], "go together"),
        (["--out", "t.parquet", "--teacher-model", "m", "--source", "plot"], "reads the column 'plot'"),
        (["--out", "t.parquet", "--teacher-model", "m", "--teacher-url", "x"], "is no URL of an endpoint"),
        (["--out", "t.parquet", "--teacher-model", "./none"], "./none"),
        (["--out", "t.parquet", "--tasks", "none.toml"], "none.toml"),
        (["--out", "bad.parquet", "--teacher-model", "m"], "holds no targets"),
    ],
)
def test_the_command_refuses(
    space: Space, more: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(space.path.parent)
    Path("bad.parquet").write_text("no table")
    assert main(["teach", "s.lance", "--tasks", "tasks.toml", *more]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and words in told and told.count("\n") == 1
    assert not Path("t.parquet").exists()
    assert Space.open("s.lance").columns == ["title", "text", "audience"]


def test_nothing_wanted_is_told(space: Space, capsys: pytest.CaptureFixture[str]) -> None:
    folder = space.path.parent
    (folder / "only.toml").write_text("\n\n".join(TASKS.split("\n\n")[:1]))
    words = ["teach", str(space.path), "--tasks", str(folder / "only.toml"), "--out", str(folder / "t.parquet")]
    assert main([*words, "--teacher-model", "m"]) == 2
    assert "Nothing is wanted: give a task of the file `teacher = ...`" in capsys.readouterr().err
