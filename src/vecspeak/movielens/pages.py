"""The report of the experiment: one HTML page that needs no other file, Markdown with pictures, and JSON.

"Paper" is arXiv 2310.04475.
"""

import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import isnan, nan
from pathlib import Path
from statistics import fmean

from vecspeak.errors import ConfigError
from vecspeak.metrics import Interval
from vecspeak.movielens import comparisons, paper
from vecspeak.movielens.document import (
    Answers,
    Block,
    Cell,
    Document,
    Drawings,
    Heading,
    Map,
    Note,
    Section,
    Table,
    Terms,
    count_of,
    number,
)
from vecspeak.movielens.figures import draw_blends, draw_map, draw_paths, draw_pushes
from vecspeak.movielens.results import FROM_VECTOR, Results
from vecspeak.movielens.seeds import UNKNOWN, Runs, over_seeds
from vecspeak.spacefile import put_in_place

FILES = ("report.html", "report.md", "report.json")

_NOT_COMPARABLE = (
    "Base model, encoder, texts and data differ from the paper's. Its figures stand beside ours for orientation; they "
    "are not comparable."
)


def write_report(results: Results, folder: Path) -> None:
    """Write report.html, report.md, report.json and figures/*.png as the folder, which is there whole or not at all.

    An older report there is replaced once the new one is complete.

    Raises:
        ConfigError: `check_folder` refuses.
        SpaceError: the finished folder could not be renamed to its name.
    """
    check_folder(folder)
    document = _document(results)
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.new")
    try:
        (fresh / "figures").mkdir(parents=True)
        (fresh / "report.html").write_text(document.html(), encoding="utf-8")
        (fresh / "report.md").write_text(document.markdown(), encoding="utf-8")
        (fresh / "report.json").write_text(results.model_dump_json(indent=1), encoding="utf-8")
        for drawing in document.pictures():
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


def _document(results: Results) -> Document:
    return Document(
        title=f"{results.release}: the paper's experiment",
        heading="Films told from their vectors alone",
        lede=_lede(results),
        caution=_NOT_COMPARABLE,
        findings=tuple(comparisons.found(results)),
        sections=tuple(_sections(results)),
    )


def _lede(results: Results) -> str:
    seeds = f"seed {results.seeds[0]}" if len(results.seeds) == 1 else f"seeds {', '.join(map(str, results.seeds))}"
    return (
        f"The paper's experiment on {results.release}, with the base {results.base} and the encoder {results.encoder} "
        f"({seeds}): a language model is given one vector and asked 24 things about its film."
    )


def _sections(results: Results) -> Iterator[Section]:
    films = Runs(results.films)
    parts: list[Iterable[Section]] = [
        [_data(results)],
        _predictors(results),
        comparisons.beside_the_paper(films),
        comparisons.controls(films),
        comparisons.user_profiles(Runs(results.users)),
        comparisons.behavioural(Runs(results.behavioural)),
        _blends(results),
        _paths(results),
        _pushes(results),
        _examples(results),
        _map(results),
        [_definitions(results)],
    ]
    return chain.from_iterable(parts)


# ---- data


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


# ---- made points

_NUMBERS = "The numbers behind the figure"


def _blends(results: Results) -> Iterator[Section]:
    if not results.blends:
        return
    of = {(blend.task, blend.source): blend.consistency for blend in results.blends}
    tasks, sources = (list(dict.fromkeys(names)) for names in zip(*of, strict=True))
    rows = []
    for task in tasks:
        ours = [over_seeds([of.get((task, source), UNKNOWN)]) for source in sources]
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
    mine = {task: x.value for (task, source), x in of.items() if source == FROM_VECTOR}
    parts = []
    for other in dict.fromkeys(source for _, source in of if source != FROM_VECTOR):
        leads = [mine.get(task, nan) - x.value for (task, source), x in of.items() if source == other]
        leads = [lead for lead in leads if not isnan(lead)]
        parts.append(f'"{other}" in {sum(lead > 0 for lead in leads)} of {len(leads)}')
    return f"; answers from the vector are ahead of {', of '.join(parts)} tasks" if mine and parts else ""


def _paths(results: Results) -> Iterator[Section]:
    if not results.paths:
        return
    tables = [
        _points_table(path.task, [(p.name, p.shares, p.consistency) for p in results.paths if p.task == path.task])
        for path in {path.task: path for path in results.paths}.values()
    ]
    measured = [[x.value for x in path.consistency if not isnan(x.value)] for path in results.paths]
    drops = [values[0] - min(values) for values in measured if values]
    drop = number(fmean(drops) if drops else nan)
    yield Section(
        "Ways through the space (Fig. 4)",
        "Consistency of the answers at points on the way from a film to another one or along a concept; good is a line "
        f"that stays up, and on average the lowest point of a line is {drop} below its start.",
        (Drawings(tuple(draw_paths(results.paths))), *tables),
    )


def _pushes(results: Results) -> Iterator[Section]:
    if not results.pushes:
        return
    ends = [[x.value for x in push.ndcg if not isnan(x.value)] for push in results.pushes]
    rising = sum(values[-1] > values[0] for values in ends if values)
    drawing = draw_pushes(results.pushes, random=results.push_random, teacher=results.push_teacher)
    yield Section(
        "Pushed users (Fig. 5)",
        "Profiles of users moved along a concept, judged by the ratings predicted where they were moved to; good is "
        f"above a random ranking ({number(results.push_random)}), and {count_of(rising, len(ends), 'lines')} end "
        f"higher than they begin (teacher's profiles, not pushed: {number(results.push_teacher)}).",
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
