"""The demo's page: everything is on it, everything is escaped, and it asks the network for nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from vecspeak.page import (
    MAIN_GROUPS,
    Card,
    Curve,
    Entity,
    Page,
    Place,
    Training,
    _fitted,
    _running_mean,
    _ticks,
    distance_in_words,
    render,
)
from vecspeak.stages import Gate

VOID = {"meta", "circle", "line", "polyline"}
NASTY = "<script>alert('x')</script> & \"quotes\""

CARD = Card(
    "Jaws (1975)", "Action, Horror", (1,), "Summarise {film}.", "A shark.", ("sea", "fear"), 0.52, 97.4, ("Orca",)
)
TRAINING = Training(
    seconds=183.4,
    examples=12_345,
    curves=(Curve("align", (5.0, 4.9, 4.8)), Curve("tune", (4.7, 4.2))),
    before=Gate(5.01, 5.02, -0.003),
    after=Gate(4.21, 4.45, 0.181),
    held_out=90,
    title="Jaws",
    prompt="Summarise {film}.",
    answer_before="The the the.",
    answer_after="A shark comes.",
)
PAGE = Page(
    dimension=384,
    parameters=14_150_000,
    entities=tuple(Entity(i % 7, i * i % 11, f"Film {i}", f"genre{i % 9}") for i in range(40)),
    marks=(Place(1.0, 2.0, "Jaws"), Place(6.5, 3.0, "halfway between 1 and 2")),
    held_out=(CARD,),
    made=(replace(CARD, title="Two at once", marks=(1, 2), nearest=()),),
    training=TRAINING,
)


class Reader(HTMLParser):
    """Checks that tags close in order; collects tags, attributes and text."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def text_of(html: str) -> str:
    return " ".join(" ".join(Reader(html).texts).split())


def test_every_tag_closes() -> None:
    assert Reader(render(PAGE)).open == []


def test_all_parts_are_there() -> None:
    reader, text = Reader(render(PAGE)), text_of(render(PAGE))
    for part in ("14 million", "384 numbers", "Jaws (1975)", "Summarise {film}.", "A shark.", "sea, fear", "0.52"):
        assert part in text
    for part in ("farther out than 97 % of films", "Orca", "Two at once", "halfway between 1 and 2"):
        assert part in text
    for part in (
        "183 seconds",
        "12,345 examples",
        "align",
        "tune",
        "5.01",
        "4.45",
        "+0.240",
        "+0.181",
        "A shark comes.",
    ):
        assert part in text
    assert reader.tags.count("circle") == 40
    assert reader.tags.count("polyline") == 4
    assert "Film 39" in text


def test_without_training_its_part_is_left_out() -> None:
    text = text_of(render(replace(PAGE, training=None)))
    assert "Trained while you watched" not in text
    assert "A shark." in text


def test_a_closed_gate_is_not_sold_as_a_success() -> None:
    closed = replace(TRAINING, after=Gate(4.21, 4.22, -0.01))
    assert "has not made the model use its vectors" in text_of(render(replace(PAGE, training=closed)))


def test_every_text_is_escaped() -> None:
    card = Card(NASTY, NASTY, (1,), NASTY, NASTY, (NASTY,), 0.5, 50, (NASTY,))
    page = replace(
        PAGE,
        entities=(Entity(0, 0, NASTY, NASTY), Entity(1, 1, NASTY, NASTY)),
        marks=(Place(1, 1, NASTY),),
        held_out=(card,),
        made=(card,),
        training=replace(
            TRAINING, curves=(Curve(NASTY, (1.0,)),), title=NASTY, prompt=NASTY, answer_before=NASTY, answer_after=NASTY
        ),
    )
    html = render(page)
    assert "<script" not in html
    assert Reader(html).open == []
    assert text_of(html).count(NASTY) == 22


def test_nothing_is_fetched() -> None:
    html = render(PAGE)
    names = {name for name, _ in Reader(html).attributes}
    assert not names & {"src", "href", "srcset", "data"}
    assert not re.search(r"https?:|url\(|@import", html)


def test_the_style_has_a_colour_for_every_group_and_both_schemes() -> None:
    html = render(PAGE)
    assert "prefers-color-scheme: dark" in html
    for number in range(MAIN_GROUPS + 1):
        assert html.count(f"--g{number}: #") == 2
        assert f'class="g{number}"' in html


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours, 1..21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_reaches_aa_contrast(scheme: int) -> None:
    html = render(PAGE)
    colour = {
        name: re.findall(rf"--{name}: (#\w{{6}})", html)[scheme] for name in ("paper", "card", "ink", "quiet", "accent")
    }
    for text in ("ink", "quiet", "accent"):
        assert contrast(colour[text], colour["paper"]) >= 4.5
        assert contrast(colour[text], colour["card"]) >= 4.5


@pytest.mark.parametrize(("percentile", "words"), [(0, "among the data"), (90, "among the data"), (97.4, "97 %")])
def test_distance_in_words(percentile: float, words: str) -> None:
    assert words in distance_in_words(percentile)


def test_map_fills_its_frame_and_survives_a_line() -> None:
    fitted = _fitted([Place(-3.0, 5.0, "a"), Place(9.0, 5.0, "b"), Place(3.0, 5.0, "c")])
    assert [x for x, _ in fitted] == [34, 926, 480]
    assert len({y for _, y in fitted}) == 1


def test_running_mean() -> None:
    assert _running_mean([4.0, 2.0]) == [4.0, 2.0]
    twenty = [float(i) for i in range(20)]
    assert _running_mean(twenty)[:3] == [0.0, 0.5, 1.5]


@pytest.mark.parametrize(("low", "high"), [(3.9, 5.2), (0.001, 0.002), (4.0, 4.0), (2.2, 9.7), (0.0, 130.0)])
def test_ticks_are_few_and_enclose(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 7
