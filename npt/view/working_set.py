"""Working sets: how many pages are in use, and after how long pages are used again."""

import numpy as np
from matplotlib.axes import Axes

from npt.dirty.working_set import WorkingSet
from npt.errors import InvalidArgument
from npt.units import PAGE_SIZE
from npt.view import style

__all__ = ["working_set"]

_KINDS = ("size", "samples", "reuse")


def working_set(working_set: WorkingSet, *, kind: str = "size", ax: Axes | None = None) -> Axes:
    """Show what the samples of a working set say.

    Parameters
    ----------
    working_set
        With samples.
    kind
        ``"size"``: mean working-set size by the length of the window; ``"samples"``: pages that each sample saw, new ones
        apart; ``"reuse"``: how often a page was seen again after so many samples.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        A curve in bytes, stacked bars in pages, or bars on a scale that is logarithmic from 2 up.

    Raises
    ------
    InvalidArgument
        Another kind, or no samples.
    NotSupported
        ``"size"`` or ``"reuse"`` of a working set that does not clear A bits.
    """
    if not isinstance(working_set, WorkingSet):
        raise TypeError(f"working_set must be a WorkingSet, not {type(working_set).__name__}")
    if kind not in _KINDS:
        raise InvalidArgument(f"kind {kind!r} is not one of {', '.join(_KINDS)}")
    samples = working_set.samples
    if not samples:
        raise InvalidArgument("the working set has no samples yet")
    numbers = np.arange(1, len(samples) + 1)
    title = f"Working set of {style.counted(working_set.n_pages, 'page')}, {style.counted(len(samples), 'sample')}"
    if kind == "size":
        sizes = working_set.curve() * PAGE_SIZE
        on = style.as_axes(ax)
        on.plot(numbers, sizes, color=style.COLOURS[0], marker=".")
        style.size_axis(on.yaxis, "mean working-set size")
        style.count_axis(on.xaxis, "length of the window, samples")
    elif kind == "samples":
        new = np.array([one.new for one in samples])
        again = np.array([one.accessed for one in samples]) - new
        on = style.as_axes(ax)
        on.bar(numbers, again, width=1.0, color=style.COLOURS[0])
        on.bar(numbers, new, width=1.0, bottom=again, color=style.COLOURS[1])
        style.legend(on, {"seen before": style.COLOURS[0], "new": style.COLOURS[1]})
        style.count_axis(on.yaxis, "pages")
        style.count_axis(on.xaxis, "sample")
    else:
        again = working_set.reuse()[1:]
        on = style.as_axes(ax)
        on.bar(np.arange(1, again.size + 1), again, width=1.0, color=style.COLOURS[0])
        on.set_yscale("symlog")
        on.set_ylabel("times a page was seen again")
        style.count_axis(on.xaxis, "after so many samples")
        on.set_ylim(top=max(2.0, 1.5 * again.max(initial=0)))
        title += "" if again.any() else "; no page was seen again"
    on.set_ylim(bottom=0)
    on.set_xlim(0.5 if kind != "size" else 0, len(samples) + 0.5)
    on.set_title(title)
    return on
