"""The report on two models whose figures are known beforehand: one echoes the teacher, one ignores its vector."""

from types import SimpleNamespace

import numpy as np
import pytest

from vecspeak.answers import Candidate
from vecspeak.decoding import Decoding
from vecspeak.encode import Encoder
from vecspeak.errors import ConfigError, EncoderError, SpaceError
from vecspeak.evaluate import evaluate
from vecspeak.report import MEAN_VECTOR, NEAREST, SHUFFLED, TEACHER, Report
from vecspeak.space import Space
from vecspeak.tasks import parse_tasks

TEST_SIZE, TRAIN_SIZE = 12, 14
GREEDY = {"greedy": Decoding()}

TASKS = parse_tasks(
    """
    [[task]]
    name = "summary"
    slots = ["film"]
    target = "{summary}"
    prompts = ["Summarise {film}.", "What happens in {film}?"]

    [[task]]
    name = "viewer"
    slots = ["film"]
    target = "{viewer}"
    prompts = ["Who would enjoy {film}?"]

    [[task]]
    name = "common"
    slots = ["first", "second"]
    target = "{shared}"
    prompts = ["What do {first} and {second} share?"]
    """,
    origin="test",
)


class WordCounts(Encoder):
    """Dimension k counts the word "word{k}", scaled to length 1."""

    name = "word-counts"
    dimension = 30

    def encode(self, texts):
        counts = np.array([[text.split().count(f"word{k}") for k in range(self.dimension)] for text in texts])
        counts = counts.reshape(len(texts), self.dimension).astype(np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


class FakeElm:
    """Answers with `reply(prompt, ids of the points)`; an unknown vector, such as the mean, has id None.

    Its loss is 1 nat with the right vectors, 2 with wrong ones, 1.5 with the mean, or always 1 if blind.
    """

    def __init__(self, space, reply, *, blind=False):
        self.encoder = WordCounts()
        self.decoding = Decoding()
        self.fingerprint = SimpleNamespace(mean=space.mean_vector)
        self.asked = []
        self._reply, self._blind = reply, blind
        self._id_of = {space[id].vector.tobytes(): id for id in space.ids}

    def ask_many(self, questions, *, decoding):
        self.asked += [(question.prompt, self._ids(question), decoding) for question in questions]
        texts = [self._reply(question.prompt, self._ids(question)) for question in questions]
        return [SimpleNamespace(text=text, consistency=None, candidates=()) for text in texts]

    def loss(self, examples):
        return np.array([1.0 if self._blind else self._loss(example) for example in examples])

    def _loss(self, example):
        ids = self._ids(example)
        return 1.5 if None in ids else 1.0 if ids == example.ids else 2.0

    def _ids(self, question):
        return tuple(self._id_of.get(vector.tobytes()) for vector in question.points.values())


def words(rng, count=6):
    return " ".join(f"word{k}" for k in rng.choice(WordCounts.dimension, count, replace=False))


def make_space(path, **changes):
    """Test entities t00.. and training entities n00..; partners are t00-t01, t02-t03, ..."""
    rng = np.random.default_rng(3)
    ids = [f"t{k:02}" for k in reversed(range(TEST_SIZE))] + [f"n{k:02}" for k in range(TRAIN_SIZE)]
    partners = [f"t{int(id[1:]) ^ 1:02}" if id[0] == "t" else None for id in ids]
    columns = {
        "title": [f"The {id}" for id in ids],
        "split": ["test" if id[0] == "t" else "train" for id in ids],
        "summary": [words(rng) for _ in ids],
        "viewer": [words(rng) for _ in ids],
        "shared": [None if partner is None else words(rng) for partner in partners],
        "partner": partners,
    } | changes
    vectors = WordCounts().encode_passages(list(zip(columns["summary"], columns["viewer"], strict=True)))
    kept = {name: values for name, values in columns.items() if values is not None}
    return Space.create(path / "films.lance", ids=ids, vectors=vectors, columns=kept, name="films")


@pytest.fixture
def space(tmp_path):
    return make_space(tmp_path)


def echo(space):
    """A model that says what the teacher says."""
    rows = {id: space.row(id) for id in space.ids}
    column = {TASKS["summary"].prompts[0]: "summary", TASKS["viewer"].prompts[0]: "viewer"}
    return FakeElm(space, lambda prompt, ids: rows[ids[0]][column[prompt]] if ids[0] else "nothing")


def constant(space):
    """A model that has not noticed its vector."""
    return FakeElm(space, lambda prompt, ids: "word1 word2 word3 word4", blind=True)


def test_the_teachers_echo_reaches_the_ceiling(space):
    report = evaluate(echo(space), space, TASKS, decodings=GREEDY)
    assert [task.task for task in report.tasks] == ["summary", "viewer"]
    for task in report.tasks:
        scores = task.of("greedy")
        assert scores.sc == scores.ceiling
        assert (scores.normalised.value, scores.normalised.low, scores.normalised.high) == pytest.approx((1, 1, 1))
        assert scores.floor.high < scores.sc.low
        assert scores.top1.value == scores.top10.value == scores.mean_rank.value == 1
        assert scores.independent_top1.value == 1
        assert task.of(TEACHER).model_copy(update={"name": "greedy", "kind": "decoding"}) == scores


def test_a_constant_answer_is_at_the_floor_and_at_chance(space):
    report = evaluate(constant(space), space, TASKS, decodings=GREEDY)
    assert report.chance.top10 == 10 / TEST_SIZE
    for task in report.tasks:
        for name in ("greedy", MEAN_VECTOR, SHUFFLED):
            scores = task.of(name)
            assert (scores.normalised.value, scores.normalised.low) == pytest.approx((0, 0), abs=1e-9)
            assert scores.ceiling.value > scores.floor.value
            # entities that share no word with the answer tie, and ties count against it
            assert scores.top1.value <= report.chance.top1
            assert scores.top10.value <= report.chance.top10
            assert scores.mean_rank.value >= report.chance.mean_rank


def test_loss_tells_whether_vectors_are_used(space):
    seeing, blind = (evaluate(elm, space, TASKS, decodings=GREEDY) for elm in (echo(space), constant(space)))
    assert [(loss.task, loss.slots, loss.examples, loss.entities) for loss in seeing.losses] == [
        ("summary", 1, TEST_SIZE, TEST_SIZE),
        ("viewer", 1, TEST_SIZE, TEST_SIZE),
        ("common", 2, TEST_SIZE, TEST_SIZE),
    ]
    for loss in seeing.losses:
        assert (loss.right.value, loss.gap_shuffled.value, loss.gap_mean.value) == (1, 1, 0.5)
    assert seeing.overall_gap.value == 1
    assert seeing.overall_gap.excludes_zero
    assert blind.overall_gap.value == 0
    assert not blind.overall_gap.excludes_zero


def test_answers_swapped_between_entities_lose_what_they_had(space):
    report = evaluate(echo(space), space, TASKS, decodings=GREEDY)
    for task in report.tasks:
        assert task.of(SHUFFLED).top1.value < 0.3
        assert task.of(SHUFFLED).normalised.value < 0.3


def test_the_nearest_training_text_is_that_of_the_nearest_vector(tmp_path):
    rng = np.random.default_rng(5)
    texts = [words(rng) for _ in range(TEST_SIZE)]
    # every test entity has a twin in training; the last two training entities have none
    twins = make_space(tmp_path, summary=[*texts, *texts, words(rng), words(rng)], viewer=["word0"] * 26)
    nearest = evaluate(constant(twins), twins, TASKS, decodings=GREEDY).tasks[0].of(NEAREST)
    assert (nearest.kind, nearest.normalised.value, nearest.top1.value) == ("control", pytest.approx(1), 1)


def test_only_vectors_and_first_prompts_are_asked(space):
    elm = echo(space)
    evaluate(elm, space, TASKS, decodings=GREEDY)
    assert {prompt for prompt, _, _ in elm.asked} == {TASKS["summary"].prompts[0], TASKS["viewer"].prompts[0]}
    # each task: every test entity once, and the mean vector once
    held = [(f"t{k:02}",) for k in range(TEST_SIZE)]
    assert sorted(ids for _, ids, _ in elm.asked if ids != (None,)) == sorted(held * 2)
    assert [ids for _, ids, _ in elm.asked].count((None,)) == 2


def test_a_limit_asks_less_and_keeps_the_candidates(space):
    elm = echo(space)
    report = evaluate(elm, space, TASKS, decodings=GREEDY, limit=3)
    assert (report.asked, report.candidates, report.training) == (3, TEST_SIZE, TRAIN_SIZE)
    assert {ids for _, ids, _ in elm.asked} == {("t00",), ("t01",), ("t02",), (None,)}
    assert report.tasks[0].entities == 3
    assert report.chance.top1 == 1 / TEST_SIZE


def test_answers_chosen_by_the_measure_stand_apart(space):
    by_support = Decoding(best_of=4, chosen_by="support")
    decodings = {"greedy": Decoding(), "by support": by_support, "best of 4": Decoding(best_of=4)}
    report = evaluate(echo(space), space, TASKS, decodings=decodings)
    assert [(scores.name, scores.kind) for scores in report.tasks[0].texts] == [
        ("greedy", "decoding"),
        ("by support", "decoding"),
        ("best of 4", "selected"),
        (TEACHER, "control"),
        (NEAREST, "control"),
        (MEAN_VECTOR, "control"),
        (SHUFFLED, "control"),
    ]
    page = report.to_markdown()
    headings = [line for line in page.splitlines() if line.startswith("##")]
    assert headings == [
        "## Answers",
        "### greedy",
        "### by support",
        "## Answers selected by the measure itself",
        "### best of 4",
        "## Controls",
        f"### {TEACHER}",
        f"### {NEAREST}",
        f"### {MEAN_VECTOR}",
        f"### {SHUFFLED}",
        "## Loss on the teacher's texts, nats per token",
        f"## {TEST_SIZE} sample answers",
    ]


def test_tables_of_the_page_are_whole(space):
    page = evaluate(echo(space), space, TASKS, decodings=GREEDY).to_markdown()
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [4, 4, 4, 4, 4, 5]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_samples_are_the_first_by_id_with_tasks_in_turn(space):
    report = evaluate(echo(space), space, TASKS, decodings=GREEDY, samples=3)
    assert [(s.id, s.task) for s in report.samples] == [("t00", "summary"), ("t01", "viewer"), ("t02", "summary")]
    for sample in report.samples:
        assert sample.title == f"The {sample.id}"
        assert sample.answers[0].text == sample.target == space.row(sample.id)[sample.task]
        assert sample.target in report.to_markdown()


def test_the_report_comes_back_from_json(space):
    report = evaluate(constant(space), space, TASKS, decodings=GREEDY)
    assert Report.model_validate_json(report.to_json()) == report


def test_what_cannot_be_measured_is_not_a_number_and_still_json(tmp_path):
    # the texts of all entities are the same: the ceiling is no higher than the floor
    same = make_space(tmp_path, summary=["word1 word2"] * 26, viewer=["word3"] * 26)
    report = evaluate(constant(same), same, TASKS, decodings=GREEDY)
    assert np.isnan(report.tasks[0].of("greedy").normalised.value)
    assert "n/a" in report.to_markdown()
    assert Report.model_validate_json(report.to_json()).to_json() == report.to_json()


def test_tasks_without_texts_are_named_with_the_reason(tmp_path):
    lonely = make_space(
        tmp_path,
        viewer=[f"word{k % 7}" if k < TEST_SIZE else "" for k in range(26)],
        partner=None,
    )
    report = evaluate(echo(lonely), lonely, TASKS, decodings=GREEDY)
    assert report.skipped == {
        "viewer": "no training entity has its text",
        "common": "0 of 2 examples on side 'test'",
    }
    assert [task.task for task in report.tasks] == ["summary"]
    assert "Not measured: `viewer`" in report.to_markdown()


def test_two_slot_tasks_alone_give_a_loss_and_no_texts(space):
    report = evaluate(echo(space), space, {"common": TASKS["common"]}, decodings=GREEDY)
    assert report.tasks == ()
    assert report.losses[0].gap_shuffled.value == 1
    assert np.isnan(report.overall_gap.value)


def test_equal_seeds_give_equal_reports(space):
    first, again = (evaluate(echo(space), space, TASKS, decodings=GREEDY, seed=1) for _ in range(2))
    assert first == again


def test_progress_counts_every_step(space):
    seen = []
    evaluate(echo(space), space, TASKS, decodings=GREEDY, progress=lambda what, done, total: seen.append((done, total)))
    assert seen == [(done, len(seen)) for done in range(len(seen))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": "elsewhere"}, r"0 entities on side 'elsewhere', expected 2. Sides: test, train"),
        ({"decodings": {}}, "at least one decoding"),
        ({"decodings": {TEACHER: Decoding()}}, "name of a control"),
        ({"limit": 1}, "limit is 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(space, options, message):
    with pytest.raises((ConfigError, SpaceError), match=message):
        evaluate(echo(space), space, TASKS, **options)


def test_a_space_without_sides_is_refused(tmp_path):
    unsplit = make_space(tmp_path, split=None)
    with pytest.raises(SpaceError, match="no column 'split'"):
        evaluate(constant(unsplit), unsplit, TASKS)


def test_an_encoder_that_is_missing_or_another_is_refused(space):
    elm = echo(space)
    elm.encoder.dimension = 5
    with pytest.raises(EncoderError, match="5 dimensions, films has 30"):
        evaluate(elm, space, TASKS)
    elm.encoder = None
    with pytest.raises(EncoderError, match="names no encoder"):
        evaluate(elm, space, TASKS)


# ---- answers kept, another judge, behaviour


def test_kept_answers_are_recalled_and_give_the_same_report(space, tmp_path):
    elm = echo(space)
    fresh = evaluate(elm, space, TASKS, decodings=GREEDY, answers=tmp_path / "answers")
    asked = len(elm.asked)
    again = evaluate(elm, space, TASKS, decodings=GREEDY, answers=tmp_path / "answers")
    unkept = evaluate(echo(space), space, TASKS, decodings=GREEDY)
    assert again.model_dump_json() == fresh.model_dump_json() == unkept.model_dump_json()
    assert len(elm.asked) == asked  # nothing was asked twice
    evaluate(elm, space, TASKS, decodings={"greedy": Decoding(max_tokens=7)}, answers=tmp_path / "answers")
    assert len(elm.asked) == 2 * asked  # another decoding gives other answers
    next((tmp_path / "answers").iterdir()).unlink()
    evaluate(elm, space, TASKS, decodings=GREEDY, answers=tmp_path / "answers")
    assert 2 * asked <= len(elm.asked) < 3 * asked


def test_samples_are_asked_for_once_whatever_chooses_among_them(space, tmp_path):
    """The first sample has the model's support, the second is the teacher's text."""

    class Sampling(FakeElm):
        def ask_many(self, questions, *, decoding):
            answers = super().ask_many(questions, decoding=decoding)
            for answer in answers if decoding.best_of > 1 else ():
                answer.candidates = (Candidate("off the point", 0.1, 9.0), Candidate(answer.text, 0.9, 1.0))
            return answers

    decodings = {
        f"by {judge}": Decoding(best_of=2, chosen_by=judge) for judge in ("support", "consistency")
    } | GREEDY  # fmt: skip
    for folder in (None, tmp_path / "answers", tmp_path / "answers"):
        elm = Sampling(space, echo(space)._reply)
        report = evaluate(elm, space, TASKS, decodings=decodings, answers=folder)
        for task in report.tasks:
            by = {scores.name: scores for scores in task.texts}
            assert by["by support"].sc.value < 0.2 and by["by consistency"].sc == by["greedy"].sc
        assert len({(prompt, ids, d.best_of) for prompt, ids, d in elm.asked}) == len(elm.asked)
    assert not elm.asked, "all was kept"


def test_another_space_judges_where_the_vectors_are_no_texts(space, tmp_path, monkeypatch):
    """The model reads random vectors; its answers are judged where their words are."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr("vecspeak.evaluate.load_encoder", lambda name: WordCounts())
    columns = {name: space.column(name) for name in space.columns}
    ids = list(space.ids)
    blind = Space.create(tmp_path / "blind.lance", ids=ids, vectors=rng.normal(size=(len(ids), 4)), columns=columns,
                         name="blind")  # fmt: skip
    known = [id for id in ids if id != "t03"]
    judge = Space.create(tmp_path / "judge.lance", ids=known, vectors=np.stack([space[id].vector for id in known]),
                         name="judge", encoder="word-counts")  # fmt: skip
    elm = echo(space)
    elm._id_of = {blind[id].vector.tobytes(): id for id in ids}
    elm.fingerprint = SimpleNamespace(mean=blind.mean_vector)
    report = evaluate(elm, blind, TASKS, judge=judge, decodings=GREEDY)
    assert report.asked == report.candidates == TEST_SIZE - 1  # the judge does not know t03
    for task in report.tasks:
        scores = task.of("greedy")
        assert scores.sc == scores.ceiling and scores.top1.value == 1
    with pytest.raises(EncoderError, match="did not make these vectors"):
        evaluate(elm, blind, TASKS, decodings=GREEDY)


def test_behaviour_is_averaged_over_entities_that_have_a_value(space):
    class Length:
        def consistency(self, texts_NE, ids):
            assert len(texts_NE) == len(ids) == TEST_SIZE
            return {"number": np.array([np.nan if id == "t00" else float(id[1:]) for id in ids])}

    report = evaluate(echo(space), space, TASKS, behaviour=Length(), decodings=GREEDY)
    for task in report.tasks:
        for texts in task.texts:
            assert texts.behaviour["number"].value == pytest.approx(np.mean(range(1, TEST_SIZE)))
    assert evaluate(echo(space), space, TASKS, decodings=GREEDY).tasks[0].texts[0].behaviour == {}
