"""Files that a kill leaves whole, the old one or the new one."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8 beside the path and rename it to that. Raises OSError, with the old file still there."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
