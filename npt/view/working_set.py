"""Working sets: how many pages are in use, and after how long pages are used again."""

import numpy as np
from matplotlib.axes import Axes

from npt.dirty.working_set import WorkingSet
from npt.errors import InvalidArgument
from npt.units import PAGE_SHIFT
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
    on = style.as_axes(ax)
    numbers = np.arange(1, len(samples) + 1)
    if kind == "size":
        on.plot(numbers, working_set.curve() * (1 << PAGE_SHIFT), color=style.COLOURS[0], marker=".")
        style.size_axis(on.yaxis, "mean working-set size")
        on.set_ylim(bottom=0)
        style.count_axis(on.xaxis, "length of the window, samples")
    elif kind == "samples":
        new = np.array([one.new for one in samples])
        again = np.array([one.accessed for one in samples]) - new
        on.bar(numbers, again, width=1.0, color=style.COLOURS[0])
        on.bar(numbers, new, width=1.0, bottom=again, color=style.COLOURS[1])
        style.legend(on, {"seen before": style.COLOURS[0], "new": style.COLOURS[1]})
        style.count_axis(on.yaxis, "pages")
        style.count_axis(on.xaxis, "sample")
    else:
        again = working_set.reuse()[1:]
        on.bar(np.arange(1, again.size + 1), again, width=1.0, color=style.COLOURS[0])
        on.set_yscale("symlog")
        on.set_ylabel("times a page was seen again")
        style.count_axis(on.xaxis, "after so many samples")
    on.set_title(f"Working set of {working_set.n_pages:,} pages, {len(samples):,} samples")
    return on
