"""Where a guest's memory is: its address space beside the frames that back it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle

from npt._types import Prot
from npt.errors import InvalidArgument
from npt.memory.objects import MmioObject
from npt.memory.reservoir import Reservoir
from npt.space.mappings import Mapping
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, format_size
from npt.view import style
from npt.view.pages import as_space

__all__ = ["Place", "layout"]

_GAP = 0.03  # of the height: a hole that is folded
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
        room = 1.0 - _GAP * max(len(merged) - 1, 0)
        self.places: list[Place] = []
        low = 0.0
        for start, end in merged:
            high = low + room * (end - start) / n_bytes
            self.places.append(Place(start, end, low, high))
            low = high + _GAP

    def heights(self, start: int, end: int) -> tuple[float, float]:
        """Of a range that lies in one of the places."""
        place = next(one for one in self.places if one.start <= start < one.end)
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
    on = style.as_axes(ax, size=(8.0, 6.0))
    guest = _Column([(one.gpa, one.gpa + one.length) for one in mappings], fold=fold)
    spans = [(number, *span) for number, one in enumerate(mappings) for span in _spans(one)]
    shown = [(host, host + length) for _, _, host, length in spans]
    if reservoir is not None:
        base = reservoir.base_pfn << PAGE_SHIFT
        shown.append((base, base + reservoir.limit))
    host = _Column(shown, fold=fold)
    _frame(on, guest, _GUEST)
    _frame(on, host, _HOST)
    for number, one in enumerate(mappings):
        low, high = guest.heights(one.gpa, one.gpa + one.length)
        colour = style.COLOURS[number % len(style.COLOURS)]
        on.add_patch(Rectangle((_GUEST, low), _WIDTH, high - low, facecolor=colour, label=f"{one.gpa:#x}"))
        on.text(_GUEST + _WIDTH / 2, (low + high) / 2, _told(one), ha="center", va="center", fontsize=7, color="black")
    for number, gpa, hpa, length in spans:
        colour = style.COLOURS[number % len(style.COLOURS)]
        left, right = guest.heights(gpa, gpa + length), host.heights(hpa, hpa + length)
        on.add_patch(Rectangle((_HOST, right[0]), _WIDTH, right[1] - right[0], facecolor=colour))
        corners = [(_GUEST + _WIDTH, left[0]), (_HOST, right[0]), (_HOST, right[1]), (_GUEST + _WIDTH, left[1])]
        on.add_patch(Polygon(corners, facecolor=colour, alpha=0.25))
    on.set(xlim=(-0.9, 3.9), ylim=(-0.03, 1.06), yticks=[], frame_on=False)
    on.set_xticks([_GUEST + _WIDTH / 2, _HOST + _WIDTH / 2], ["guest-physical", "host-physical"])
    mapped = sum(one.length for one in mappings)
    folded = "holes folded" if fold else "to scale"
    on.set_title(f"{format_size(mapped)} in {len(mappings)} mappings, {len(spans)} spans of frames, {folded}")
    return on


def _frame(ax: Axes, column: _Column, left: float) -> None:
    """The places of one side, with their ends."""
    right = left > 0
    for place in column.places:
        ax.add_patch(Rectangle((left, place.low), _WIDTH, place.high - place.low, facecolor="white", edgecolor=style.GREY))
        x, align = (left + _WIDTH + 0.04, "left") if right else (left - 0.04, "right")
        ax.text(x, place.low, f"{place.start:#x}", ha=align, va="bottom", fontsize=7, family="monospace")
        if place.high - place.low > 2 * _GAP:
            ax.text(x, place.high, f"{place.end:#x}", ha=align, va="top", fontsize=7, family="monospace")


def _told(mapping: Mapping) -> str:
    kind = "device" if isinstance(mapping.obj, MmioObject) else str(Prot(mapping.prot).name)
    return f"{format_size(mapping.length)} {kind}"


def _spans(mapping: Mapping) -> Iterator[tuple[int, int, int]]:
    """Guest address, host address and length of each span of frames that a mapping shows."""
    gpa, left, page = mapping.gpa, mapping.length, mapping.offset
    while left:
        hpa, length = _run(mapping, page, left)
        yield gpa, hpa, length
        gpa, page, left = gpa + length, page + length, left - length


def _run(mapping: Mapping, offset: int, most: int) -> tuple[int, int]:
    """Host address at an offset of the object, and how many bytes follow it there."""
    spans = getattr(mapping.obj, "spans", None)
    if spans is None:
        return mapping.obj.pfn_at(offset) << PAGE_SHIFT, most
    start = 0
    for pfn, n_pages in spans:
        length = n_pages << PAGE_SHIFT
        if offset < start + length:
            return (pfn << PAGE_SHIFT) + offset - start, min(most, start + length - offset)
        start += length
    raise InvalidArgument(f"offset {offset:#x} is past the object's end")
