"""A ladder as a picture, by matplotlib (the extra `plot`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tvrkit.errors import InstallError
from tvrkit.train.ladder import Rung, full_title

_GREY, _LINE = "#7f7f7f", "#4878d0"


def require_matplotlib() -> None:
    """Raise an InstallError with the pip line where there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InstallError(
            "the plot needs matplotlib: run `pip install 'tvrkit[plot]'`, or leave out --plot."
        ) from None


def plot_ladder(rungs: Sequence[Rung], path: Path, title: str) -> None:
    """R@1 of every rung with its interval, and its gain over the rung below with that interval, as SVG or PNG.

    Grey on a transparent ground, so that it can be read on a light page and on a dark one.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    names = [full_title(rung) for rung in rungs]
    figure = Figure(figsize=(8.5, 0.42 * len(rungs) + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, words, values in (
        (left, "t2v R@1", [rung.value for rung in rungs]),
        (right, "gain over the rung before, or the one named", [rung.gain for rung in rungs]),
    ):
        for place, value in enumerate(values):
            if value is None:
                continue
            if value.low is not None and value.high is not None:
                axes.plot([value.low, value.high], [place, place], color=_LINE, alpha=0.5, linewidth=3)
            axes.plot([value.mean], [place], "o", color=_LINE)
            axes.annotate(
                f"{value.mean:+.1f}" if axes is right else f"{value.mean:.1f}",
                (value.mean, place), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8, color=_GREY,
            )  # fmt: skip
        axes.set_xlabel(words, color=_GREY)
        axes.tick_params(colors=_GREY)
        axes.grid(axis="x", color=_GREY, alpha=0.25)
        for spine in axes.spines.values():
            spine.set_color(_GREY)
    right.axvline(0.0, color=_GREY, linewidth=1)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    figure.suptitle(title, color=_GREY, fontsize=10)
    with matplotlib.rc_context({"svg.hashsalt": title}):  # the same picture to the byte
        figure.savefig(path, transparent=True, metadata={"Date": None} if path.suffix == ".svg" else None)
