"""The experiment's report: its figures stand where they belong, its files need no network, nothing is lost or run."""

import re
from html.parser import HTMLParser
from importlib import resources
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest

from vecspeak.errors import ConfigError
from vecspeak.metrics import Interval
from vecspeak.movielens import figures, paper
from vecspeak.movielens.comparisons import found
from vecspeak.movielens.document import Cell
from vecspeak.movielens.pages import FILES, check_folder, write_report
from vecspeak.movielens.results import Blend, Dot, Predictor, Push, Results, Shown, StepTaken, Way
from vecspeak.movielens.seeds import Runs, over_seeds
from vecspeak.report import (
    MEAN_VECTOR,
    NEAREST,
    SHUFFLED,
    TEACHER,
    Chance,
    Kind,
    LossScores,
    Report,
    TaskScores,
    TextScores,
)
from vecspeak.tasks import load_tasks

NOTHING = Interval(nan, nan, nan)
NASTY = "<script>alert('x')</script> | & \"q\" $x\nnext"
SOURCES: dict[str, Kind] = {
    TEACHER: "control",
    NEAREST: "control",
    MEAN_VECTOR: "control",
    SHUFFLED: "control",
    "greedy": "decoding",
    "own": "decoding",
    "own, best of 8": "selected",
}
SC = dict(zip(SOURCES, (0.66, 0.47, 0.25, 0.28, 0.44, 0.52, 0.60), strict=True))
FILM_TASKS = tuple(paper.TABLE_2)[:19]
PAIR_TASKS = tuple(paper.TABLE_2)[19:]


def near(value: float, width: float = 0.015) -> Interval:
    return Interval(value, value - width, value + width)


def text_scores(name: str, *, shift: float = 0.0, behaviour: bool = True) -> TextScores:
    sc = SC[name] + shift
    share = (sc - 0.25) / 0.41
    keys = ("BC NDCG, rated", "BC Spearman, rated", "BC NDCG, unrated = 0", "BC Spearman, unrated = 0")
    return TextScores(
        name=name,
        kind=SOURCES[name],
        sc=near(sc),
        floor=near(0.281),
        ceiling=near(0.66 + shift),
        normalised=near(share, 0.04),
        top1=near(0.6 * share, 0.08),
        top10=near(min(1.0, 0.1 + share), 0.06),
        mean_rank=near(45 - 43 * share, 2.5),
        independent_top1=near(0.2 * share, 0.05),
        independent_top10=near(0.1 + 0.6 * share, 0.09),
        repetition=0.01,
        empty=0,
        behaviour={key: near(0.1 + 0.3 * share + 0.2 * ("NDCG" in key), 0.01) for key in keys} if behaviour else {},
    )


def task_scores(task: str, *, shift: float = 0.0) -> TaskScores:
    texts = tuple(text_scores(name, shift=shift) for name in SOURCES)
    return TaskScores(task=task, prompt=f"{task} of {{film}}", entities=90, texts=texts)


def losses(task: str, *, slots: int, gap: float) -> LossScores:
    gaps = near(gap, 0.02)
    return LossScores(task=task, slots=slots, examples=90, entities=90, right=near(3), gap_shuffled=gaps, gap_mean=gaps)


def report(seed: int, *, tasks: tuple[str, ...] = FILM_TASKS, pairs: tuple[str, ...] = PAIR_TASKS) -> Report:
    rng = np.random.default_rng(seed)
    return Report(
        space="films",
        encoder="encoder",
        side="test",
        asked=90,
        candidates=90,
        training=720,
        seed=seed,
        decodings={},
        chance=Chance.among(90),
        tasks=tuple(task_scores(task, shift=rng.normal(0, 0.04)) for task in tasks),
        losses=tuple(
            losses(task, slots=1 + (task in pairs), gap=abs(rng.normal(0.12, 0.03))) for task in (*tasks, *pairs)
        ),
        overall_gap=near(0.137, 0.011),
        skipped={},
        samples=(),
    )


def complete(*, seeds: int = 1, dots: int = 60) -> Results:
    rng = np.random.default_rng(0)
    ways = ("interpolation", "funny", "terrifying", "romantic")
    sources = ("from the vector", "text only, same base", "text only, Qwen3-4B", "the two ends' own texts")
    level = dict(zip(sources, (0.55, 0.46, 0.57, 0.5), strict=True))
    shares = tuple(round(0.1 * i, 1) for i in range(11))
    centres = rng.random((9, 2))
    genres = (
        "Drama",
        "Comedy",
        "Thriller",
        "Horror",
        "Documentary",
        "Action",
        "Romance",
        "Animation",
        "Western",
        "War",
    )
    points = []
    for i in range(dots):
        genre = min(int(rng.exponential(2.2)), 9)
        x, y = np.clip(centres[genre % 9] + rng.normal(0, 0.09, 2), 0, 1)
        side = "test" if i % 9 == 0 else "train"
        title = f"A film of some length, number {i} ({1950 + i % 70})"
        points.append(
            Dot(
                title=title, genre=genres[genre], side=side, places={"UMAP": (x, y), "t-SNE": (y, x), "PCA": (x, 1 - y)}
            )
        )
    shown = Shown(
        task="summary",
        id="1",
        title="Jaws (1975)",
        text="A shark comes to a small town by the sea, and three men go out in a boat to find it.",
        target="A great white shark attacks bathers; the police chief, a scientist and a fisherman set out to kill it.",
        consistency=0.71,
    )
    return Results(
        release="ml-25m",
        base="Qwen3-0.6B",
        encoder="all-MiniLM-L6-v2",
        seeds=tuple(range(seeds)),
        counts={"ratings read": 25_000_095, "users": 162_541, "films": 62_423, "held-out films": 1_000},
        notes=("3,376 films have fewer than five ratings and were left out.",),
        steps=(
            StepTaken(name="read ratings", seconds=92.0, peak_gib=3.25),
            StepTaken(name="train, seed 0", seconds=5400.0, peak_gib=11.5),
        ),
        predictors=(
            Predictor(name="WALS, 48 factors", ndcg=near(0.861, 0.002), recall=near(0.223, 0.004)),
            Predictor(name="mean rating", ndcg=near(0.833, 0.002), recall=near(0.012, 0.001)),
            Predictor(name="number of ratings", ndcg=near(0.812, 0.002), recall=near(0.141, 0.003)),
        ),
        films=tuple(report(seed) for seed in range(seeds)),
        users=tuple(report(seed, tasks=("user_profile",), pairs=()) for seed in range(seeds)),
        behavioural=(report(5, tasks=FILM_TASKS[:3], pairs=()),),
        blends=tuple(
            Blend(task=task, source=source, consistency=near(level[source] + rng.normal(0, 0.05), 0.02))
            for task in paper.FIGURE_3
            for source in sources
        ),
        paths=tuple(
            Way(
                task=task,
                name=way,
                shares=shares,
                consistency=tuple(near(0.58 - 0.3 * (0.5 + i / 6) * (0.25 - (x - 0.5) ** 2), 0.012) for x in shares),
            )
            for task in ("five_positive", "description")
            for i, way in enumerate(ways)
        ),
        pushes=tuple(
            Push(
                concept=concept,
                strengths=(0.0, 0.5, 1.0, 1.5, 2.0),
                ndcg=tuple(near(0.47 + 0.03 * (i - 2) * x, 0.01) for x in (0.0, 0.5, 1.0, 1.5, 2.0)),
            )
            for i, concept in enumerate(("realistic", "scary", "playful", "funny", "gory", "intense", "action"))
        ),
        push_random=0.305,
        push_teacher=0.487,
        best=(shown,) * 3,
        worst=(shown.model_copy(update={"title": "Alien (1979)", "consistency": 0.11}),) * 3,
        dots=tuple(points),
    )


VOID = {"meta", "input"}


class Reader(HTMLParser):
    """Checks that tags close in order; collects tags, attributes, text and the rows of tables."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.titles: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data}".strip()
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def row(self, *start: str) -> list[str]:
        """The first row that starts so."""
        return next(row for row in self.rows if row[: len(start)] == list(start))


def written(results: Results, folder: Path) -> tuple[Reader, str]:
    """The page as read, and the Markdown."""
    write_report(results, folder)
    return Reader((folder / "report.html").read_text("utf-8")), (folder / "report.md").read_text("utf-8")


def changed(results: Results, **fields) -> Results:
    return results.model_copy(update=fields)


def with_scores(results: Results, task: str, source: str, **fields) -> Results:
    """Other figures for one source of one task, in every seed of the film model."""

    def texts(scores: TaskScores) -> TaskScores:
        new = tuple(t.model_copy(update=fields) if t.name == source else t for t in scores.texts)
        return scores.model_copy(update={"texts": new if scores.task == task else scores.texts})

    films = tuple(r.model_copy(update={"tasks": tuple(map(texts, r.tasks))}) for r in results.films)
    return changed(results, films=films)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "out"
    results = with_scores(complete(), "summary", "own", sc=Interval(0.5239, 0.5101, 0.5389), mean_rank=near(2.04, 0.5))
    write_report(results, folder)
    return folder


@pytest.fixture(scope="module")
def reader(page: Path) -> Reader:
    return Reader((page / "report.html").read_text("utf-8"))


# ---- the paper's numbers


def test_the_papers_tasks_are_ours_in_their_order() -> None:
    tasks = load_tasks("films")
    assert list(paper.TABLE_2) == list(tasks)
    assert tuple(name for name, task in tasks.items() if len(task.slots) == 1) == FILM_TASKS
    assert set(paper.FIGURE_3) - set(tasks) == set(load_tasks("user"))


def test_the_papers_numbers_are_shares() -> None:
    for row in (*paper.TABLE_2.values(), *paper.FIGURE_3.values()):
        assert all(0.4 < value < 1 for value in row)
    assert paper.TABLE_2["common_with_nn"] == (0.77, 0.46)
    assert paper.FIGURE_3["user_profile"] == (0.57, 0.45, 0.46)


# ---- values over seeds


def test_one_seed_shows_its_interval() -> None:
    assert over_seeds([Interval(0.5239, 0.5101, 0.5389)]) == Cell("0.524", "[0.510, 0.539]")
    assert over_seeds([Interval(2.04, nan, nan)], digits=1) == Cell("2.0", "[n/a, n/a]")


def test_several_seeds_show_mean_and_deviation() -> None:
    # deviations -0.1, 0, 0.1: sample deviation sqrt(0.02 / 2)
    assert over_seeds([near(0.5), near(0.6), near(0.7)]) == Cell("0.600", "± 0.100")


def test_a_seed_without_a_value_is_told() -> None:
    assert over_seeds([near(0.5), NOTHING, near(0.6)]) == Cell("0.550", "± 0.071, 2 of 3 seeds")
    assert over_seeds([near(0.5), NOTHING]) == Cell("0.500", "1 of 2 seeds")
    assert over_seeds([NOTHING, NOTHING]) == over_seeds([]) == Cell("n/a")


def test_a_lead_must_be_clear_in_every_seed() -> None:
    first, second = report(0), report(1)
    assert Runs([first, second]).beats("summary", "own", NEAREST, lambda scores: scores.sc)
    close = with_scores(changed(complete(), films=(second,)), "summary", "own", sc=near(0.49)).films[0]
    runs = Runs([first, close])
    assert not runs.beats("summary", "own", NEAREST, lambda scores: scores.sc)
    its = [r.tasks[0].of(NEAREST).sc.value for r in (first, close)]
    mine = [first.tasks[0].of("own").sc.value, 0.49]
    expected = (mine[0] - its[0] + mine[1] - its[1]) / 2
    assert runs.lead("summary", "own", NEAREST, lambda scores: scores.sc) == pytest.approx(expected)
    assert isnan(runs.lead("summary", "unheard of", NEAREST, lambda scores: scores.sc))


def test_the_models_own_decoding_is_the_one_that_is_not_greedy() -> None:
    assert Runs([report(0)]).own == "own"
    greedy = complete().films[0]
    only = tuple(
        t.model_copy(update={"texts": tuple(x for x in t.texts if not x.name.startswith("own"))}) for t in greedy.tasks
    )
    assert Runs([greedy.model_copy(update={"tasks": only})]).own == "greedy"


# ---- the result in words


def test_findings_count_what_is_clear_of_the_controls() -> None:
    results = complete()
    assert "in 19 of 19 one-film tasks by semantic consistency, in 19 by finding" in found(results)[0]
    # as good as another film's answers by SC, and no better than the mean vector at finding the film
    results = with_scores(results, "summary", "own", sc=near(0.3, 0.1))
    results = with_scores(results, "viewer", "own", top10=near(0.11, 0.1))
    assert "in 18 of 19 one-film tasks by semantic consistency, in 18 by finding" in found(results)[0]
    assert "in 17 by both (not: summary, viewer). Other sources" in found(results)[0]
    assert "greedy 19" in found(results)[0] and f"{TEACHER} 19" in found(results)[0]
    doubtful = with_scores(complete(), "pitch", TEACHER, sc=near(0.3, 0.1))
    assert f"{TEACHER} 18." in found(doubtful)[0]


def test_findings_count_leads_over_the_neighbour() -> None:
    results = with_scores(complete(), "summary", "greedy", sc=near(0.9))
    results = with_scores(results, "viewer", "greedy", sc=near(report(0).tasks[18].of(NEAREST).sc.value + 0.001))
    sentence = found(results)[1]
    assert "greedy in 2 of 19 (intervals apart in 1)" in sentence
    assert "own in 19 of 19 (intervals apart in 19)" in sentence


def test_findings_tell_vector_use_and_profiles() -> None:
    third, fourth = found(complete())[2:]
    assert "0.137 [0.126, 0.148] nats per token more" in third
    assert "24 of 24 tasks" in third
    assert "NDCG" in fourth
    assert len(found(changed(complete(), users=()))) == 3
    assert found(changed(complete(), films=())) == []


# ---- the page


def test_every_tag_closes(reader: Reader) -> None:
    assert reader.open == []


def test_the_big_table_has_the_paper_beside_us(reader: Reader) -> None:
    header = reader.row("task", "paper SC")
    row = dict(zip(header, reader.row("summary", "0.91"), strict=True))
    assert row["paper BC"] == "0.94"
    assert row["SC"] == "0.524 [0.510, 0.539]"
    assert row["floor"] == "0.281"
    assert row["mean rank"] == "2.0"
    scores = report(0).tasks[0].of("own")
    assert row["BC NDCG, unrated = 0"] == f"{scores.behaviour['BC NDCG, unrated = 0'].value:.3f}"
    assert row["BC Spearman, rated"].startswith(f"{scores.behaviour['BC Spearman, rated'].value:.3f} [")
    assert row["vector use, nats/token"].startswith(f"{report(0).losses[0].gap_shuffled.value:.3f} [")
    pair = dict(zip(header, reader.row("similarities", "0.86"), strict=True))
    assert pair["SC"] == ""
    assert pair["vector use, nats/token"].startswith(f"{report(0).losses[20].gap_shuffled.value:.3f} [")


def test_verdicts_mark_where_intervals_are_apart(tmp_path: Path) -> None:
    nearest = report(0).tasks[0].of(NEAREST).sc.value
    results = with_scores(complete(), "summary", "own", sc=near(nearest + 0.05))
    results = with_scores(results, "summary", "own, best of 8", sc=near(nearest + 0.02))
    results = with_scores(results, "summary", "greedy", sc=near(nearest - 0.05))
    reader, markdown = written(results, tmp_path / "report")
    row = reader.row("summary", f"{nearest:.3f}")
    assert row[2:] == ["\u25bc -0.050", "\u25b2 +0.050", "+0.020"]
    assert f"| summary | {nearest:.3f} | \u25bc -0.050 | \u25b2 +0.050 | +0.020 |" in markdown


def test_each_source_of_texts_has_its_row(reader: Reader) -> None:
    for source in SOURCES:
        scores = report(0).tasks[1].of(source)
        start = reader.rows.index(reader.row("description", "SC"))
        row = next(row for row in reader.rows[start:] if row[0] == source)
        assert row[1].startswith(f"{scores.sc.value:.3f} [")
        assert row[6].startswith(f"{scores.independent_top10.value:.2f} [")


def test_data_steps_and_predictors(reader: Reader) -> None:
    assert reader.row("ratings read") == ["ratings read", "25,000,095"]
    assert reader.row("train, seed 0") == ["train, seed 0", "90.0", "11.50"]
    assert reader.row("total") == ["total", "91.5", "11.50"]
    assert reader.row("mean rating") == ["mean rating", "0.833 [0.831, 0.835]", "0.012 [0.011, 0.013]"]
    assert "3,376 films have fewer than five ratings" in reader.text


def test_a_count_that_beats_wals_is_not_sold_as_a_success(tmp_path: Path) -> None:
    predictors = (*complete().predictors, Predictor(name="mean rating + 1", ndcg=near(0.9), recall=NOTHING))
    reader, _ = written(changed(complete(dots=0), predictors=predictors), tmp_path / "report")
    assert "mean rating + 1 orders them best (NDCG 0.900), so a plain count does better" in reader.text
    assert reader.row("mean rating + 1")[2] == "n/a"


def test_figures_have_their_numbers_beside(reader: Reader) -> None:
    results = complete()
    blend = results.blends[0]
    row = next(row for row in reader.rows if row[0] == "summary" and row[-3:] == ["0.97", "0.87", "0.73"])
    assert row[1].startswith(f"{blend.consistency.value:.3f} [")
    assert reader.row("concept") == ["concept", "0", "0.5", "1", "1.5", "2"]
    expected = [f"{y:.3f} [{y - 0.01:.3f}, {y + 0.01:.3f}]" for y in (0.47, 0.53, 0.59, 0.65, 0.71)]
    assert reader.row("action")[1:] == expected
    assert "0.305" in reader.text
    assert "0.487" in reader.text
    for name in ("from the vector", "interpolation", "terrifying", "teacher, not pushed", "gory", "paper, GPT-4"):
        assert name in reader.text


def test_answers_stand_with_the_teachers_texts(reader: Reader) -> None:
    assert reader.text.count("A shark comes to a small town") == reader.text.count("A great white shark") == 6
    assert "summary, SC 0.71" in reader.text
    assert "summary, SC 0.11" in reader.text


def test_several_seeds(tmp_path: Path) -> None:
    results = complete(seeds=3, dots=0)
    reader, _ = written(results, tmp_path / "report")
    values = [r.tasks[2].of("own").sc.value for r in results.films]
    row = reader.row("positive_review", "0.94")
    assert row[3] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert "seeds 0, 1, 2" in reader.text


def test_what_was_not_measured_says_so(tmp_path: Path) -> None:
    blank = dict.fromkeys(("sc", "floor", "ceiling", "normalised", "top10", "mean_rank"), NOTHING) | {"behaviour": {}}
    results = complete(dots=0)
    for source in SOURCES:
        results = with_scores(results, "summary", source, **blank)
    results = changed(
        results,
        blends=tuple(b.model_copy(update={"consistency": NOTHING}) for b in results.blends),
        paths=tuple(p.model_copy(update={"consistency": (NOTHING,) * 11}) for p in results.paths),
        pushes=tuple(p.model_copy(update={"ndcg": (near(0.4), *[NOTHING] * 4)}) for p in results.pushes),
        push_random=nan,
        films=tuple(r.model_copy(update={"skipped": {"scarier": "no texts"}}) for r in results.films),
    )
    reader, markdown = written(results, tmp_path / "report")
    assert reader.row("summary", "0.91")[3:13] == ["n/a"] * 10
    assert reader.row("action") == ["action", "0.400 [0.385, 0.415]", *["n/a"] * 4]
    assert "nan" not in reader.text.lower()
    assert "Not measured: scarier, no texts." in markdown
    assert '"nan"' not in (tmp_path / "report" / "report.json").read_text("utf-8").replace("NaN", "n/a")


TITLES = {
    "predictors": ["Behavioural vectors"],
    "films": ["Beside the paper's Table 2", "Controls"],
    "users": ["User profiles"],
    "behavioural": ["Films by behavioural vectors"],
    "blends": ["Halfway between two points (Fig. 3)"],
    "paths": ["Ways through the space (Fig. 4)"],
    "pushes": ["Pushed users (Fig. 5)"],
    "best": ["Best and worst answers"],
    "dots": ["Map of the films"],
}


def test_sections_come_in_order(reader: Reader) -> None:
    middle = [title for titles in TITLES.values() for title in titles]
    assert reader.titles == ["Data", *middle, "How it is measured"]


@pytest.mark.parametrize("name", TITLES)
def test_an_empty_part_is_left_out(name: str, tmp_path: Path, reader: Reader) -> None:
    slow = {"blends", "paths", "pushes", "dots"}
    results = changed(complete(), **dict.fromkeys(slow | {name}, ()), worst=())
    less, markdown = written(results, tmp_path / "report")
    gone = {title for part in slow | {name} for title in TITLES[part]}
    assert less.titles == [title for title in reader.titles if title not in gone]
    assert re.findall(r"^## (.*)$", markdown, flags=re.M) == less.titles


def test_only_what_is_always_there_is_left_of_nothing(tmp_path: Path) -> None:
    none = dict.fromkeys((*TITLES, "worst", "steps", "notes"), ())
    reader, markdown = written(changed(complete(), **none), tmp_path / "report")
    assert re.findall(r"^## (.*)$", markdown, flags=re.M) == reader.titles == ["Data", "How it is measured"]
    assert "nothing was left out" in reader.text
    assert not list((tmp_path / "report" / "figures").iterdir())


# ---- safety


def test_every_text_is_escaped(tmp_path: Path) -> None:
    results = complete(dots=3)
    shown = results.best[0].model_copy(update=dict.fromkeys(("task", "title", "text", "target"), NASTY))
    dot = Dot(title=NASTY, genre=NASTY, side="test", places={NASTY: (0.1, 0.2)})
    results = changed(
        results,
        release=NASTY,
        base=NASTY,
        encoder=NASTY,
        counts={NASTY: 1},
        notes=(NASTY,),
        steps=(StepTaken(name=NASTY, seconds=1, peak_gib=1),),
        predictors=(Predictor(name=NASTY, ndcg=near(1), recall=near(1)),),
        films=(report(0, tasks=(NASTY,)).model_copy(update={"skipped": {NASTY: NASTY}}),),
        blends=(Blend(task=NASTY, source=NASTY, consistency=near(0.5)),),
        paths=(Way(task=NASTY, name=NASTY, shares=(0, 1), consistency=(near(0.5), near(0.6))),),
        pushes=(Push(concept=NASTY, strengths=(0, 1), ndcg=(near(0.5), near(0.6))),),
        best=(shown,),
        worst=(shown,),
        dots=(dot, dot),
    )
    reader, markdown = written(results, tmp_path / "report")
    assert reader.open == []
    assert [tag for tag, _ in reader.tags].count("script") == 1  # the map's own
    assert "alert('x')" in reader.text
    assert "<script" not in markdown
    for line in markdown.splitlines():
        assert not line.startswith("next"), "a line break in a text broke out of its cell or quote"


def test_markdown_tables_are_whole(page: Path) -> None:
    text = (page / "report.md").read_text("utf-8")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 10
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    for picture in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (page / picture).read_bytes().startswith(b"\x89PNG")
    assert len(list((page / "figures").iterdir())) == len(re.findall(r"\]\(figures/", text)) == 5


def test_nothing_is_fetched(page: Path, reader: Reader) -> None:
    targets = [
        value for _, attrs in reader.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")
    ]
    assert paper.LINK in targets
    assert all(target and (target.startswith("#") or target == paper.LINK) for target in targets)
    assert not {"link", "img", "iframe", "image", "object"} & {tag for tag, _ in reader.tags}
    html = (page / "report.html").read_text("utf-8")
    assert html.count("http") == 1
    assert not re.search(r"url\((?!#)|@import|fetch\(", html)


def test_every_reference_in_the_page_has_one_target(reader: Reader) -> None:
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {
        value[1:] for _, attrs in reader.tags for name, value in attrs.items() if "href" in name and value[0] == "#"
    }
    wanted |= {attrs["clip-path"][5:-1] for _, attrs in reader.tags if "clip-path" in attrs}
    assert wanted <= set(ids)


def test_json_is_the_results(page: Path) -> None:
    read = Results.model_validate_json((page / "report.json").read_text("utf-8"))
    assert read.pushes == complete().pushes
    assert read.films[0].tasks[0].of("own").sc == Interval(0.5239, 0.5101, 0.5389)


# ---- the folder

SMALL = dict.fromkeys(("blends", "paths", "pushes", "dots", "films", "users", "behavioural"), ())


def test_a_report_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(changed(complete(), **SMALL, release="old"), folder)
    write_report(changed(complete(), **SMALL, release="new"), folder)
    assert "experiment on new" in (folder / "report.md").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert sorted(path.name for path in folder.iterdir()) == ["figures", *sorted(FILES)]


def test_a_failure_leaves_the_old_report(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "report"
    write_report(changed(complete(), **SMALL, release="old"), folder)

    def full_disk(results: Results, *, indent: int) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(Results, "model_dump_json", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_report(changed(complete(), **SMALL, release="new"), folder)
    assert "experiment on old" in (folder / "report.md").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match="something else than a report"):
        write_report(changed(complete(), **SMALL), mine)
    assert (mine / "thesis.tex").exists()
    with pytest.raises(ConfigError, match="something else than a report"):
        check_folder(mine / "thesis.tex")
    with pytest.raises(ConfigError, match="does not exist"):
        check_folder(tmp_path / "no" / "report")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")


# ---- figures


@pytest.mark.parametrize("heights", [[0.0, 0.0, 0.0], [0.5, 0.1, 0.45, 0.47, 0.9], [3.0], []])
def test_spread_labels_do_not_overlap_and_move_little(heights: list[float]) -> None:
    placed = figures.spread(heights, gap=0.1)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(np.array(placed)[order]) >= 0.1 - 1e-9).all()
    assert sum(placed) == pytest.approx(sum(heights))  # least squares: each group moves about its mean


def test_labels_apart_stay_where_they_are() -> None:
    assert figures.spread([0.9, 0.1, 0.5], gap=0.2) == pytest.approx([0.9, 0.1, 0.5])
    assert figures.spread([0.0, 0.0], gap=1.0) == pytest.approx([-0.5, 0.5])


def test_colours_are_those_of_the_style_sheet(page: Path) -> None:
    html = (page / "report.html").read_text("utf-8")
    light = {}
    for sheet in ("vecspeak/page.css", "vecspeak.movielens/report.css"):
        package, name = sheet.split("/")
        text = (resources.files(package) / name).read_text("utf-8")
        assert text in html
        light |= dict(re.findall(r"--(\w+): (#\w{6})", text.split("@media")[0]))
    assert tuple(light[f"g{i}"] for i in range(8)) == figures.COLOURS
    names = ("ink", "quiet", "rule", "paper", "accent", "rest")
    constants = (figures.INK, figures.QUIET, figures.RULE, figures.PAPER, figures.ACCENT, figures.REST)
    assert tuple(light[name] for name in names) == constants


def test_drawings_take_their_colours_from_the_page(reader: Reader) -> None:
    drawing = figures.draw_blends(complete().blends)
    assert drawing.png.startswith(b"\x89PNG")
    assert not re.search(r"#[0-9a-f]{6}\b", drawing.svg)
    assert "var(--accent)" in drawing.svg
    assert drawing == figures.draw_blends(complete().blends)  # the same from run to run


def test_more_lines_than_colours() -> None:
    pushes = [Push(concept=f"c{i}", strengths=(0, 1), ndcg=(near(0.4), near(0.4 + i / 50))) for i in range(10)]
    svg = figures.draw_pushes(pushes, random=nan, teacher=0.4).svg
    assert all(f">c{i}<" in svg for i in range(10))
    assert svg.count("var(--rest)") > 0
    assert "random ranking" not in svg


def test_the_map_places_each_film_in_each_layout() -> None:
    dots = [
        Dot(title="held", genre="Drama", side="test", places={"UMAP": (0, 0), "PCA": (1, 1)}),
        Dot(title="seen", genre="War", side="train", places={"UMAP": (1, 1), "PCA": (0.5, 0.25)}),
    ]
    reader = Reader(figures.map_html(dots))
    circles = [attrs for tag, attrs in reader.tags if tag == "circle"]
    choices = [attrs["data-places"] for tag, attrs in reader.tags if tag == "input"]
    assert [(c["cx"], c["cy"]) for c in circles] == [("988", "12"), ("12", "628")]  # held out last, y upwards
    assert choices == ["988 12 12 628", "500 474 988 12"]
    assert [c["class"] for c in circles] == ["g1", "g0 held"]
    assert "held" in reader.text
    assert [tag for tag, attrs in reader.tags if "checked" in attrs] == ["input"]


def test_genres_beyond_eight_share_a_colour() -> None:
    dots = [
        Dot(title="t", genre=f"genre {i}", side="train", places={"PCA": (0.1, 0.1)})
        for i in range(10)
        for _ in range(11 - i)
    ]
    html = figures.map_html(dots)
    assert figures.main_genres(dots) == [f"genre {i}" for i in range(8)]
    assert html.count('circle class="rest"') == 3 + 2
    assert "genre 8" not in html
    assert "other" in html


def test_nine_thousand_films_fit(page: Path) -> None:
    html = figures.map_html(complete(dots=9000).dots)
    assert html.count("<circle") == 9000
    assert len(html.encode()) + (page / "report.html").stat().st_size < 4_000_000
