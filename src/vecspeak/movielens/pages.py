"""The report of the experiment: one HTML page that needs no other file, Markdown with pictures, and JSON.

Sections are made of a few kinds of blocks, and each kind knows how it looks in HTML and in Markdown.
"Paper" is arXiv 2310.04475.
"""

import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from importlib import resources
from math import isnan, nan
from operator import attrgetter
from pathlib import Path
from statistics import fmean, stdev

from vecspeak.errors import ConfigError
from vecspeak.metrics import Interval
from vecspeak.movielens import paper
from vecspeak.movielens.figures import Drawing, draw_blends, draw_map, draw_paths, draw_pushes, map_html
from vecspeak.movielens.results import Dot, Results, Shown
from vecspeak.report import MEAN_VECTOR, NEAREST, SHUFFLED, TEACHER, Report, TextScores
from vecspeak.spacefile import put_in_place

FILES = ("report.html", "report.md", "report.json")

_UNKNOWN = Interval(nan, nan, nan)


def write_report(results: Results, folder: Path) -> None:
    """Write report.html, report.md, report.json and figures/*.png as the folder, which is there whole or not at all.

    An older report there is replaced once the new one is complete.

    Raises:
        ConfigError: `check_folder` refuses.
        SpaceError: the finished folder could not be renamed to its name.
    """
    check_folder(folder)
    sections = _sections(results)
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.new")
    try:
        (fresh / "figures").mkdir(parents=True)
        (fresh / "report.html").write_text(_html_page(results, sections), encoding="utf-8")
        (fresh / "report.md").write_text(_markdown_page(results, sections), encoding="utf-8")
        (fresh / "report.json").write_text(results.model_dump_json(indent=1), encoding="utf-8")
        for drawing in _pictures(sections):
            (fresh / "figures" / f"{drawing.name}.png").write_bytes(drawing.png)
        put_in_place(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Raises ConfigError unless a report may be written there: its parent exists, and nothing else is lost by it."""
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"Folder {folder.absolute().parent} does not exist; make it first.")
    if not folder.exists():
        return
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - {*FILES, "figures"}:
        raise ConfigError(f"{folder} holds something else than a report, so it is not replaced. Choose another name.")


# ---- blocks


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    spread: str = ""
    """How sure the figure is: its interval, or its deviation over seeds."""
    tone: str = ""
    """Class of the style sheet: quiet (the paper's), ahead, behind."""


@dataclass(frozen=True)
class Table:
    """Rows under a header; with a summary, folded under it."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    summary: str = ""


@dataclass(frozen=True)
class Note:
    text: str


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Drawings:
    """Figures beside each other where there is room."""

    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Answers:
    """Answers, each with the teacher's text."""

    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Map:
    """Interactive in HTML, a picture in Markdown."""

    dots: tuple[Dot, ...]
    picture: Drawing


@dataclass(frozen=True)
class Terms:
    """What words mean."""

    terms: tuple[tuple[str, str], ...]


Block = Table | Note | Heading | Drawings | Answers | Map | Terms


@dataclass(frozen=True)
class Section:
    title: str
    opening: str
    """What the reader sees and whether it is good, in one sentence."""
    blocks: tuple[Block, ...]


# ---- figures of one or several seeds


class Runs:
    """The reports of one model trained with several seeds, looked up by task and source of the texts."""

    def __init__(self, reports: Sequence[Report]):
        self.reports = reports
        self._texts = [{(t.task, s.name): s for t in report.tasks for s in t.texts} for report in reports]
        self._losses = [{loss.task: loss for loss in report.losses} for report in reports]

    @property
    def tasks(self) -> list[str]:
        """Those about one entity, whose texts were judged."""
        return list(dict.fromkeys(task.task for report in self.reports for task in report.tasks))

    @property
    def all_tasks(self) -> list[str]:
        """Those of which texts or losses were measured."""
        return list(dict.fromkeys([*self.tasks, *(loss.task for losses in self._losses for loss in losses.values())]))

    def sources(self, *kinds: str) -> list[str]:
        """Names of the decodings, of the selected answers or of the controls."""
        return list(dict.fromkeys(s.name for texts in self._texts for s in texts.values() if s.kind in kinds))

    @property
    def own(self) -> str:
        """The decoding the model answers with by itself."""
        decodings = self.sources("decoding")
        return next((name for name in decodings if name != "greedy"), "greedy")

    def values(self, task: str, source: str, measure: "Measure") -> list[Interval]:
        """One per seed, NaN where a seed's report does not have it."""
        found = [texts.get((task, source)) for texts in self._texts]
        return [measure(scores) if scores else _UNKNOWN for scores in found]

    def gaps(self, task: str) -> list[Interval]:
        """Vector use, one per seed: nats per token that another entity's vector costs more."""
        return [losses[task].gap_shuffled if task in losses else _UNKNOWN for losses in self._losses]

    def beats(self, task: str, source: str, other: str, measure: "Measure") -> bool:
        """Whether the source's interval lies above the other's in every seed."""
        pairs = zip(self.values(task, source, measure), self.values(task, other, measure), strict=True)
        return all(mine.low > its.high for mine, its in pairs)

    def lead(self, task: str, source: str, other: str, measure: "Measure") -> float:
        """How far the source's value is above the other's, mean over the seeds that have both; else NaN."""
        pairs = zip(self.values(task, source, measure), self.values(task, other, measure), strict=True)
        leads = [lead for lead in (mine.value - its.value for mine, its in pairs) if not isnan(lead)]
        return fmean(leads) if leads else nan


Measure = Callable[[TextScores], Interval]

_SC: Measure = attrgetter("sc")
_TOP10: Measure = attrgetter("top10")


def _behaviour(name: str) -> Measure:
    return lambda scores: scores.behaviour.get(name, _UNKNOWN)


_BC = {
    name: _behaviour(f"BC {name}")
    for name in ("NDCG, rated", "Spearman, rated", "NDCG, unrated = 0", "Spearman, unrated = 0")
}


def number(value: float, *, digits: int = 3) -> str:
    """A number, or "n/a" for NaN."""
    return "n/a" if isnan(value) else f"{value:.{digits}f}"


def over_seeds(values: Sequence[Interval], *, digits: int = 3) -> Cell:
    """One seed: the value and its interval. Several: mean and standard deviation of the values that are not NaN."""
    measured = [x.value for x in values if not isnan(x.value)]
    if not measured:
        return Cell("n/a")
    if len(values) == 1:
        return Cell(
            number(measured[0], digits=digits),
            f"[{number(values[0].low, digits=digits)}, {number(values[0].high, digits=digits)}]",
        )
    spread = f"± {stdev(measured):.{digits}f}" if len(measured) > 1 else ""
    missing = f"{len(measured)} of {len(values)} seeds" if len(measured) < len(values) else ""
    return Cell(f"{fmean(measured):.{digits}f}", ", ".join(filter(None, (spread, missing))))


@dataclass(frozen=True)
class Column:
    """A measure as a column of a table."""

    name: str
    measure: Measure
    digits: int = 3
    spread: bool = True
    """Whether intervals are shown."""

    def cell(self, runs: Runs, task: str, source: str) -> Cell:
        """Of the texts of one source."""
        shown = over_seeds(runs.values(task, source, self.measure), digits=self.digits)
        return shown if self.spread else replace(shown, spread="")


_NORMALISED = Column("normalised SC", attrgetter("normalised"), digits=2)
_INDEPENDENT = Column("independent top-10", attrgetter("independent_top10"), digits=2)
_BC_COLUMNS = {name: Column(f"BC {name}", measure) for name, measure in _BC.items()}

_BESIDE_THE_PAPER = (
    Column("SC", _SC),
    Column("floor", attrgetter("floor"), spread=False),
    Column("ceiling", attrgetter("ceiling"), spread=False),
    _NORMALISED,
    Column("top-10", _TOP10, digits=2),
    Column("mean rank", attrgetter("mean_rank"), digits=1, spread=False),
    _BC_COLUMNS["Spearman, rated"],
    _BC_COLUMNS["Spearman, unrated = 0"],
    replace(_BC_COLUMNS["NDCG, rated"], spread=False),
    replace(_BC_COLUMNS["NDCG, unrated = 0"], spread=False),
)
_CONTROLS = (
    Column("SC", _SC),
    _NORMALISED,
    Column("top-1", attrgetter("top1"), digits=2),
    Column("top-10", _TOP10, digits=2),
    Column("mean rank", attrgetter("mean_rank"), digits=1),
    _INDEPENDENT,
    _BC_COLUMNS["Spearman, rated"],
)
_USERS = (*_BC_COLUMNS.values(), _INDEPENDENT)
_BEHAVIOURAL = (_INDEPENDENT, _BC_COLUMNS["Spearman, rated"], _BC_COLUMNS["NDCG, rated"])


def _above_zero(values: Sequence[Interval]) -> bool:
    return all(x.low > 0 for x in values)


def _of(count: int, total: int, things: str) -> str:
    return f"{count} of {total} {things if total != 1 else things.removesuffix('s')}"


# ---- sections


def _sections(results: Results) -> list[Section]:
    films = Runs(results.films)
    parts: list[Iterable[Section]] = [
        [_data(results)],
        _predictors(results),
        _beside_the_paper(films),
        _controls(films),
        _users(Runs(results.users)),
        _behavioural(Runs(results.behavioural)),
        _blends(results),
        _paths(results),
        _pushes(results),
        _examples(results),
        _map(results),
        [_definitions(results)],
    ]
    return [section for part in parts for section in part]


def found(results: Results) -> list[str]:
    """The result in a few sentences, each with its numbers."""
    runs = Runs(results.films)
    if not runs.tasks:
        return []
    return [_against_blind(runs), _against_neighbour(runs), *_vector_use(runs), *_profiles(Runs(results.users))]


def _against_blind(runs: Runs) -> str:
    def above(measure: Measure) -> set[str]:
        blind = (MEAN_VECTOR, SHUFFLED)
        return {task for task in runs.tasks if all(runs.beats(task, runs.own, other, measure) for other in blind)}

    sc, top10 = above(_SC), above(_TOP10)
    return (
        f"The answers ({runs.own}) fit their vector better than an answer to the mean vector and than answers about "
        f"other films, intervals apart, in {_of(len(sc), len(runs.tasks), 'one-film tasks')} by semantic consistency, "
        f"in {len(top10)} by finding their own film among the first ten, and in {len(sc & top10)} by both."
    )


def _against_neighbour(runs: Runs) -> str:
    parts = []
    for source in runs.sources("decoding", "selected"):
        ahead = [task for task in runs.tasks if runs.lead(task, source, NEAREST, _SC) > 0]
        apart = sum(runs.beats(task, source, NEAREST, _SC) for task in ahead)
        parts.append(f"{source} in {len(ahead)} of {len(runs.tasks)} (intervals apart in {apart})")
    return (
        "The simplest rival is the nearest training film's text, repeated word for word; by semantic consistency the "
        f"model is ahead of it: {'; '.join(parts)}."
    )


def _vector_use(runs: Runs) -> Iterator[str]:
    gaps = [report.overall_gap for report in runs.reports]
    total = over_seeds(gaps)
    if total.text != "n/a":
        used = sum(_above_zero(runs.gaps(task)) for task in runs.all_tasks)
        yield (
            f"With another film's vector the teacher's texts cost {_inline(total)} nats per token more; vectors are "
            f"used, interval above zero, in {_of(used, len(runs.all_tasks), 'tasks')}."
        )


def _profiles(users: Runs) -> Iterator[str]:
    for task in users.tasks:
        ndcg = _BC["NDCG, rated"]
        mine, blind = (over_seeds(users.values(task, source, ndcg)) for source in (users.own, SHUFFLED))
        yield (
            f"User profiles written from behavioural vectors rank the users' held-out films at NDCG {_inline(mine)}; "
            f"profiles of other users reach {_inline(blind)}."
        )


def _data(results: Results) -> Section:
    minutes = sum(step.seconds for step in results.steps) / 60
    left_out = "what was left out is told below the numbers" if results.notes else "nothing was left out"
    blocks: list[Block] = [
        Table(("", "number"), tuple((Cell(name), Cell(f"{n:,}")) for name, n in results.counts.items())),
        *map(Note, results.notes),
    ]
    if results.steps:
        peak = max(step.peak_gib for step in results.steps)
        rows = [(Cell(x.name), Cell(f"{x.seconds / 60:.1f}"), Cell(f"{x.peak_gib:.2f}")) for x in results.steps]
        rows.append((Cell("total"), Cell(f"{minutes:.1f}"), Cell(f"{peak:.2f}")))
        blocks += [Heading("Steps"), Table(("step", "minutes", "peak memory, GiB"), tuple(rows))]
    opening = f"What was read and how it was split; {left_out}, and the whole run took {minutes:.0f} minutes."
    return Section("Data", opening, tuple(blocks))


def _predictors(results: Results) -> Iterator[Section]:
    if not results.predictors:
        return
    rows = tuple((Cell(p.name), over_seeds([p.ndcg]), over_seeds([p.recall])) for p in results.predictors)
    best = max(results.predictors, key=lambda p: -1 if isnan(p.ndcg.value) else p.ndcg.value)
    wins = "which says that the vectors carry taste" if best.name.startswith("WALS") else "so a plain count does better"
    yield Section(
        "Behavioural vectors",
        f"How well held-out ratings are predicted, higher is better: {best.name} orders them best "
        f"(NDCG {number(best.ndcg.value)}), {wins}.",
        (Table(("predictor", "NDCG of held-out films", "recall of 4 stars and more at 20"), rows),),
    )


_HOW_SURE = (
    "In brackets: 95 % bootstrap intervals over entities; with several seeds instead the mean and standard deviation "
    "over seeds."
)
_VECTOR_USE = "vector use, nats/token"


def _beside_the_paper(films: Runs) -> Iterator[Section]:
    if not films.all_tasks:
        return
    tasks = dict.fromkeys([*paper.TABLE_2, *films.all_tasks])
    above = sum(_above_zero(films.values(task, films.own, _NORMALISED.measure)) for task in films.tasks)
    skipped = {task: reason for report in films.reports for task, reason in report.skipped.items()}
    yield Section(
        "Beside the paper's Table 2",
        f"The paper's figures, in italics, and ours ({films.own}), task by task; good is a normalised SC above 0, more "
        f"than answers about other films reach, and it is so in {_of(above, len(films.tasks), 'one-film tasks')}.",
        (
            Note(
                "A high SC alone says little, since texts about films resemble each other: floor is what answers about "
                f"other films reach, ceiling the teacher's own text. {_HOW_SURE} Of two films at once only the vector "
                "use is measured."
            ),
            Table(
                ("task", "paper SC", "paper BC", *(column.name for column in _BESIDE_THE_PAPER), _VECTOR_USE),
                tuple(_row_beside_the_paper(films, task) for task in tasks),
            ),
            *(Note(f"Not measured: {task}, {reason}.") for task, reason in skipped.items()),
        ),
    )


def _row_beside_the_paper(films: Runs, task: str) -> tuple[Cell, ...]:
    theirs = [Cell(f"{value:.2f}", tone="quiet") for value in paper.TABLE_2.get(task, ())] or [Cell("")] * 2
    pair = task not in films.tasks
    ours = [Cell("") if pair else column.cell(films, task, films.own) for column in _BESIDE_THE_PAPER]
    return (Cell(task), *theirs, *ours, over_seeds(films.gaps(task)))


def _controls(films: Runs) -> Iterator[Section]:
    if not films.tasks:
        return
    rivals = films.sources("decoding", "selected")
    ahead = sum(films.lead(task, films.own, NEAREST, _SC) > 0 for task in films.tasks)
    nearest = Column("nearest training film's text, SC", _SC, spread=False)
    verdicts = tuple(
        (Cell(task), nearest.cell(films, task, NEAREST), *(_verdict(films, task, source) for source in rivals))
        for task in films.tasks
    )
    yield Section(
        "Controls",
        "By how much the model's SC is above that of the simplest rival, the nearest training film's text: by itself "
        f"({films.own}) it is ahead in {_of(ahead, len(films.tasks), 'tasks')}.",
        (
            Note(
                "\u25b2 ahead and \u25bc behind: the intervals are apart, in every seed; without a mark they overlap. "
                "The best of several answers is chosen by SC itself, which raises it: see its independent top-10 below."
            ),
            Table(("task", nearest.name, *rivals), verdicts),
            Heading("Every source of texts, task by task"),
            Note(f"Independent: identification by words alone (TF-IDF/LSA). {_HOW_SURE}"),
            *(replace(_control_table(films, task, _CONTROLS), summary=task) for task in films.tasks),
        ),
    )


def _verdict(films: Runs, task: str, source: str) -> Cell:
    lead = films.lead(task, source, NEAREST, _SC)
    if isnan(lead):
        return Cell("n/a")
    if films.beats(task, source, NEAREST, _SC):
        return Cell(f"\u25b2 {lead:+.3f}", tone="ahead")
    if films.beats(task, NEAREST, source, _SC):
        return Cell(f"\u25bc {lead:+.3f}", tone="behind")
    return Cell(f"{lead:+.3f}")


def _control_table(runs: Runs, task: str, columns: Sequence[Column]) -> Table:
    sources = [TEACHER, NEAREST, MEAN_VECTOR, SHUFFLED, *runs.sources("decoding", "selected")]
    rows = tuple((Cell(source), *(column.cell(runs, task, source) for column in columns)) for source in sources)
    return Table((task, *(column.name for column in columns)), rows)


def _users(users: Runs) -> Iterator[Section]:
    ndcg = _BC["NDCG, rated"]
    for task in users.tasks:
        behind = [other for other in (MEAN_VECTOR, SHUFFLED, NEAREST) if users.beats(task, users.own, other, ndcg)]
        verdict = f"better, intervals apart, than: {', '.join(behind)}" if behind else "clearly better than no control"
        gap = _inline(over_seeds(users.gaps(task)))
        yield Section(
            "User profiles",
            "Does a profile written from a user's behavioural vector rank the films the user rated as the user did? "
            f"By NDCG of rated films the model ({users.own}) is {verdict}.",
            (
                _control_table(users, task, _USERS),
                Note(f"Vector use: another user's vector costs {gap} nats per token more. {_HOW_SURE}"),
            ),
        )


def _behavioural(runs: Runs) -> Iterator[Section]:
    if not runs.all_tasks:
        return
    used = sum(_above_zero(runs.gaps(task)) for task in runs.all_tasks)
    pairs = [(column, source) for column in _BEHAVIOURAL for source in (runs.own, NEAREST)]
    names = {runs.own: runs.own, NEAREST: "nearest film's text"}
    rows = tuple(
        (Cell(task), *(column.cell(runs, task, source) for column, source in pairs), over_seeds(runs.gaps(task)))
        for task in runs.all_tasks
    )
    yield Section(
        "Films by behavioural vectors",
        "The same questions asked of vectors that know only who rated what; the vectors are used, interval above zero, "
        f"in {_of(used, len(runs.all_tasks), 'tasks')}.",
        (Table(("task", *(f"{column.name}, {names[source]}" for column, source in pairs), _VECTOR_USE), rows),),
    )


# ---- made points

_NUMBERS = "The numbers behind the figure"
_FROM_VECTOR = "from the vector"


def _blends(results: Results) -> Iterator[Section]:
    if not results.blends:
        return
    of = {(blend.task, blend.source): blend.consistency for blend in results.blends}
    tasks, sources = (list(dict.fromkeys(names)) for names in zip(*of, strict=True))
    rows = []
    for task in tasks:
        ours = [over_seeds([of.get((task, source), _UNKNOWN)]) for source in sources]
        theirs = [Cell(f"{value:.2f}", tone="quiet") for value in paper.FIGURE_3.get(task, ())] or [Cell("")] * 3
        rows.append((Cell(task), *ours, *theirs))
    header = ("task", *sources, "paper ELM", "paper PaLM 2-L", "paper GPT-4")
    yield Section(
        "Halfway between two points (Fig. 3)",
        f"Texts about the middle of two vectors, judged at the middle, where higher is better{_ahead_of(of)}.",
        (Drawings((draw_blends(results.blends),)), Table(header, tuple(rows), summary=_NUMBERS)),
    )


def _ahead_of(of: Mapping[tuple[str, str], Interval]) -> str:
    """In how many tasks answers from the vector are ahead of the texts of each other source."""
    mine = {task: x.value for (task, source), x in of.items() if source == _FROM_VECTOR}
    parts = []
    for other in dict.fromkeys(source for _, source in of if source != _FROM_VECTOR):
        leads = [mine.get(task, nan) - x.value for (task, source), x in of.items() if source == other]
        leads = [lead for lead in leads if not isnan(lead)]
        parts.append(f'"{other}" in {sum(lead > 0 for lead in leads)} of {len(leads)}')
    return f"; answers from the vector are ahead of {', of '.join(parts)} tasks" if mine and parts else ""


def _paths(results: Results) -> Iterator[Section]:
    if not results.paths:
        return
    tables = [
        _points_table(path.task, [(p.way, p.shares, p.consistency) for p in results.paths if p.task == path.task])
        for path in {path.task: path for path in results.paths}.values()
    ]
    drops = [drop for path in results.paths for drop in _drop(path.consistency)]
    drop = number(fmean(drops) if drops else nan)
    yield Section(
        "Ways through the space (Fig. 4)",
        "Consistency of the answers at points on the way from a film to another one or along a concept; good is a line "
        f"that stays up, and on average the lowest point of a line is {drop} below its start.",
        (Drawings(tuple(draw_paths(results.paths))), *tables),
    )


def _drop(values: Sequence[Interval]) -> Iterator[float]:
    """How far the lowest value is below the first; nothing where nothing was measured."""
    measured = [x.value for x in values if not isnan(x.value)]
    if measured:
        yield measured[0] - min(measured)


def _pushes(results: Results) -> Iterator[Section]:
    if not results.pushes:
        return
    ends = [[x.value for x in push.ndcg if not isnan(x.value)] for push in results.pushes]
    rising = sum(values[-1] > values[0] for values in ends if values)
    drawing = draw_pushes(results.pushes, random=results.push_random, teacher=results.push_teacher)
    yield Section(
        "Pushed users (Fig. 5)",
        "Profiles of users moved along a concept, judged by the ratings predicted where they were moved to; good is "
        f"above a random ranking ({number(results.push_random)}), and {_of(rising, len(ends), 'lines')} end higher "
        f"than they begin (teacher's profiles, not pushed: {number(results.push_teacher)}).",
        (Drawings((drawing,)), _points_table("concept", [(p.concept, p.strengths, p.ndcg) for p in results.pushes])),
    )


def _points_table(name: str, lines: Sequence[tuple[str, tuple[float, ...], tuple[Interval, ...]]]) -> Table:
    """Lines as rows, their points as columns."""
    xs = sorted({x for _, shares, _ in lines for x in shares})
    rows = []
    for label, shares, values in lines:
        at = dict(zip(shares, values, strict=True))
        rows.append((Cell(label), *(over_seeds([at[x]]) if x in at else Cell("") for x in xs)))
    return Table((name, *(f"{x:g}" for x in xs)), tuple(rows), summary=f"{_NUMBERS}: {name}")


# ---- answers, map, definitions


def _examples(results: Results) -> Iterator[Section]:
    if not (results.best or results.worst):
        return
    picked = [x.consistency for x in (*results.best, *results.worst) if not isnan(x.consistency)]
    span = f"{min(picked):.2f} to {max(picked):.2f}" if picked else "n/a"
    parts = [("Most consistent", results.best), ("Least consistent", results.worst)]
    yield Section(
        "Best and worst answers",
        f"Picked by semantic consistency ({span}), so the first group is better than the usual answer and the second "
        "shows what goes wrong.",
        tuple(block for title, shown in parts if shown for block in (Heading(title), Answers(shown))),
    )


def _map(results: Results) -> Iterator[Section]:
    if not results.dots:
        return
    held = sum(dot.side == "test" for dot in results.dots)
    yield Section(
        "Map of the films",
        f"{len(results.dots):,} films by their semantic vectors, near ones near each other, coloured by genre; good is "
        f"that colours gather and that the {held:,} held-out films, outlined, lie among the others.",
        (Map(results.dots, draw_map(results.dots)),),
    )


def _definitions(results: Results) -> Section:
    terms = [*_TERMS]
    if results.users:
        terms.append(_BC_USERS)
    return Section(
        "How it is measured",
        "What each figure means, what its range is, and which way is better.",
        (Terms(tuple(terms)),),
    )


_TERMS = (
    ("SC", "Semantic consistency: cosine of the answer, encoded again, with the vector it was asked about. -1 to 1."),
    ("Floor", "SC of the same source's texts about the other entities: what a text reaches without knowing which."),
    ("Ceiling", "SC of the teacher's own text about the entity."),
    ("Normalised SC", "0 at the floor, 1 at the ceiling; noisy where the two are near, and beyond 1 it can go."),
    (
        "Top-1, top-10, mean rank",
        "Where the entity's own vector stands among those of all held-out entities, ordered by cosine with the answer. "
        "Ties count against the answer.",
    ),
    (
        "Independent top-10",
        "The same by words alone: TF-IDF/LSA, fitted on training texts, among the teacher's texts. Choosing by SC does "
        "not raise it.",
    ),
    (
        "Vector use",
        "By how many nats per token the teacher's text costs more with another entity's vector; at 0 the vector is not "
        "used.",
    ),
    (
        "BC, films",
        "Behavioural consistency: users ordered by the cosine of their taste with the encoded answer, against their "
        "ratings of the film. A user's taste is the sum of (rating - own mean) x semantic vector over the other films "
        "rated. Rated: among users who rated the film. Unrated = 0: among these and 100 random others, whose rating "
        "counts as 0.",
    ),
    (
        "Spearman, NDCG",
        "How well two orders agree: rank correlation, -1 to 1, 0 by chance; discounted gain at the top, 0 to 1, by "
        "chance well above 0.",
    ),
    (
        "Controls",
        "Teacher: the text the model was to learn. Nearest: the teacher's text of the training entity with the nearest "
        "vector. Mean vector: the answer to the mean of all vectors. Other entities: greedy answers, swapped.",
    ),
)  # fmt: skip

_BC_USERS = (
    "BC, users",
    "Films ordered by the cosine of their semantic vector with the encoded profile, against the user's ratings. Rated: "
    "among the user's held-out rated films, five or more. Unrated = 0: among these and 100 random films the user never "
    "rated, whose rating counts as 0.",
)


# ---- HTML

_NOT_COMPARABLE = (
    "Base model, encoder, texts and data differ from the paper's. Its figures stand beside ours for orientation; they "
    "are not comparable."
)


def _html_page(results: Results, sections: Sequence[Section]) -> str:
    sheets = (resources.files("vecspeak") / "page.css", resources.files("vecspeak.movielens") / "report.css")
    style = "".join(sheet.read_text("utf-8") for sheet in sheets)
    links = "".join(f'<a href="#s{i}">{escape(section.title)}</a>' for i, section in enumerate(sections))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(results.release)}: the paper's experiment</title>
<style>
{style}</style>
<body>
<header>
<p class="brand">vecspeak</p>
<h1>Films told from their vectors alone</h1>
<p class="lede">{escape(_lede(results))}</p>
<p class="note"><b>{escape(_NOT_COMPARABLE)}</b> The paper: <a href="{paper.LINK}">arXiv 2310.04475</a>.</p>
<ul class="found">{"".join(f"<li>{escape(sentence)}</li>" for sentence in found(results))}</ul>
<nav>{links}</nav>
</header>
<main>
{"".join(_html_section(i, section) for i, section in enumerate(sections))}
</main>
<footer>Written by <code>vecspeak movielens</code>.</footer>
</body>
</html>
"""


def _lede(results: Results) -> str:
    seeds = f"seed {results.seeds[0]}" if len(results.seeds) == 1 else f"seeds {', '.join(map(str, results.seeds))}"
    return (
        f"The paper's experiment on {results.release}, with the base {results.base} and the encoder {results.encoder} "
        f"({seeds}): a language model is given one vector and asked 24 things about its film."
    )


def _html_section(index: int, section: Section) -> str:
    return f"""<section id="s{index}">
<h2>{escape(section.title)}</h2>
<p>{escape(section.opening)}</p>
{"".join(map(_html, section.blocks))}
</section>
"""


def _html(block: Block) -> str:
    match block:
        case Table():
            return _html_table(block)
        case Note(text):
            return f'<p class="note">{escape(text)}</p>'
        case Heading(text):
            return f"<h3>{escape(text)}</h3>"
        case Drawings(drawings):
            return f'<div class="drawings">{"".join(map(_html_drawing, drawings))}</div>'
        case Answers(shown):
            return f'<div class="cards two">{"".join(map(_html_answer, shown))}</div>'
        case Map(dots):
            return map_html(dots)
        case Terms(terms):
            pairs = "".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in terms)
            return f'<dl class="terms">{pairs}</dl>'


def _html_table(table: Table) -> str:
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in table.header)
    body = "".join(f"<tr>{''.join(map(_html_cell, range(len(row)), row))}</tr>" for row in table.rows)
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f"<details><summary>{escape(table.summary)}</summary>{html}</details>" if table.summary else html


def _html_cell(column: int, cell: Cell) -> str:
    if column == 0:
        return f"<th scope=row>{escape(cell.text)}</th>"
    text = f'<span class="{cell.tone}">{escape(cell.text)}</span>' if cell.tone else escape(cell.text)
    spread = f"<small>{escape(cell.spread)}</small>" if cell.spread else ""
    return f"<td>{text}{spread}</td>"


def _html_drawing(drawing: Drawing) -> str:
    return f"""<figure>
<div class="drawing{" wide" if drawing.wide else ""}">{drawing.svg}</div>
<figcaption class="note">{escape(drawing.caption)}</figcaption>
</figure>"""


def _html_answer(shown: Shown) -> str:
    return f"""<article>
<h4>{escape(shown.title)}</h4>
<p class="detail">{escape(shown.task)}, SC {number(shown.consistency, digits=2)}</p>
<p class="answer">{escape(shown.text)}</p>
<p class="detail">Teacher</p>
<p class="answer">{escape(shown.target)}</p>
</article>"""


# ---- Markdown


def _markdown_page(results: Results, sections: Sequence[Section]) -> str:
    parts = [
        "# Films told from their vectors alone",
        _plain(_lede(results)),
        f"**{_NOT_COMPARABLE}** The paper: [arXiv 2310.04475]({paper.LINK}).",
        "\n".join(f"- {_plain(sentence)}" for sentence in found(results)),
    ]
    for section in sections:
        parts += [f"## {_plain(section.title)}", _plain(section.opening), *map(_markdown, section.blocks)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Table():
            return _markdown_table(block)
        case Note(text):
            return _plain(text)
        case Heading(text):
            return f"### {_plain(text)}"
        case Drawings(drawings):
            return "\n\n".join(map(_markdown_picture, drawings))
        case Answers(shown):
            return "\n\n".join(map(_markdown_answer, shown))
        case Map(_, picture):
            return _markdown_picture(picture)
        case Terms(terms):
            return "\n".join(f"- **{_plain(term)}**: {_plain(meaning)}" for term, meaning in terms)


def _markdown_table(table: Table) -> str:
    head = [" | ".join(map(_plain, table.header)), " | ".join(["---", *["---:"] * (len(table.header) - 1)])]
    body = [" | ".join(f"{_plain(cell.text)} {cell.spread}".strip() for cell in row) for row in table.rows]
    text = "\n".join(f"| {line} |" for line in [*head, *body])
    if not table.summary:
        return text
    summary = escape(" ".join(table.summary.split()))  # within a tag Markdown's own escapes are not read
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _markdown_picture(drawing: Drawing) -> str:
    return f"![{_plain(drawing.caption)}](figures/{drawing.name}.png)"


def _markdown_answer(shown: Shown) -> str:
    label = f"**{_plain(shown.title)}**, {_plain(shown.task)}, SC {number(shown.consistency, digits=2)}"
    return f"{label}\n\n> {_plain(shown.text)}\n>\n> **Teacher**: {_plain(shown.target)}"


def _inline(cell: Cell) -> str:
    return f"{cell.text} {cell.spread}".strip()


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", escape(" ".join(text.split()), quote=False))


def _pictures(sections: Iterable[Section]) -> Iterator[Drawing]:
    for section in sections:
        for block in section.blocks:
            match block:
                case Drawings(drawings):
                    yield from drawings
                case Map(_, picture):
                    yield picture
                case _:
                    pass
