"""The explorer on a space of 100,000 entities, in headless Chromium that draws in software: how soon it can be used.

python benchmarks/explorer_100k.py [--count 100000]

The entities are made: each lies between two random films. The map is PCA's, written beside the space beforehand, since
UMAP of so many takes minutes (once; it is kept).
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Browser, sync_playwright

from vecspeak import Space
from vecspeak.bundled import bundled_space_path
from vecspeak.serve.layouts import digest_of, layout_folder
from vecspeak.serve.mapping import COMPUTED, write_layout

RUNS = 3
WHEN_DRAWN = """
new MutationObserver(() => {
  if (document.documentElement.dataset.map === "drawn") window.drawnAt ??= performance.now();
}).observe(document, {attributes: true, subtree: true, attributeFilter: ["data-map"]});
"""
FRAMES = """
() => {
  window.frames_ = [];
  let last = performance.now();
  const next = now => { frames_.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next);
}
"""
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def make_space(folder: Path, count: int) -> Space:
    """Entities on the way between two films each, with a year and a genre."""
    films = Space.open(bundled_space_path())
    rng = np.random.default_rng(0)
    pairs_N2 = rng.integers(len(films), size=(count, 2))
    shares_N1 = rng.uniform(0, 0.5, size=(count, 1)).astype(np.float32)
    noise_NE = rng.standard_normal((count, films.dimension), dtype=np.float32) * 0.01
    vectors_NE = films.vectors[pairs_N2[:, 0]] * (1 - shares_N1) + films.vectors[pairs_N2[:, 1]] * shares_N1 + noise_NE
    vectors_NE /= np.linalg.norm(vectors_NE, axis=1, keepdims=True)
    known = {name: films.column(name) for name in ("title", "year", "genres")}
    columns = {name: [values[row] for row in pairs_N2[:, 0]] for name, values in known.items()}
    columns["title"] = [f"{title}, variant {row}" for row, title in enumerate(columns["title"])]
    ids = [str(row) for row in range(count)]
    path = folder / "many.lance"
    space = Space.create(path, ids=ids, vectors=vectors_NE, columns=columns, name="many", encoder=films.encoder)
    places = COMPUTED["pca"](space.vectors)
    for name in ("umap", "pca"):
        write_layout(layout_folder(space) / f"{name}-{digest_of(space)}.npy", places)
    return space


def processor_seconds() -> float:
    """That the browser's processes have had so far; unlike the clock it does not count what other programs take."""
    browsers = (p for p in psutil.Process().children(recursive=True) if "chrom" in p.name())
    return sum(sum(p.cpu_times()[:2]) for p in browsers)


def one_visit(browser: Browser, address: str) -> dict[str, float]:
    """Milliseconds to the drawn map and from a click to its panel; frames of two seconds of zooming."""
    # without its waiting animation, which a starved machine would draw for long
    with browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce") as context:
        page = context.new_page()
        page.add_init_script(WHEN_DRAWN)
        had = processor_seconds()
        page.goto(address)
        page.wait_for_function("window.drawnAt > 0", timeout=300_000)
        work = processor_seconds() - had
        drawn = page.evaluate("window.drawnAt")
        before = page.evaluate("performance.now()")
        page.mouse.click(500, 450)
        page.wait_for_selector(".head h2", timeout=120_000)
        panel = page.evaluate("performance.now()") - before
        page.mouse.move(500, 450)
        page.evaluate(FRAMES)
        for _ in range(20):
            page.mouse.wheel(0, -40)
            page.wait_for_timeout(100)
        frames = page.evaluate("frames_")
        sizes = page.evaluate("performance.getEntriesByType('resource').map(r => [r.name, r.encodedBodySize])")
    return {
        "drawn": drawn,
        "work": work,
        "panel": panel,
        "frame": statistics.median(frames),
        "frame_90": sorted(frames)[int(0.9 * len(frames))],
        "code": sum(size for name, size in sizes if "/assets/" in name) / 1000,
        "table": sum(size for name, size in sizes if "/api/space" in name) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        space = make_space(Path(folder), count)
        command = [sys.executable, "-m", "vecspeak.cli", "serve", "films", "--space", str(space.path), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                visits = [one_visit(browser, address) for _ in range(RUNS)]
                browser.close()
        finally:
            server.terminate()
            server.communicate(timeout=60)
    middle = {name: statistics.median(visit[name] for visit in visits) for name in visits[0]}
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"{count:,} entities, {RUNS} visits with an empty cache, load average {load:.1f} on {cores} cores")
    print(f"as sent: scripts and styles {middle['code']:.0f} kB, table of the map {middle['table']:.1f} MB")
    print("navigation to drawn map: " + ", ".join(f"{visit['drawn'] / 1000:.2f}" for visit in visits) + " s")
    print(
        "of it at work in the browser: " + ", ".join(f"{visit['work']:.2f}" for visit in visits) + " processor seconds"
    )
    print(f"click to panel: median {middle['panel']:.0f} ms")
    print(f"zooming: median frame {middle['frame']:.0f} ms, 90th percentile {middle['frame_90']:.0f} ms")


if __name__ == "__main__":
    main()
