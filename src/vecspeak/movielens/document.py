"""A report as data: blocks in sections, each kind of which knows how it looks in HTML and in Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib import resources
from math import isnan
from typing import Protocol

from vecspeak.movielens import paper
from vecspeak.movielens.figures import Drawing, map_html
from vecspeak.movielens.results import Dot, Shown


def number(value: float, *, digits: int = 3) -> str:
    """A number, or "n/a" for NaN."""
    return "n/a" if isnan(value) else f"{value:.{digits}f}"


def count_of(count: int, total: int, things: str) -> str:
    """In words, as in: 3 of 19 tasks. The word is given in the plural."""
    return f"{count} of {total} {things if total != 1 else things.removesuffix('s')}"


# ---- blocks


class Block(Protocol):
    """A part of a section."""

    def html(self) -> str: ...

    def markdown(self) -> str: ...


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    spread: str = ""
    """How sure the figure is: its interval, or its deviation over seeds."""
    tone: str = ""
    """Class of the style sheet: quiet (the paper's), ahead, behind."""

    def __str__(self) -> str:
        """As it stands in a sentence."""
        return f"{self.text} {self.spread}".strip()


@dataclass(frozen=True)
class Table:
    """Rows under a header; with a summary, folded under it."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    summary: str = ""

    def html(self) -> str:
        head = "".join(f"<th scope=col>{escape(name)}</th>" for name in self.header)
        body = "".join(f"<tr>{_row_html(row)}</tr>" for row in self.rows)
        html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        return f"<details><summary>{escape(self.summary)}</summary>{html}</details>" if self.summary else html

    def markdown(self) -> str:
        head = [" | ".join(map(_plain, self.header)), " | ".join(["---", *["---:"] * (len(self.header) - 1)])]
        body = [" | ".join(f"{_plain(cell.text)} {cell.spread}".strip() for cell in row) for row in self.rows]
        text = "\n".join(f"| {line} |" for line in [*head, *body])
        if not self.summary:
            return text
        summary = escape(" ".join(self.summary.split()))  # within a tag Markdown's own escapes are not read
        return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


@dataclass(frozen=True)
class Note:
    text: str

    def html(self) -> str:
        return f'<p class="note">{escape(self.text)}</p>'

    def markdown(self) -> str:
        return _plain(self.text)


@dataclass(frozen=True)
class Heading:
    text: str

    def html(self) -> str:
        return f"<h3>{escape(self.text)}</h3>"

    def markdown(self) -> str:
        return f"### {_plain(self.text)}"


@dataclass(frozen=True)
class Drawings:
    """Figures beside each other where there is room."""

    drawings: tuple[Drawing, ...]

    def html(self) -> str:
        return f'<div class="drawings">{"".join(map(_drawing_html, self.drawings))}</div>'

    def markdown(self) -> str:
        return "\n\n".join(map(_picture, self.drawings))


@dataclass(frozen=True)
class Answers:
    """Answers, each with the teacher's text."""

    shown: tuple[Shown, ...]

    def html(self) -> str:
        return f'<div class="cards two">{"".join(map(_answer_html, self.shown))}</div>'

    def markdown(self) -> str:
        return "\n\n".join(map(_answer_markdown, self.shown))


@dataclass(frozen=True)
class Map:
    """Interactive in HTML, a picture in Markdown."""

    dots: tuple[Dot, ...]
    picture: Drawing

    def html(self) -> str:
        return map_html(self.dots)

    def markdown(self) -> str:
        return _picture(self.picture)


@dataclass(frozen=True)
class Terms:
    """What words mean."""

    terms: tuple[tuple[str, str], ...]

    def html(self) -> str:
        pairs = "".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in self.terms)
        return f'<dl class="terms">{pairs}</dl>'

    def markdown(self) -> str:
        return "\n".join(f"- **{_plain(term)}**: {_plain(meaning)}" for term, meaning in self.terms)


def _row_html(row: tuple[Cell, ...]) -> str:
    first, *rest = row
    return f"<th scope=row>{escape(first.text)}</th>" + "".join(map(_cell_html, rest))


def _cell_html(cell: Cell) -> str:
    text = f'<span class="{cell.tone}">{escape(cell.text)}</span>' if cell.tone else escape(cell.text)
    spread = f"<small>{escape(cell.spread)}</small>" if cell.spread else ""
    return f"<td>{text}{spread}</td>"


def _drawing_html(drawing: Drawing) -> str:
    return f"""<figure>
<div class="drawing{" wide" if drawing.wide else ""}">{drawing.svg}</div>
<figcaption class="note">{escape(drawing.caption)}</figcaption>
</figure>"""


def _picture(drawing: Drawing) -> str:
    return f"![{_plain(drawing.caption)}](figures/{drawing.name}.png)"


def _answer_html(shown: Shown) -> str:
    return f"""<article>
<h4>{escape(shown.title)}</h4>
<p class="detail">{escape(shown.task)}, SC {number(shown.consistency, digits=2)}</p>
<p class="answer">{escape(shown.text)}</p>
<p class="detail">Teacher</p>
<p class="answer">{escape(shown.target)}</p>
</article>"""


def _answer_markdown(shown: Shown) -> str:
    label = f"**{_plain(shown.title)}**, {_plain(shown.task)}, SC {number(shown.consistency, digits=2)}"
    return f"{label}\n\n> {_plain(shown.text)}\n>\n> **Teacher**: {_plain(shown.target)}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", escape(" ".join(text.split()), quote=False))


# ---- the whole


@dataclass(frozen=True)
class Section:
    title: str
    opening: str
    """What the reader sees and whether it is good, in one sentence."""
    blocks: tuple[Block, ...]

    def html(self, anchor: str) -> str:
        return f"""<section id="{anchor}">
<h2>{escape(self.title)}</h2>
<p>{escape(self.opening)}</p>
{"".join(block.html() for block in self.blocks)}
</section>
"""

    def markdown(self) -> list[str]:
        """Its paragraphs."""
        return [f"## {_plain(self.title)}", _plain(self.opening), *(block.markdown() for block in self.blocks)]


@dataclass(frozen=True)
class Document:
    """A report: its sections, under what they come to."""

    title: str
    """Of the window."""
    heading: str
    lede: str
    caution: str
    """How not to read the paper's figures."""
    findings: tuple[str, ...]
    """The result in a few sentences."""
    sections: tuple[Section, ...]

    def html(self) -> str:
        """One page that needs no other file."""
        sheets = (resources.files("vecspeak") / "page.css", resources.files("vecspeak.movielens") / "report.css")
        style = "".join(sheet.read_text("utf-8") for sheet in sheets)
        anchored = [(f"s{i}", section) for i, section in enumerate(self.sections)]
        links = "".join(f'<a href="#{anchor}">{escape(section.title)}</a>' for anchor, section in anchored)
        return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(self.title)}</title>
<style>
{style}</style>
<body>
<header>
<p class="brand">vecspeak</p>
<h1>{escape(self.heading)}</h1>
<p class="lede">{escape(self.lede)}</p>
<p class="note"><b>{escape(self.caution)}</b> The paper: <a href="{paper.LINK}">arXiv 2310.04475</a>.</p>
<ul class="found">{"".join(f"<li>{escape(sentence)}</li>" for sentence in self.findings)}</ul>
<nav>{links}</nav>
</header>
<main>
{"".join(section.html(anchor) for anchor, section in anchored)}
</main>
<footer>Written by <code>vecspeak movielens</code>.</footer>
</body>
</html>
"""

    def markdown(self) -> str:
        """With its pictures in figures/."""
        parts = [
            f"# {_plain(self.heading)}",
            _plain(self.lede),
            f"**{_plain(self.caution)}** The paper: [arXiv 2310.04475]({paper.LINK}).",
            "\n".join(f"- {_plain(sentence)}" for sentence in self.findings),
        ]
        for section in self.sections:
            parts += section.markdown()
        return "\n\n".join(filter(None, parts)) + "\n"

    def pictures(self) -> Iterator[Drawing]:
        """Those that the Markdown shows."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Drawings):
                    yield from block.drawings
                elif isinstance(block, Map):
                    yield block.picture
