"""What the reports of models say: the result in a few sentences, and sections that compare the sources of texts.

"Paper" is arXiv 2310.04475.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan
from operator import attrgetter

from vecspeak.movielens import paper
from vecspeak.movielens.document import Cell, Heading, Note, Section, Table, count_of
from vecspeak.movielens.results import Results
from vecspeak.movielens.seeds import UNKNOWN, Column, Measure, Runs, above_zero, over_seeds
from vecspeak.report import MEAN_VECTOR, NEAREST, SHUFFLED, TEACHER

_SC: Measure = attrgetter("sc")
_TOP10: Measure = attrgetter("top10")


def _behaviour(name: str) -> Measure:
    return lambda scores: scores.behaviour.get(name, UNKNOWN)


_BC = {
    name: Column(f"BC {name}", _behaviour(f"BC {name}"))
    for name in ("NDCG, rated", "Spearman, rated", "NDCG, unrated = 0", "Spearman, unrated = 0")
}
_NDCG, _SPEARMAN = _BC["NDCG, unrated = 0"].measure, _BC["Spearman, unrated = 0"].measure
_NORMALISED = Column("normalised SC", attrgetter("normalised"), digits=2)
_INDEPENDENT = Column("independent top-10", attrgetter("independent_top10"), digits=2)

_BESIDE_THE_PAPER = (
    Column("SC", _SC),
    Column("floor", attrgetter("floor"), spread=False),
    Column("ceiling", attrgetter("ceiling"), spread=False),
    _NORMALISED,
    Column("top-10", _TOP10, digits=2),
    Column("mean rank", attrgetter("mean_rank"), digits=1, spread=False),
    _BC["Spearman, rated"],
    _BC["Spearman, unrated = 0"],
    replace(_BC["NDCG, rated"], spread=False),
    replace(_BC["NDCG, unrated = 0"], spread=False),
)
_CONTROLS = (
    Column("SC", _SC),
    _NORMALISED,
    Column("top-1", attrgetter("top1"), digits=2),
    Column("top-10", _TOP10, digits=2),
    Column("mean rank", attrgetter("mean_rank"), digits=1),
    _INDEPENDENT,
    _BC["Spearman, rated"],
)
_USERS = (*_BC.values(), _INDEPENDENT)
_BEHAVIOURAL = (_INDEPENDENT, _BC["Spearman, rated"], _BC["NDCG, rated"])

_HOW_SURE = (
    "In brackets: 95 % bootstrap intervals over entities; with several seeds instead the mean and standard deviation "
    "over seeds."
)
_VECTOR_USE = "vector use, nats/token"


# ---- the result in words


def found(results: Results) -> list[str]:
    """The result in a few sentences, each with its numbers."""
    runs = Runs(results.films)
    if not runs.tasks:
        return []
    return [_against_blind(runs), _against_neighbour(runs), *_vector_use(runs), *_profiles(Runs(results.users))]


def _against_blind(runs: Runs) -> str:
    def above(source: str, measure: Measure) -> set[str]:
        blind = (MEAN_VECTOR, SHUFFLED)
        return {task for task in runs.tasks if all(runs.beats(task, source, other, measure) for other in blind)}

    sc, top10 = above(runs.own, _SC), above(runs.own, _TOP10)
    missed = [task for task in runs.tasks if task not in sc & top10]
    others = [source for source in (*runs.sources("decoding", "selected"), TEACHER) if source != runs.own]
    both = [f"{source} {len(above(source, _SC) & above(source, _TOP10))}" for source in others]
    return (
        f"The answers ({runs.own}) fit their vector better than an answer to the mean vector and than answers about "
        f"other films, intervals apart, in {count_of(len(sc), len(runs.tasks), 'one-film tasks')} by semantic "
        f"consistency, in {len(top10)} by finding their own film among the first ten, and in {len(sc & top10)} by both"
        f"{_without(missed)}. Other sources of texts do so by both in: {'; '.join(both)}."
    )


def _without(tasks: Sequence[str]) -> str:
    return f" (not: {', '.join(tasks)})" if tasks else ""


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
    total = over_seeds([report.overall_gap for report in runs.reports])
    if total.text != "n/a":
        yield (
            f"With another film's vector the teacher's texts cost {total} nats per token more; vectors are "
            f"used, interval above zero, in {count_of(runs.using, len(runs.all_tasks), 'tasks')}."
        )


def _profiles(users: Runs) -> Iterator[str]:
    for task in users.tasks:
        told = [
            f"{name} {over_seeds(users.values(task, users.own, measure))} "
            f"(profiles of other users: {over_seeds(users.values(task, SHUFFLED, measure))})"
            for name, measure in (("NDCG", _NDCG), ("Spearman", _SPEARMAN))
        ]
        yield (
            "User profiles written from behavioural vectors rank held-out films, those never rated counting 0 as in "
            f"the paper, at {' and '.join(told)}."
        )


# ---- sections


def beside_the_paper(films: Runs) -> Iterator[Section]:
    if not films.all_tasks:
        return
    tasks = dict.fromkeys([*paper.TABLE_2, *films.all_tasks])
    above = sum(above_zero(films.values(task, films.own, _NORMALISED.measure)) for task in films.tasks)
    skipped = {task: reason for report in films.reports for task, reason in report.skipped.items()}
    yield Section(
        "Beside the paper's Table 2",
        f"The paper's figures, in italics, and ours ({films.own}), task by task; good is a normalised SC above 0, more "
        f"than answers about other films reach, and it is so in {count_of(above, len(films.tasks), 'one-film tasks')}.",
        (
            Note(
                "A high SC alone says little, since texts about films resemble each other: floor is what answers about "
                f"other films reach, ceiling the teacher's own text. {_HOW_SURE} A normalised SC above 1 says that the "
                "teacher's own text hardly fits its vector better than texts about other films do, which leaves no "
                "scale. Of two films at once only the vector use is measured."
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


def controls(films: Runs) -> Iterator[Section]:
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
        f"({films.own}) it is ahead in {count_of(ahead, len(films.tasks), 'tasks')}.",
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


def user_profiles(users: Runs) -> Iterator[Section]:
    for task in users.tasks:
        verdicts = []
        for name, measure in (("NDCG", _NDCG), ("Spearman", _SPEARMAN)):
            behind = [c for c in (MEAN_VECTOR, SHUFFLED, NEAREST) if users.beats(task, users.own, c, measure)]
            verdicts.append(f"by {name} than: {', '.join(behind) or 'none'}")
        gap = over_seeds(users.gaps(task))
        yield Section(
            "User profiles",
            "Does a profile written from a user's behavioural vector rank held-out films as the user did, those never "
            f"rated counting 0? The model ({users.own}) is better, intervals apart, {'; '.join(verdicts)}.",
            (
                _control_table(users, task, _USERS),
                Note(f"Vector use: another user's vector costs {gap} nats per token more. {_HOW_SURE}"),
            ),
        )


def behavioural(runs: Runs) -> Iterator[Section]:
    if not runs.all_tasks:
        return
    pairs = [(column, source) for column in _BEHAVIOURAL for source in (runs.own, NEAREST)]
    names = {runs.own: runs.own, NEAREST: "nearest film's text"}
    rows = tuple(
        (Cell(task), *(column.cell(runs, task, source) for column, source in pairs), over_seeds(runs.gaps(task)))
        for task in runs.all_tasks
    )
    yield Section(
        "Films by behavioural vectors",
        "The same questions asked of vectors that know only who rated what; the vectors are used, interval above zero, "
        f"in {count_of(runs.using, len(runs.all_tasks), 'tasks')}.",
        (Table(("task", *(f"{column.name}, {names[source]}" for column, source in pairs), _VECTOR_USE), rows),),
    )
