"""A MovieLens release from GroupLens, checked against the MD5 published beside it."""

import hashlib
import re
import tempfile
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.request import urlopen

from vecspeak.errors import SpaceError

BASE_URL = "https://files.grouplens.org/datasets/movielens"
NAMES = ("ml-25m", "ml-32m", "ml-latest-small", "ml-1m", "ml-10m", "ml-100k", "ml-20m")

TIMEOUT = 60
"""Seconds without an answer."""
LARGEST = 4 << 30
"""Bytes, of an archive and of what is in it. The largest releases have about a quarter of it."""
_BLOCK = 1 << 20


def download(name: str, folder: Path) -> Path:
    """The release as `folder`/`name`, there as a whole or not at all; one that is there already is used as it is.

    Raises:
        SpaceError: an unknown name, no network, a damaged archive, or one with files that would land elsewhere.
    """
    if name not in NAMES:
        raise SpaceError(f"Unknown MovieLens release {name!r}. One of: {', '.join(NAMES)}.")
    target = folder / name
    if target.exists():
        return target
    url = f"{BASE_URL}/{name}.zip"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # beside the target, so that the last step is a rename
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as temporary:
            archive, unpacked = Path(temporary, "archive.zip"), Path(temporary, "unpacked")
            _fetch(url, archive, md5=_published_md5(f"{url}.md5"))
            _unpack(archive, unpacked, url=url)
            _release_in(unpacked).rename(target)
    except (OSError, HTTPException) as error:
        by_hand = f"Without a network, get {url} elsewhere and unzip it to {target}."
        raise SpaceError(f"Cannot download {name}: {error}. {by_hand}") from error
    return target


def _published_md5(url: str) -> str:
    """From "MD5 (ml-25m.zip) = ..." or "...  ml-25m.zip"."""
    with urlopen(url, timeout=TIMEOUT) as answer:
        text = answer.read(_BLOCK).decode("utf-8", errors="replace")
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if not found:
        raise SpaceError(f"{url}: expected an MD5 checksum, got {text[:80]!r}. Try again later.")
    return found[0].lower()


def _fetch(url: str, path: Path, *, md5: str) -> None:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
        while block := answer.read(_BLOCK):
            size += len(block)
            if size > LARGEST:
                raise SpaceError(f"{url} is larger than {LARGEST:,} bytes: no MovieLens release. Nothing was kept.")
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != md5:
        came = f"{size:,} bytes came, with MD5 {digest.hexdigest()}"
        raise SpaceError(f"{url} is damaged or cut off: expected MD5 {md5}; {came}. Try again.")


def _unpack(archive: Path, folder: Path, *, url: str) -> None:
    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                place = PurePosixPath(member.filename.replace("\\", "/"))
                if place.is_absolute() or ".." in place.parts or ":" in member.filename:
                    raise SpaceError(f"{url} has the file {member.filename!r}, which would land elsewhere.")
            size = sum(member.file_size for member in members.infolist())
            if size > LARGEST:
                raise SpaceError(f"{url} would unpack to {size:,} bytes; expected at most {LARGEST:,}.")
            members.extractall(folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # RuntimeError: encrypted
        raise SpaceError(f"{url} is no zip archive that can be read: {error}. Try again later.") from error


def _release_in(folder: Path) -> Path:
    """The one folder of the archive, whatever its name (ml-10m's is ml-10M100K), else the archive's top."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
