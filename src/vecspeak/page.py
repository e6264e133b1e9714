"""The demo's page: answers, a map of the space and the training curves as one HTML file that needs no other.

`render` is a pure function of typed data. Numbers that touch a drawing are in the units of its viewBox;
labels are HTML beside the drawing, placed in percent, so that they keep their size on a phone.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from math import ceil, floor

from vecspeak.stages import Gate

MAIN_GROUPS = 6
"""Groups of the map with a colour of their own; the style sheet has as many, and one for the rest."""

FAR = 90
"""Percentile of the distance to the data above which an answer says so."""

WIDTH, HEIGHT, MARGIN = 960, 600, 34
"""Of the map, in its own units."""


@dataclass(frozen=True)
class Card:
    """One question about a point or two, its answer, and how far to trust it."""

    title: str
    """What was asked about; the model never sees it."""
    detail: str
    """A few words beside the title."""
    marks: tuple[int, ...]
    """Numbers of the points on the map, from 1."""
    prompt: str
    answer: str
    words: tuple[str, ...]
    """The instant reading."""
    consistency: float
    """Semantic consistency, -1..1."""
    distance: float
    """Percentile 0..100."""
    nearest: tuple[str, ...]
    """Titles of the nearest entities; empty for a question about two points."""


@dataclass(frozen=True)
class Place:
    """A point of the space on the map, in any units."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Entity(Place):
    """An entity on the map."""

    group: str


@dataclass(frozen=True)
class Curve:
    """Loss of every step of a stage, in nats per target token."""

    stage: str
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Training:
    """What a fresh model learnt while the demo ran."""

    seconds: float
    examples: int
    """Seen in training, repeats counted."""
    curves: tuple[Curve, ...]
    before: Gate
    after: Gate
    held_out: int
    """Examples the gate was measured on."""
    title: str
    """Who the question is about."""
    prompt: str
    answer_before: str
    answer_after: str


@dataclass(frozen=True)
class Page:
    """Everything the page shows."""

    dimension: int
    """Numbers per vector."""
    parameters: int
    """Of the bundled model."""
    entities: tuple[Entity, ...]
    marks: tuple[Place, ...]
    """Points asked about, in the order of their numbers."""
    held_out: tuple[Card, ...]
    made: tuple[Card, ...]
    """Questions about points no entity has, and about two points at once."""
    training: Training | None
    """None where the demo did not train."""


def distance_in_words(percentile: float) -> str:
    """What a distance to the data (0..100) means, for films."""
    return "among the data" if percentile <= FAR else f"farther out than {percentile:.0f} % of films"


def render(page: Page) -> str:
    """The page as HTML."""
    style = resources.files("vecspeak").joinpath("page.css").read_text("utf-8")
    training = _training(page.training) if page.training else ""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>vecspeak demo</title>
<style>
{style}</style>
<body>
<header>
<p class="brand">vecspeak</p>
<h1>What does a vector say?</h1>
<p class="lede">A language model of {page.parameters / 1e6:.0f} million parameters was given {page.dimension}
numbers per film: no title, no text. The films it is asked about here were held out of its training.</p>
</header>
<main>
<section>
<h2>The films, by their vectors</h2>
{_map(page)}
</section>
<section>
<h2>Films it has never met</h2>
{_trust_note()}
{_cards(page.held_out)}
</section>
<section>
<h2>Where no film is, and two at once</h2>
<p class="note">Any point of the space can be asked about, also one where no film is.</p>
{_cards(page.made)}
</section>
{training}
</main>
<footer>Written by <code>vecspeak demo</code>. The answers are unpicked; a small model is often wrong about
particulars. The film texts were written for this project; ids and genres are MovieLens'.</footer>
</body>
</html>
"""


def _trust_note() -> str:
    return (
        '<p class="note"><b>First words</b> are the vocabulary nearest to what the adapter makes of the vector, '
        "read off before any text is written. <b>Consistency</b> is the cosine between the answer, encoded again, "
        "and the film&rsquo;s vector: 1 says the same, 0 says nothing about it.</p>"
    )


# ---- answers


def _cards(cards: Iterable[Card]) -> str:
    return f'<div class="cards">{"".join(map(_card, cards))}</div>'


def _card(card: Card) -> str:
    nearest = f"<dt>Nearest</dt><dd>{escape(', '.join(card.nearest))}</dd>" if card.nearest else ""
    bar = round(100 * min(max(card.consistency, 0.0), 1.0))
    return f"""
<article>
<h3>{"".join(f'<span class="badge">{number}</span>' for number in card.marks)}<span>{escape(card.title)}</span></h3>
<p class="detail">{escape(card.detail)}</p>
<p class="prompt">{escape(card.prompt)}</p>
<p class="answer">{escape(card.answer)}</p>
<dl>
<dt>First words</dt><dd>{escape(", ".join(card.words))}</dd>
<dt>Consistency</dt><dd><span class="meter"><i style="width:{bar}%"></i></span>{card.consistency:.2f}</dd>
<dt>Distance</dt><dd>{escape(distance_in_words(card.distance))}</dd>
{nearest}
</dl>
</article>"""


# ---- map


def _map(page: Page) -> str:
    groups = [name for name, _ in Counter(entity.group for entity in page.entities).most_common(MAIN_GROUPS)]
    xs, ys = zip(*_fitted([*page.entities, *page.marks]), strict=True)
    dots = "".join(
        f'<circle class="g{_group(entity.group, groups)}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
        f"<title>{escape(entity.title)}</title></circle>"
        for entity, x, y in zip(page.entities, xs, ys, strict=False)
    )
    first = len(page.entities)
    marks = "".join(
        _mark(number, mark.title, x / WIDTH, y / HEIGHT)
        for number, (mark, x, y) in enumerate(zip(page.marks, xs[first:], ys[first:], strict=True), 1)
    )
    others = "" if {entity.group for entity in page.entities} <= set(groups) else _legend(MAIN_GROUPS, "other")
    legend = "".join(_legend(number, name) for number, name in enumerate(groups)) + others
    key = "".join(f'<li><span class="badge">{i}</span>{escape(m.title)}</li>' for i, m in enumerate(page.marks, 1))
    return f"""<figure>
<div class="map">
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Map of {len(page.entities)} films">{dots}</svg>
{marks}
</div>
<ul class="key">{key}</ul>
<ul class="legend">{legend}</ul>
<figcaption class="note">{len(page.entities)} films, laid out by UMAP so that near vectors lie near; colour is the
first genre. Point at a dot for its title.</figcaption>
</figure>"""


def _fitted(places: Sequence[Place]) -> list[tuple[float, float]]:
    """Places in the map's units, stretched to fill it; the axes of such a map mean nothing."""
    spans = []
    for values, size in (([p.x for p in places], WIDTH), ([-p.y for p in places], HEIGHT)):
        low, high = min(values), max(values)
        scale = (size - 2 * MARGIN) / ((high - low) or 1.0)
        spans.append([MARGIN + (value - low) * scale for value in values])
    return list(zip(*spans, strict=True))


def _group(name: str, groups: Sequence[str]) -> int:
    return groups.index(name) if name in groups else MAIN_GROUPS


def _mark(number: int, title: str, x: float, y: float) -> str:
    side = "left" if x > 0.7 else "right"
    return (
        f'<div class="mark {side}" style="left:{100 * x:.2f}%;top:{100 * y:.2f}%">'
        f'<span class="badge">{number}</span><span class="label">{escape(title)}</span></div>'
    )


def _legend(number: int, name: str) -> str:
    return f'<li><i class="dot g{number}"></i>{escape(name)}</li>'


# ---- training


def _training(training: Training) -> str:
    verdict = (
        "The fresh model uses its vectors: with another film&rsquo;s, held-out texts cost more."
        if training.after.open
        else "So short a training has not made the model use its vectors beyond chance."
    )
    return f"""<section>
<h2>Trained while you watched</h2>
<p class="note">A fresh adapter on the bundled base, {training.seconds:.0f} seconds, {training.examples:,} examples: the
adapter, solved from the texts, is trained alone and then with everything else. {verdict}</p>
<div class="training">
{_chart(training.curves)}
{_gates(training)}
</div>
<h3>{escape(training.title)}</h3>
<p class="prompt">{escape(training.prompt)}</p>
<div class="cards two">
<article><p class="detail">Before training</p><p class="answer">{escape(training.answer_before)}</p></article>
<article><p class="detail">After training</p><p class="answer">{escape(training.answer_after)}</p></article>
</div>
</section>"""


def _gates(training: Training) -> str:
    before, after = training.before, training.after
    rows = (
        ("right vector", f"{before.right:.2f}", f"{after.right:.2f}"),
        ("another film&rsquo;s vector", f"{before.shuffled:.2f}", f"{after.shuffled:.2f}"),
        ("difference", f"{before.gap:+.3f}", f"{after.gap:+.3f}"),
    )
    body = "".join(f"<tr><th scope=row>{name}</th><td>{old}</td><td>{new}</td></tr>" for name, old, new in rows)
    return f"""<div>
<table>
<thead><tr><th scope=col>Loss with the</th><th scope=col>before</th><th scope=col>after</th></tr></thead>
<tbody>{body}</tbody>
</table>
<p class="note">Nats per token on {training.held_out} texts of held-out films. The difference is what the vectors
are worth; the 95&nbsp;% interval of the last one begins at {after.low:+.3f}.</p>
</div>"""


def _chart(curves: Sequence[Curve]) -> str:
    """Loss by step: every step faint, the running mean on it."""
    losses = [loss for curve in curves for loss in curve.losses]
    ticks = _ticks(min(losses), max(losses))
    low, high = ticks[0], ticks[-1]
    lines, names, first = "", "", 0
    for curve in curves:
        raw = _line(curve.losses, first=first, steps=len(losses), low=low, high=high)
        mean = _line(_running_mean(curve.losses), first=first, steps=len(losses), low=low, high=high)
        left = 100 * first / len(losses)
        lines += f'<polyline class="raw" points="{raw}"/><polyline class="mean" points="{mean}"/>'
        lines += f'<line class="edge" x1="{left:.2f}" x2="{left:.2f}" y1="0" y2="100"/>' if first else ""
        names += f'<span class="stage" style="left:{left:.2f}%">{escape(curve.stage)}</span>'
        first += len(curve.losses)
    heights = [(tick, 100 * (high - tick) / (high - low)) for tick in ticks]
    grid = "".join(f'<line class="grid" x1="0" x2="100" y1="{y:.2f}" y2="{y:.2f}"/>' for _, y in heights)
    labels = "".join(f'<span class="tick" style="top:{y:.2f}%">{tick:g}</span>' for tick, y in heights)
    return f"""<figure>
<div class="chart">
<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="Training loss">{grid}{lines}</svg>
{labels}{names}
</div>
<figcaption class="note">Training loss, nats per token, over {len(losses)} steps.</figcaption>
</figure>"""


def _line(losses: Sequence[float], *, first: int, steps: int, low: float, high: float) -> str:
    return " ".join(
        f"{100 * (first + i + 0.5) / steps:.2f},{100 * (high - loss) / (high - low):.2f}"
        for i, loss in enumerate(losses)
    )


def _running_mean(losses: Sequence[float]) -> list[float]:
    """Mean of each loss and those before it, a tenth of the stage at most."""
    window = max(1, len(losses) // 10)
    parts = [losses[max(0, i + 1 - window) : i + 1] for i in range(len(losses))]
    return [sum(part) / len(part) for part in parts]


def _ticks(low: float, high: float) -> list[float]:
    """Two to seven round values that enclose the range."""
    span = max(high - low, 1e-3)
    step = next(s for power in range(-4, 5) for s in (1 * 10**power, 2 * 10**power, 5 * 10**power) if span / s <= 5)
    first = floor(low / step)
    return [round(i * step, 6) for i in range(first, max(ceil(high / step), first + 1) + 1)]
