"""Where a guest's memory is: its address space beside the frames that back it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle

from npt._types import Prot
from npt.memory.objects import MmioObject
from npt.memory.reservoir import Reservoir
from npt.space.mappings import Mapping
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, format_size
from npt.view import style
from npt.view.pages import as_space

__all__ = ["Place", "layout"]

_GAP = 0.03  # of the height: a hole that is folded, if all holes are no more than half of it
_LINE = 0.024  # of the height: a line of text
_SMALL: dict[str, Any] = {"fontsize": 7}
_GUEST, _HOST, _WIDTH = 0.0, 2.0, 1.0


class Place(NamedTuple):
    """A stretch of addresses, and where it is in the picture.

    Attributes
    ----------
    start, end : int
        Bytes.
    low, high : float
        Height in the picture, from 0 to 1.
    """

    start: int
    end: int
    low: float
    high: float

    def at(self, address: int) -> float:
        """Height of an address."""
        return self.low + (self.high - self.low) * (address - self.start) / (self.end - self.start)


class _Column:
    """Addresses of one side, lowest at the bottom; holes to scale, or folded."""

    def __init__(self, ranges: Sequence[tuple[int, int]], *, fold: bool) -> None:
        merged: list[tuple[int, int]] = []
        for start, end in sorted(ranges):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        if merged and not fold:
            merged = [(merged[0][0], merged[-1][1])]
        n_bytes = sum(end - start for start, end in merged)
        n_gaps = max(len(merged) - 1, 0)
        gap = min(_GAP, 0.5 / max(n_gaps, 1))
        room = 1.0 - gap * n_gaps
        self.places: list[Place] = []
        low = 0.0
        for start, end in merged:
            high = low + room * (end - start) / n_bytes
            self.places.append(Place(start, end, low, high))
            low = high + gap
        self._starts = [one.start for one in self.places]

    def heights(self, start: int, end: int) -> tuple[float, float]:
        """Of a range that lies in one of the places."""
        place = self.places[bisect_right(self._starts, start) - 1]
        return place.at(start), place.at(end)


def layout(
    space: VmSpace, reservoir: Reservoir | None = None, *, fold: bool = True, ax: Axes | None = None
) -> Axes:  # fmt: skip
    """Show the mappings of a space beside the host frames that back them.

    Parameters
    ----------
    space
        Whose mappings.
    reservoir
        Whose frames are shown as a whole, free ones, too; else only those that are mapped.
    fold
        Whether holes between mappings are folded to a gap; else they are to scale.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        Guest-physical addresses at the left, host frames at the right; each mapping has a colour, and a band to each of its
        spans of frames. Device memory has no frames in a reservoir; its host addresses are shown as they are.

    Raises
    ------
    StaleHandle
        The space was destroyed, or the reservoir closed.
    """
    if reservoir is not None and not isinstance(reservoir, Reservoir):
        raise TypeError(f"reservoir must be a Reservoir, not {type(reservoir).__name__}")
    mappings = as_space(space).mappings
    guest = _Column([(one.gpa, one.gpa + one.length) for one in mappings], fold=fold)
    spans = [(number, *span) for number, one in enumerate(mappings) for span in _spans(one)]
    shown = [(host, host + length) for _, _, host, length in spans]
    if reservoir is not None:
        base = reservoir.base_pfn << PAGE_SHIFT
        shown.append((base, base + reservoir.limit))
    host = _Column(shown, fold=fold)
    on = style.as_axes(ax, size=(8.0, 6.0))
    on.set(xlim=(-1.2, 4.2), ylim=(-0.03, 1.06), yticks=[], frame_on=False)
    on.set_xticks([_GUEST + _WIDTH / 2, _HOST + _WIDTH / 2], ["guest-physical", "host-physical"])
    on.tick_params(length=0)
    colours = [style.COLOURS[number % len(style.COLOURS)] for number in range(len(mappings))]
    thin = []
    for one, colour in zip(mappings, colours, strict=True):
        low, high = guest.heights(one.gpa, one.gpa + one.length)
        _box(on, _GUEST, (low, high), colour)
        if high - low < _LINE:
            thin.append((low, f"{one.gpa:#x}  {_told(one)}"))
            continue
        on.text(_GUEST + _WIDTH / 2, (low + high) / 2, _told(one), ha="center", va="center", color=style.ink(colour), **_SMALL)
    for number, gpa, hpa, length in spans:
        left, right = guest.heights(gpa, gpa + length), host.heights(hpa, hpa + length)
        _box(on, _HOST, right, colours[number])
        corners = [(_GUEST + _WIDTH, left[0]), (_HOST, right[0]), (_HOST, right[1]), (_GUEST + _WIDTH, left[1])]
        on.add_patch(Polygon(corners, facecolor=colours[number], alpha=0.25))
    _frame(on, guest, _GUEST, thin)
    _frame(on, host, _HOST, [])
    mapped, n_spans = format_size(sum(one.length for one in mappings)), style.counted(len(spans), "span")
    folded = "holes folded" if fold else "to scale"
    said = f"{mapped} in {style.counted(len(mappings), 'mapping')}, {n_spans} of frames, {folded}"
    on.set_title(said if mappings else "nothing is mapped")
    return on


def _box(ax: Axes, left: float, heights: tuple[float, float], colour: str) -> None:
    """With an edge of its colour, so that a page among gigabytes is seen."""
    low, high = heights
    ax.add_patch(Rectangle((left, low), _WIDTH, high - low, facecolor=colour, edgecolor=colour, linewidth=0.8))


def _frame(ax: Axes, column: _Column, left: float, thin: Sequence[tuple[float, str]]) -> None:
    """The places of one side, with their ends, and what is too thin for a text of its own, as far as there is room."""
    right = left > 0
    x, align = (left + _WIDTH + 0.04, "left") if right else (left - 0.04, "right")
    named = {low for low, _ in thin}
    starts = [(one.low, f"{one.start:#x}") for one in column.places if one.low not in named]
    ends = [(max(one.high - _LINE, one.low), f"{one.end:#x}") for one in column.places]
    for place in column.places:
        box = Rectangle((left, place.low), _WIDTH, place.high - place.low, facecolor="none", edgecolor=style.GREY)
        box.set_zorder(0.5)
        ax.add_patch(box)
    for height, text in _apart([*starts, *thin[:1], *thin[:0:-1], *reversed(ends)]):
        ax.text(x, height, text, ha=align, va="bottom", family="monospace", **_SMALL)


def _apart(texts: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Those for which there is room, the first ones first."""
    taken: list[float] = []
    for height, text in texts:
        after = bisect_left(taken, height)
        if all(abs(other - height) >= _LINE - 1e-9 for other in taken[max(after - 1, 0) : after + 1]):
            taken.insert(after, height)
            yield height, text


def _told(mapping: Mapping) -> str:
    kind = "device" if isinstance(mapping.obj, MmioObject) else str(Prot(mapping.prot).name)
    return f"{format_size(mapping.length)} {kind}"


def _spans(mapping: Mapping) -> Iterator[tuple[int, int, int]]:
    """Guest address, host address and length of each span of frames that a mapping shows."""
    gpa, left, skipped = mapping.gpa, mapping.length, mapping.offset
    spans = getattr(mapping.obj, "spans", None)
    if spans is None:
        yield gpa, mapping.obj.pfn_at(skipped) << PAGE_SHIFT, left
        return
    for pfn, n_pages in spans:
        length = min((n_pages << PAGE_SHIFT) - skipped, left)
        if length > 0:
            yield gpa, (pfn << PAGE_SHIFT) + skipped, length
            gpa, left = gpa + length, left - length
        skipped = max(skipped - (n_pages << PAGE_SHIFT), 0)
