"""What raters get: a form each, which is one HTML file, or a table to fill in."""

import csv
import json
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from io import StringIO
from pathlib import Path

import numpy as np

from vecspeak.errors import RatingError
from vecspeak.rating import HIGHEST, LOWEST, STATEMENTS, Item, Sheet
from vecspeak.spacefile import one_line, put_in_place

_OURS = re.compile(r"key\.json|items\.csv|rater-\d+\.html")


def write_sheet(sheet: Sheet, folder: Path, *, raters: int = 3, overwrite: bool = False) -> None:
    """A form for each rater (rater-1.html ...), items.csv and key.json; the folder comes whole or not at all.

    Every rater gets the same items in another order.

    Raises:
        RatingError: a folder that exists (one that holds nothing but an export gives way to `overwrite`), or that
            cannot be written.
        SpaceError: the finished folder cannot be put in place.
    """
    check_folder(folder, overwrite=overwrite)
    files = {
        "key.json": sheet.key.model_dump_json(indent=1) + "\n",
        # the mark at the beginning tells spreadsheet programs that it is UTF-8
        "items.csv": "\ufeff" + _items_csv(sheet),
    }
    for number in range(1, raters + 1):
        order = np.random.default_rng([sheet.key.seed, number]).permutation(len(sheet.items))
        rater = f"rater-{number}"
        files[f"{rater}.html"] = _form(sheet.key.export, rater, [sheet.items[row] for row in order])
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.new")
    try:
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text, encoding="utf-8", newline="")
        put_in_place(fresh, folder)
    except OSError as error:
        raise RatingError(f"{folder} cannot be written: {one_line(error)}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raises RatingError unless an export may be written there. Ratings that lie in it are never replaced."""
    if not folder.absolute().parent.is_dir():
        raise RatingError(f"Folder {folder.absolute().parent} does not exist; make it first.")
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise RatingError(f"{folder} exists. Choose another name, or replace it with --overwrite (overwrite=True).")
    if not (folder / "key.json").is_file():
        raise RatingError(f"{folder} exists and is no export of forms to rate, so it is not replaced.")
    others = [path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name)]
    if others:
        raise RatingError(f"{folder} also holds {min(others)}, which would be lost. Move it elsewhere.")


def _items_csv(sheet: Sheet) -> str:
    out = StringIO()
    stated = [f"{name}_statement" for name in STATEMENTS]
    told = ["task", "title", "prompt", "ground_truth", "text"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["rater", "item", "export", *STATEMENTS, *told, *stated])
    for item in sheet.items:
        blank = [""] * len(STATEMENTS)
        texts = [item.task, item.title or "", item.prompt, item.ground_truth, item.text, *item.statements.values()]
        # a spreadsheet would run a cell that begins like a formula
        safe = [f"'{text}" if text.startswith(("=", "+", "-", "@")) else text for text in texts]
        writer.writerow(["", item.item, sheet.key.export, *blank, *safe])
    return out.getvalue()


def _form(export: str, rater: str, items: Sequence[Item]) -> str:
    """One HTML file that needs no other and may load none."""
    told = [{name: value for name, value in asdict(item).items() if name != "task"} for item in items]
    data = {"export": export, "rater": rater, "statements": STATEMENTS, "items": told}
    # a text must not be able to end the script that holds it
    content = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    package = resources.files("vecspeak")
    style, script = (package.joinpath(f"rating.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Texts to rate: {escape(rater)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<span id="count" role="status"></span>
<progress id="progress" aria-label="Items rated" value="0"></progress>
<button id="download" type="button">Download</button>
</header>
<details>
<summary>How to rate</summary>
<p>Each page shows what is true of something, what was asked about it, and one text that answers. Take the ground truth
as given, read the text, and say how far you agree with each statement, from 1 (disagree) to 5 (agree). Judge each text
for itself; the same question may come twice, with another text. Leave out what you cannot judge.</p>
<p>Your answers stay in this browser until you download them and send the file back. You can stop and go on later.</p>
</details>
<p id="warning" hidden>This browser keeps nothing for this page: download before you close it.</p>
<noscript><p>This form needs JavaScript. You can rate in items.csv with a spreadsheet program instead.</p></noscript>
<main id="item" tabindex="-1">
<h1 id="title"></h1>
<h2>Ground truth</h2>
<p id="truth" class="text"></p>
<h2>Asked</h2>
<p id="prompt"></p>
<h2>Text to judge</h2>
<p id="judged" class="text"></p>
{"".join(map(_scale, range(len(STATEMENTS))))}
<nav>
<button id="back" type="button">Back</button>
<button id="next" type="button">Next</button>
<button id="open" type="button">Next unrated</button>
</nav>
</main>
<p class="keys">Keys: <kbd>1</kbd> to <kbd>5</kbd> rate, <kbd>0</kbd> clears, <kbd>Enter</kbd> next,
<kbd>Backspace</kbd> back, <kbd>Tab</kbd> to any statement.</p>
<script id="form" type="application/json">{content}</script>
<script>
{script}</script>
</body>
</html>
"""


def _scale(number: int) -> str:
    choices = "".join(
        f'<label><input type="radio" name="statement-{number}" value="{value}">{value}</label>'
        for value in range(LOWEST, HIGHEST + 1)
    )
    return f"""<fieldset tabindex="-1">
<legend id="says-{number}"></legend>
<div class="scale">{choices}</div>
<div class="ends"><span>disagree</span><span>agree</span></div>
</fieldset>
"""
