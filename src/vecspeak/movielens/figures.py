"""The report's figures: each drawn once, as SVG for the page and as PNG for Markdown.

Colours are those of the style sheets; in the SVG they become its variables, so that dark mode reaches them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO, StringIO
from math import floor, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from vecspeak.metrics import Interval
from vecspeak.movielens.paper import FIGURE_3
from vecspeak.movielens.results import Blend, Dot, Push, Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, RULE, PAPER, ACCENT = "#1c1b19", "#625d55", "#e4dfd6", "#fbfaf7", "#b8420f"
COLOURS = ("#4a78ac", "#d3a02c", "#7d5a9e", "#3f9070", "#6d7076", "#d07a9c", "#8a5a3c", "#4fa9b5")
REST = "#c9c3b8"
"""Of genres and lines beyond the eight that have a colour of their own."""

_VARIABLES = {
    INK: "currentColor",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
    REST: "var(--rest)",
    **{colour: f"var(--g{number})" for number, colour in enumerate(COLOURS)},
}

_FONT = 10.5
"""Points, of which a figure's width has 72 per inch and the page some more."""

_SETTINGS: dict[Any, Any] = {
    "font.size": _FONT,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "ytick.left": False,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure."""

    name: str
    """Of its file."""
    caption: str
    svg: str
    """For inlining in HTML; empty for the map."""
    png: bytes
    wide: bool = False
    """Whether it is too wide for a phone, where it then scrolls."""


# ---- Fig. 3


def draw_blends(blends: Sequence[Blend]) -> Drawing:
    """Fig. 3: a group of lanes per task, one lane per source, and a last one with the paper's hollow marks."""
    tasks, sources = _distinct(blend.task for blend in blends), _distinct(blend.source for blend in blends)
    of = {(blend.task, blend.source): blend.consistency for blend in blends}
    lanes = len(sources) + 1
    with _figure(7.6, 0.75 + len(tasks) * (lanes + 1) * 0.185) as (figure, axes):
        figure.subplots_adjust(left=0.21, right=0.985, top=1 - 0.3 / figure.get_figheight(), bottom=0.07)
        values = [end for x in of.values() for end in (x.low, x.high) if isfinite(end)]
        values += [value for task in tasks for value in FIGURE_3.get(task, ())]
        axes.set_xlim(floor(10 * min(values, default=0.0)) / 10, max([1.0, *values]) + 0.02)
        axes.set_ylim(len(tasks) * (lanes + 1) - 0.5, -0.9)
        axes.set_yticks([i * (lanes + 1) + (lanes - 1) / 2 for i in range(len(tasks))], list(map(_task_label, tasks)))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(axis="y", visible=False)
        for row in range(1, len(tasks)):
            axes.axhline(row * (lanes + 1) - 1, color=RULE, linewidth=0.7)
        for lane, source in enumerate(sources):
            _draw_lane(axes, source, [of.get((task, source)) for task in tasks], lane=lane, lanes=lanes)
        _draw_paper(axes, tasks, lanes=lanes)
        caption = "Texts about the middle of two points, judged at the middle; hollow: the paper's Fig. 3."
        return replace(_finished(figure, "blends", caption), wide=True)


def _draw_lane(axes: "Axes", source: str, intervals: Sequence[Interval | None], *, lane: int, lanes: int) -> None:
    colour, marker = (ACCENT, *COLOURS)[lane % 9], "o^sDvPX"[lane % 7]
    labelled = False
    for row, x in enumerate(intervals):
        if x is None or not isfinite(x.value):
            continue
        y = row * (lanes + 1) + lane
        low, high = (end if isfinite(end) else x.value for end in (x.low, x.high))
        axes.plot([low, high], [y, y], color=colour, linewidth=1.3, solid_capstyle="butt")
        axes.plot([x.value], [y], marker, color=colour, markersize=5, markeredgewidth=0)
        if not labelled:
            _label_beside(axes, source, low, high, y)
            labelled = True


def _label_beside(axes: "Axes", text: str, low: float, high: float, y: float) -> None:
    left, right = axes.get_xlim()
    to_the_left = high > left + 0.6 * (right - left)
    at, anchor = (low - 0.015, "right") if to_the_left else (high + 0.015, "left")
    axes.text(at, y, text, color=INK, ha=anchor, va="center_baseline", fontsize=_FONT - 1)


def _draw_paper(axes: "Axes", tasks: Sequence[str], *, lanes: int) -> None:
    """The paper's figures as hollow marks, explained above the axes: in a lane of one they could collide."""
    marks = (("o", "ELM"), ("^", "PaLM 2-L"), ("s", "GPT-4"))
    for row, task in enumerate(tasks):
        for (marker, _), value in zip(marks, FIGURE_3.get(task, ()), strict=False):
            _hollow(axes, [value], [row * (lanes + 1) + lanes - 1], marker)
    handles = [_hollow(axes, [], [], marker) for marker, _ in marks]
    axes.legend(
        handles, [f"paper, {name}" for _, name in marks], ncols=3, loc="lower right", bbox_to_anchor=(1, 1),
        frameon=False, fontsize=_FONT - 1, labelcolor=QUIET, handletextpad=0.1, borderaxespad=0.1, columnspacing=1.2,
    )  # fmt: skip


def _hollow(axes: "Axes", xs: list[float], ys: list[float], marker: str):
    return axes.plot(xs, ys, marker, color=QUIET, markerfacecolor="none", markersize=5, markeredgewidth=1)[0]


def _task_label(task: str) -> str:
    return f"{task}\n(NDCG)" if task == "user_profile" else task


# ---- Fig. 4 and 5


@dataclass(frozen=True)
class _Line:
    name: str
    xs: tuple[float, ...]
    values: tuple[Interval, ...]
    colour: str
    band: bool = True
    """Draw the intervals."""

    @property
    def end(self) -> tuple[float, float] | None:
        """The last point that was measured."""
        points = [(x, y.value) for x, y in zip(self.xs, self.values, strict=True) if isfinite(y.value)]
        return points[-1] if points else None


def draw_paths(paths: Sequence[Way]) -> list[Drawing]:
    """Fig. 4: a figure per task, with a line per way; a way has one colour in all of them."""
    colours = {"interpolation": ACCENT} | _colours([path.name for path in paths if path.name != "interpolation"])
    drawings = []
    for number, task in enumerate(_distinct(path.task for path in paths), 1):
        lines = [_Line(p.name, p.shares, p.consistency, colours[p.name]) for p in paths if p.task == task]
        drawings.append(
            _draw_lines(
                lines,
                levels={},
                labels=("share of the way", "SC"),
                name=f"paths-{number}",
                caption=f"{task}: consistency of the answers along each way, with their intervals.",
            )
        )
    return drawings


def draw_pushes(pushes: Sequence[Push], *, random: float, teacher: float) -> Drawing:
    """Fig. 5: a line per concept, between what a random ranking and the teacher's profiles reach."""
    colours = _colours([push.concept for push in pushes])
    return _draw_lines(
        # no bands: the users' own spread, the same for every concept, would lie over all of them
        [_Line(push.concept, push.strengths, push.ndcg, colours[push.concept], band=False) for push in pushes],
        levels={"random ranking": random, "teacher, not pushed": teacher},
        labels=("strength of the push, standard deviations", "NDCG"),
        name="pushes",
        caption="NDCG of the profiles of pushed users, on the ratings predicted where they were pushed to.",
    )


def _colours(names: Sequence[str]) -> dict[str, str]:
    return {name: COLOURS[i] if i < len(COLOURS) else REST for i, name in enumerate(_distinct(names))}


def _draw_lines(
    lines: Sequence[_Line], *, levels: dict[str, float], labels: tuple[str, str], name: str, caption: str
) -> Drawing:
    """Lines with bands, named at their ends; `levels` are dashed."""
    with _figure(5.6, 3.6) as (figure, axes):
        figure.subplots_adjust(left=0.1, right=0.67, top=0.91, bottom=0.14)
        axes.set_xlabel(labels[0], color=QUIET, loc="left")
        axes.text(0, 1.03, labels[1], transform=axes.transAxes, color=QUIET, ha="left")
        axes.grid(axis="x", visible=False)
        for line in lines:
            _draw_line(axes, line)
        levels = {label: level for label, level in levels.items() if isfinite(level)}
        for level in levels.values():
            axes.axhline(level, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axes.margins(x=0.02)
        ends = [(label, level, QUIET) for label, level in levels.items()]
        ends += [(line.name, line.end[1], line.colour) for line in lines if line.end]
        _name_ends(axes, ends)
        return _finished(figure, name, caption)


def _draw_line(axes: "Axes", line: _Line) -> None:
    width = 2.4 if line.colour == ACCENT else 1.7
    values = [[x.value for x in line.values], [x.low for x in line.values], [x.high for x in line.values]]
    if line.band:
        axes.fill_between(line.xs, values[1], values[2], color=line.colour, alpha=0.1, linewidth=0)
    axes.plot(line.xs, values[0], color=line.colour, linewidth=width, solid_capstyle="round", marker="o", markersize=3)


def _name_ends(axes: "Axes", ends: Sequence[tuple[str, float, str]]) -> None:
    """Labels to the right of the axes, at the heights of their lines or as near as they can be told apart."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    box = axes.get_position()
    points = box.height * axes.figure.get_figheight() * 72  # type: ignore[union-attr]
    places = spread([y for _, y, _ in ends], gap=1.15 * _FONT * (high - low) / points)
    right = axes.get_xlim()[1]
    leader = {"arrowstyle": "-", "linewidth": 1, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 0}
    for (label, y, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            label, (right, y), xytext=(1.045, (place - low) / (high - low)), textcoords="axes fraction",
            color=INK, va="center_baseline", ha="left", annotation_clip=False,
            arrowprops={**leader, "color": colour},
        )  # fmt: skip


def spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """The heights, moved as little as can be (least squares) so that none is nearer to the next than the gap."""
    from sklearn.isotonic import isotonic_regression

    if not heights:
        return []
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    placed = np.empty(len(heights))
    placed[order] = isotonic_regression(np.asarray(heights, np.float64)[order] - steps) + steps
    return placed.tolist()


# ---- the map

WIDTH, HEIGHT, MARGIN = 1000, 640, 12
"""Of the map, in its own units."""


def draw_map(dots: Sequence[Dot]) -> Drawing:
    """The first layout alone as a picture; the page has `map_html` instead of its SVG."""
    layout = next(iter(dots[0].places))
    genres = main_genres(dots)
    with _figure(8.4, 4.8) as (figure, axes):
        figure.subplots_adjust(left=0.01, right=0.8, top=0.99, bottom=0.01)
        axes.set_axis_off()
        colours: dict[str, str] = dict(zip(genres, COLOURS, strict=False))
        for held in (False, True):  # held-out films on top
            side = [dot for dot in dots if (dot.side == "test") == held]
            axes.scatter(
                [dot.places[layout][0] for dot in side], [dot.places[layout][1] for dot in side], s=8, linewidths=0.6,
                c=[colours.get(dot.genre, REST) for dot in side], edgecolors=INK if held else "none",
            )  # fmt: skip
        if any(dot.genre not in colours for dot in dots):
            colours["other"] = REST
        handles = [axes.scatter([], [], s=8, color=colour) for colour in colours.values()]
        axes.legend(
            handles, list(colours), loc="upper left", bbox_to_anchor=(1, 1), frameon=False,
            markerscale=2, handletextpad=0.2,
        )  # fmt: skip
        return _finished(figure, "map", f"{len(dots)} films by {layout}; outlined: held out.", svg=False)


def map_html(dots: Sequence[Dot]) -> str:
    """The map with a choice of layouts: one circle per film, whose places the choices carry."""
    layouts, genres = list(dots[0].places), main_genres(dots)
    # drawn last, so on top
    dots = sorted(dots, key=lambda dot: dot.side == "test")
    choices = "".join(_choice(layout, dots, first=layout == layouts[0]) for layout in layouts)
    circles = "".join(_circle(dot, genres, layout=layouts[0]) for dot in dots)
    others = any(dot.genre not in genres for dot in dots)
    names = [*((f"g{i}", genre) for i, genre in enumerate(genres)), *([("rest", "other")] if others else [])]
    legend = "".join(f'<li><i class="dot {colour}"></i>{escape(name)}</li>' for colour, name in names)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Map of {len(dots)} films">{circles}</svg>'
    return f"""<figure>
<div class="layouts">{choices}</div>
<div class="map">{svg}</div>
<ul class="legend">{legend}<li><i class="dot held"></i>held out</li></ul>
</figure>
<script>
const dots = document.querySelectorAll(".map circle");
for (const choice of document.querySelectorAll("[data-places]")) choice.onchange = () => {{
  const places = choice.dataset.places.split(" ");
  dots.forEach((dot, i) => {{ dot.setAttribute("cx", places[2 * i]); dot.setAttribute("cy", places[2 * i + 1]); }});
}};
</script>"""


def main_genres(dots: Sequence[Dot]) -> list[str]:
    """The most frequent genres, as many as there are colours."""
    return [genre for genre, _ in Counter(dot.genre for dot in dots).most_common(len(COLOURS))]


def _choice(layout: str, dots: Sequence[Dot], *, first: bool) -> str:
    places = " ".join(f"{x:g} {y:g}" for x, y in (_place(dot, layout) for dot in dots))
    # without autocomplete off a browser restores the choice on reload, but not the places
    return (
        f'<label><input type="radio" name="layout" autocomplete="off"{" checked" if first else ""} '
        f'data-places="{places}">{escape(layout)}</label>'
    )


def _circle(dot: Dot, genres: Sequence[str], *, layout: str) -> str:
    colour = f"g{genres.index(dot.genre)}" if dot.genre in genres else "rest"
    held = " held" if dot.side == "test" else ""
    x, y = _place(dot, layout)
    return f'<circle class="{colour}{held}" cx="{x:g}" cy="{y:g}" r="2.4"><title>{escape(dot.title)}</title></circle>'


def _place(dot: Dot, layout: str) -> tuple[float, float]:
    x, y = dot.places[layout]
    return (
        round(MARGIN + x * (WIDTH - 2 * MARGIN), 1),
        round(HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN), 1),
    )


# ---- from matplotlib to files


@contextmanager
def _figure(width: float, height: float) -> "Iterator[tuple[Figure, Axes]]":
    """A figure of so many inches, in the report's style for as long as the context lasts."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height))
        yield figure, figure.add_subplot()


def _finished(figure: "Figure", name: str, caption: str, *, svg: bool = True) -> Drawing:
    png = BytesIO()
    figure.savefig(png, format="png", dpi=200, facecolor=PAPER)
    return Drawing(name, caption, _svg(figure, name, caption) if svg else "", png.getvalue())


def _svg(figure: "Figure", name: str, caption: str) -> str:
    from matplotlib import rc_context

    out = StringIO()
    # salted with the name, the ids that are referred to are unique in the page and the same from run to run
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(
            out, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    body = out.getvalue().partition("</defs>")[2]  # without the outer tag, whose sizes are fixed, and a style for all
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;]*;", "", body)
    body = re.sub("|".join(_VARIABLES), lambda colour: _VARIABLES[colour.group()], body)
    width, height = (72 * inches for inches in figure.get_size_inches())
    style = f"max-width:{1.28 * width:.0f}px"
    return f'<svg viewBox="0 0 {width:g} {height:g}" style="{style}" role="img" aria-label="{escape(caption)}">{body}'


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
