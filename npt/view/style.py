"""One look for all pictures: colours that the colour-blind tell apart, addresses in hex, sizes in KiB and up."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize, to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator

from npt._html import COLOURS
from npt.units import PAGE_SIZE

__all__ = [
    "COLOURS",
    "GREY",
    "NONE",
    "STATES",
    "address_axis",
    "amount",
    "as_axes",
    "categories",
    "count_axis",
    "counted",
    "ink",
    "legend",
    "size_axis",
]

GREY = "#999999"
NONE = "#DDDDDD"  # nothing at all: apart from the least that there can be
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DARK = 0.2  # of the light of white
_SIZE = (8.0, 4.5)  # inches

# What a page can be, from nothing to dirty, and its colour.
STATES = {
    "not mapped": "#FFFFFF",
    "mapped": NONE,
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
    axis.set_major_locator(_Round(PAGE_SIZE))


class _Round(Locator):
    """Ticks at multiples of a power of two, at least so many bytes: round numbers in hex, and in MiB."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self) -> list[float]:
        low, high = sorted(map(float, self.axis.get_view_interval())) if self.axis is not None else (0.0, 1.0)
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """At most nine."""
        step = max(1 << max(math.ceil(math.log2(max(vmax - vmin, 1.0) / 8)), 0), self._least)
        return [float(tick) for tick in range(-int(-vmin // step) * step, int(vmax) + 1, step)]


def size_axis(axis: Axis, name: str) -> None:
    """Ticks are bytes, KiB, MiB, ..."""
    _format(axis, lambda value: _size(int(value)) if value >= 0 else "", name)
    if axis.get_scale() == "linear":
        axis.set_major_locator(_Round(1))


def _size(n_bytes: int) -> str:
    """All its digits: a tick stands at what it says."""
    power = min(max(n_bytes.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{n_bytes / (1 << 10 * power):g} {_UNITS[power]}"


def count_axis(axis: Axis, name: str) -> None:
    """Ticks are whole numbers, each once, none below 0."""
    _format(axis, lambda value: f"{value:,.0f}" if value >= 0 else "", name)
    axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def _format(axis: Axis, form: Callable[[float], str], name: str) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_label_text(name)


def categories(colours: Sequence[str]) -> dict[str, Any]:
    """Arguments of ``imshow`` or ``pcolormesh`` for small integers, each with a colour of its own."""
    bounds = np.arange(len(colours) + 1) - 0.5
    return {"cmap": ListedColormap(colours), "norm": BoundaryNorm(bounds, len(colours))}


def amount(most: float = 1.0, *, least: float = 1e-12) -> dict[str, Any]:
    """Arguments for numbers up to ``most``: dark is little, light is much, to every eye and in grey; grey is none at all."""
    colours = plt.get_cmap("cividis").with_extremes(under=NONE)
    return {"cmap": colours, "norm": Normalize(least, max(most, 2 * least))}


def ink(colour: str) -> str:
    """Black or white: what can be read on a colour."""
    red, green, blue = to_rgb(colour)
    return "white" if 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < _DARK else "black"


def counted(n: int, name: str) -> str:
    """A number of things, in words: 1 page, 2 pages."""
    return f"{n:,} {name}{'' if n == 1 else 's'}"


def legend(ax: Axes, colours: dict[str, str]) -> None:
    """What each colour says, beside the picture."""
    handles = [Patch(facecolor=colour, edgecolor=GREY, linewidth=0.5, label=name) for name, colour in colours.items()]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)
