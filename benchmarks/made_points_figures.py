"""The figures of made_points.py: arrays in, PNG files out, 2000 pixels wide to be shown at 1000.

Shapes: C concepts, F films, P pairs, A shares, K kinds, N points of a kind.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vecspeak.metrics import mean_interval

INK, GREY, BLUE = "#222222", "#8a8a8a", "#1f5fa8"
FAMILIES = {
    "training films": "#1f5fa8",
    "test films": "#4fa3d9",
    "midpoints": "#2a9d6f",
    "steered": "#d98a1f",
    "mixed": "#b3478f",
    "random": "#8a8a8a",
    "negatives": "#222222",
}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#bbbbbb",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "figure.facecolor": "white",
    "savefig.dpi": 200,
}


def steering_figure(path: Path, concepts: Sequence[str], strengths: Sequence[float], score_CFWS: np.ndarray) -> None:
    """One panel a concept; of the two ways, the concept is the first and a random direction the second."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 5, figsize=(10, 5), sharex=True, sharey=True, layout="constrained")
        for c, (ax, name) in enumerate(zip(axes.flat, concepts, strict=True)):
            ax.axhline(0, color="#dddddd", lw=0.8, zorder=0)
            for way, colour in ((1, GREY), (0, BLUE)):
                banded(ax, strengths, score_CFWS[c, :, way], colour)
            ax.set_title(name, fontsize=12, fontweight="bold")
            ax.set_xticks([0, 1, 2, 3])
        figure.suptitle("How much an answer speaks of the concept", x=0.01, ha="left", fontsize=14)
        # once for all panels, on the title's line, where no curve can run through them
        for x, text, colour in ((0.76, "pushed along the concept", BLUE), (0.99, "pushed at random", GREY)):
            figure.text(x, 0.985, text, color=colour, ha="right", va="top", fontweight="bold")
        figure.supxlabel("strength of the push, standard deviations", fontsize=11)
        figure.supylabel("score of the concept", fontsize=11)
        save(figure, path)


def interpolation_figure(path: Path, alphas: Sequence[float], sc_PA: np.ndarray, shuffled_PA: np.ndarray) -> None:
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(10, 5), layout="constrained")
        banded(ax, alphas, sc_PA, BLUE)
        banded(ax, alphas, shuffled_PA, GREY)
        ax.axhline(float(shuffled_PA.mean()), color=GREY, lw=1, ls=(0, (4, 4)))
        for values_PA, text, colour in (
            (sc_PA, "its own answer", BLUE),
            (shuffled_PA, "another pair's answer\n(dashed: its mean)", GREY),
        ):
            end = (1, float(values_PA[:, -1].mean()))
            ax.annotate(text, end, (8, 0), textcoords="offset points", color=colour, va="center", fontweight="bold")
        ax.set(xlim=(0, 1), ylim=(0, None), xticks=np.linspace(0, 1, 11))
        ax.set_xlabel("share of the way from one film to the other")
        ax.set_ylabel("semantic consistency")
        ax.set_title("Between two films that the model has never seen", fontsize=14, pad=12)
        save(figure, path)


def distance_figure(
    path: Path, kinds: Sequence[str], percentile_KN: np.ndarray, nearest_KN: np.ndarray, sc_KN: np.ndarray
) -> None:
    """Two panels, as the percentile says no more beyond the data."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), sharey=True, layout="constrained")
        for ax, x_KN in zip(axes, (percentile_KN, nearest_KN), strict=True):
            for k, name in enumerate(kinds):
                colour = FAMILIES[name.rstrip(" .0123456789")]
                ax.scatter(x_KN[k], sc_KN[k], s=14, color=colour, alpha=0.55, lw=0, clip_on=False)
            binned(ax, x_KN.ravel(), sc_KN.ravel())
        axes[0].set_xlabel("distance from the training films, percentile")
        axes[1].set_xlabel("1 - cosine with the nearest training film")
        axes[0].set_ylabel("semantic consistency")
        marks = [plt.Line2D([], [], ls="", marker="o", ms=6, color=colour) for colour in FAMILIES.values()]
        marks.append(plt.Line2D([], [], color=INK, lw=2))
        figure.legend(
            marks, [*FAMILIES, "mean"], loc="outside upper left", ncols=8, frameon=False, fontsize=10,
            columnspacing=1.0, handletextpad=0.2, handlelength=1.2,
        )  # fmt: skip
        save(figure, path)


def banded(ax: Axes, x_X: Sequence[float], values_NX: np.ndarray, colour: str) -> None:
    """The mean with its 95 % bootstrap band over rows."""
    found = [mean_interval(column_N, seed=0) for column_N in values_NX.T]
    ax.fill_between(x_X, [i.low for i in found], [i.high for i in found], color=colour, alpha=0.18, lw=0)
    ax.plot(x_X, [i.value for i in found], color=colour, lw=2)


def binned(ax: Axes, x_N: np.ndarray, y_N: np.ndarray, bins: int = 8) -> None:
    """Mean of y in bins of equal width, at the mean of x."""
    edges = np.linspace(x_N.min(), x_N.max(), bins + 1)
    bin_N = np.clip(np.digitize(x_N, edges) - 1, 0, bins - 1)
    means = [(x_N[bin_N == b].mean(), y_N[bin_N == b].mean()) for b in range(bins) if (bin_N == b).any()]
    ax.plot(*zip(*means, strict=True), color="white", lw=4.5, zorder=4)
    ax.plot(*zip(*means, strict=True), color=INK, lw=2, marker="o", ms=4, zorder=5)


def save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)
