"""The whole experiment, step by step; what a step has written is not made again.

OUT/semantic.lance, behavioural.lance      what the models read, with the split
OUT/corpus.lance, profiles.lance           where texts about films and users are judged
OUT/films-0/, behavioural-0/               run folders of the models; films-0/report.json is for `vecspeak rate`
OUT/answers/                               answers as they came
OUT/steps/                                 what each finished step found, with its time
OUT/report/                                report.html, report.md, report.json
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vecspeak.encode import load_encoder
from vecspeak.maps import check_map, map_layout, pca_layout, tsne_layout, unit_square
from vecspeak.movielens.data import Data, make_spaces
from vecspeak.movielens.made_points import MadePoints, make_points, remote_rivals
from vecspeak.movielens.models import judge_behavioural, judge_films, judge_users, train_models
from vecspeak.movielens.pages import write_report
from vecspeak.movielens.results import Dot, Predictor, Results, Shown
from vecspeak.movielens.settings import Settings, Told, check_settings, keep_settings
from vecspeak.movielens.steps import Steps
from vecspeak.report import Report
from vecspeak.space import Space

LAYOUTS = {"UMAP": map_layout, "t-SNE": tsne_layout, "PCA": pca_layout}


def run_experiment(settings: Settings, out: Path, told: Told) -> Results:
    """From the release's folder to OUT/report; run again after an interruption it goes on.

    Raises:
        ConfigError: OUT holds an experiment with other settings, or a library that the report needs is missing.
        ModelError: the rival's endpoint does not answer.
        SpaceError: what `read_release` and the spaces refuse.
    """
    check_map()
    check_settings(settings, out)
    if not (out / "steps/made points.json").is_file():
        for ask in remote_rivals(settings).values():
            ask(["Say yes."])
    data = Data.read(settings)
    keep_settings(settings, out)
    steps = Steps(out / "steps", told.event)
    for note in data.notes:
        told.event(note)
    encoder = load_encoder(settings.encoder)
    notes = (*data.notes, *make_spaces(settings, out, steps, data, encoder))
    told.event(", ".join(f"{count:,} {what}" for what, count in data.counts.items()))
    films, users, behavioural = [], [], []
    for seed in range(settings.seeds):
        train_models(settings, out, steps, told, seed=seed)
        films.append(steps.once(f"film answers-{seed}", partial(judge_films, out, data, told, seed=seed), Report))
        (out / f"films-{seed}/report.json").write_text(films[-1].to_json(), encoding="utf-8")
        if data.profiles:
            users.append(steps.once(f"user answers-{seed}", partial(judge_users, out, data, told, seed=seed), Report))
        if settings.films_of_behaviour:
            step = f"answers from behaviour-{seed}"
            behavioural.append(steps.once(step, partial(judge_behavioural, out, data, told, seed=seed), Report))
    made = steps.once("made points", lambda: make_points(settings, out, data, encoder), MadePoints)
    dots = steps.once("maps", lambda: make_maps(Space.open(out / "semantic.lance")), tuple[Dot, ...])
    best, worst = best_and_worst(films[0])
    results = Results(
        release=data.release.name,
        base=settings.base,
        encoder=settings.encoder,
        seeds=tuple(range(settings.seeds)),
        counts=data.counts,
        notes=tuple(dict.fromkeys(notes)),
        steps=steps.taken(),
        predictors=steps.found("held-out ratings", tuple[Predictor, ...]),
        films=tuple(films),
        users=tuple(users),
        behavioural=tuple(behavioural),
        best=best,
        worst=worst,
        dots=dots,
        **dict(made),
    )
    write_report(results, out / "report")
    return results


def make_maps(films: Space) -> tuple[Dot, ...]:
    """Every film with a text, laid out three ways."""
    places = {name: unit_square(layout(films.vectors)) for name, layout in LAYOUTS.items()}
    columns = (films.column("title"), films.column("genres"), films.column("split"))
    return tuple(
        Dot(
            title=title,
            genre=genres[0] if genres else "none",
            side=side,
            places={name: (float(x), float(y)) for name, (x, y) in ((n, p[row]) for n, p in places.items())},
        )
        for row, (title, genres, side) in enumerate(zip(*columns, strict=True))
    )


def best_and_worst(report: Report, *, count: int = 5) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """The most and the least consistent of the model's own answers among the report's samples, each film once."""
    shown = [
        Shown(task=s.task, id=s.id, title=s.title or s.id, text=a.text, target=s.target, consistency=a.consistency)
        for s in report.samples
        for a in s.answers
        if a.decoding == "own"
    ]
    shown.sort(key=lambda answer: -answer.consistency)
    return _each_once(shown)[:count], _each_once(shown[::-1])[:count]


def _each_once(shown: Sequence[Shown]) -> tuple[Shown, ...]:
    first: dict[str, Shown] = {}
    for answer in shown:
        first.setdefault(answer.id, answer)
    return tuple(first.values())
