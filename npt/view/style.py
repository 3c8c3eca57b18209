"""One look for all pictures: colours that the colour-blind tell apart, addresses in hex, sizes in KiB and up."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator

from npt._html import COLOURS
from npt.units import format_size

__all__ = ["AMOUNT", "COLOURS", "GREY", "STATES", "address_axis", "as_axes", "categories", "count_axis", "legend", "size_axis"]

AMOUNT = "cividis"  # dark is little, light is much; the same to every eye, and in grey
GREY = "#999999"
_SIZE = (8.0, 4.5)  # inches

# What a page can be, from nothing to dirty, and its colour.
STATES = {
    "not mapped": "#FFFFFF",
    "mapped": "#DDDDDD",
    "resident": COLOURS[4],
    "accessed": COLOURS[0],
    "dirty": COLOURS[1],
    "device": COLOURS[3],
}


def as_axes(ax: Axes | None, *, size: tuple[float, float] = _SIZE) -> Axes:
    """Where to draw: what was given, or a new figure."""
    if ax is not None:
        if not isinstance(ax, Axes):
            raise TypeError(f"ax must be matplotlib's Axes, not {type(ax).__name__}")
        return ax
    return plt.figure(figsize=size, layout="constrained").add_subplot()


def address_axis(axis: Axis, name: str = "guest-physical address") -> None:
    """Ticks are addresses in hex."""
    _format(axis, lambda value: f"{int(value):#x}" if value >= 0 else "", name)
    axis.set_major_locator(_Round())


class _Round(Locator):
    """Ticks at multiples of a power of two: round numbers in hex, and in MiB."""

    def __call__(self) -> list[float]:
        low, high = sorted(map(float, self.axis.get_view_interval())) if self.axis is not None else (0.0, 1.0)
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """At most nine."""
        step = 1 << max(math.ceil(math.log2(max(vmax - vmin, 1.0) / 8)), 0)
        return [float(tick) for tick in range(-int(-vmin // step) * step, int(vmax) + 1, step)]


def size_axis(axis: Axis, name: str) -> None:
    """Ticks are bytes, KiB, MiB, ..."""
    _format(axis, lambda value: format_size(int(value)) if value >= 0 else "", name)
    if axis.get_scale() == "linear":
        axis.set_major_locator(_Round())


def count_axis(axis: Axis, name: str) -> None:
    """Ticks are whole numbers."""
    _format(axis, lambda value: f"{value:,.0f}", name)
    axis.set_major_locator(MaxNLocator(8, integer=True))


def _format(axis: Axis, form: Callable[[float], str], name: str) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_label_text(name)


def categories(colours: Sequence[str]) -> dict[str, Any]:
    """Arguments of ``imshow`` or ``pcolormesh`` for small integers, each with a colour of its own."""
    bounds = np.arange(len(colours) + 1) - 0.5
    return {"cmap": ListedColormap(colours), "norm": BoundaryNorm(bounds, len(colours))}


def legend(ax: Axes, colours: dict[str, str]) -> None:
    """What each colour says, beside the picture."""
    handles = [Patch(facecolor=colour, edgecolor=GREY, linewidth=0.5, label=name) for name, colour in colours.items()]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)
