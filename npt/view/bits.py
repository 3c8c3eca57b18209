"""One entry, bit by bit; one translation, level by level."""

from typing import NamedTuple, SupportsIndex

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from npt.errors import InvalidArgument
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.table.explain import Walk
from npt.units import as_int
from npt.view import style

__all__ = ["Field", "bits", "fields", "walk"]

_BITS = 64
_WIDE = 3  # bits less one that have room for a word


class Field(NamedTuple):
    """Some bits of an entry.

    Attributes
    ----------
    low, high : int
        First and last bit.
    name : str
        As the manual calls it.
    value : int
        What the entry has there.
    """

    low: int
    high: int
    name: str
    value: int


# Names of the bits of a leaf entry, by the lowest; those between are ignored by the processor.
_EPT = {0: "R", 1: "W", 2: "X", 3: "memory type", 6: "IPAT", 7: "", 8: "A", 9: "D", 10: "", 12: "host frame", 52: ""}
_NPT = {
    0: "P", 1: "W", 2: "U", 3: "PWT", 4: "PCD", 5: "A", 6: "D", 7: "PAT", 8: "G", 9: "", 12: "host frame", 52: "", 63: "NX",
}  # fmt: skip
_NAMES = {"ept": _EPT, "npt": _NPT}


def fields(entry: SupportsIndex, format: PteFormat) -> list[Field]:
    """The fields of a leaf entry, from bit 0 up; those that mean nothing to the processor have no name."""
    if not isinstance(format, PteFormat):
        raise TypeError(f"format must be a PteFormat, not {type(format).__name__}")
    value = as_int(entry, "entry")
    if not 0 <= value < 1 << _BITS:
        raise InvalidArgument(f"entry {value:#x} has not 64 bits")
    names = _NAMES[format.name]
    lows = sorted(names)
    return [
        Field(low, end - 1, names[low], value >> low & ((1 << end - low) - 1))
        for low, end in zip(lows, [*lows[1:], _BITS], strict=True)
    ]


def bits(entry: SupportsIndex, *, format: PteFormat = EPT, ax: Axes | None = None) -> Axes:
    """Show one leaf entry as a ruler of 64 bits, with every field named.

    Parameters
    ----------
    entry
        As ``VmSpace.pte`` gives it.
    format
        ``EPT`` or ``NPT``.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        Bit 63 is at the left. A patch for each bit, filled where it is set; a text for each field with its name and
        value.

    Raises
    ------
    InvalidArgument
        The entry does not have 64 bits.
    """
    found = fields(entry, format)
    on = style.as_axes(ax, size=(11.0, 2.2))
    for number, field in enumerate(found):
        for bit in range(field.low, field.high + 1):
            is_set = as_int(entry, "entry") >> bit & 1
            face = style.COLOURS[0] if is_set else "none"
            on.add_patch(Rectangle((_BITS - 1 - bit, 0), 1, 1, facecolor=face, edgecolor=style.GREY, linewidth=0.5))
        name = field.name or ("ignored" if field.high - field.low >= _WIDE else "")
        if name:
            middle, above = _BITS - (field.low + field.high + 1) / 2, number % 2
            value = f"{field.value:#x}" if field.high > field.low else str(field.value)
            on.text(middle, 1.15 + 0.45 * above, f"{name}\n{value}", ha="center", va="bottom", fontsize=8)
            on.plot([middle, middle], [1, 1.12 + 0.45 * above], color=style.GREY, linewidth=0.5)
    on.set(xlim=(0, _BITS), ylim=(-0.1, 2.6), yticks=[], frame_on=False, xlabel="bit")
    edges = [0, 8, 12, 16, 24, 32, 40, 48, 52, 63]
    on.set_xticks([_BITS - 0.5 - bit for bit in edges], [str(bit) for bit in edges])
    on.set_title(f"{format.name} leaf entry {as_int(entry, 'entry'):#018x}")
    return on


def walk(walk: Walk, *, ax: Axes | None = None) -> Axes:
    """Show one translation through the levels: indices, entries, and what they say.

    Parameters
    ----------
    walk
        From ``VmSpace.explain``.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        A bar for each level that was looked at, with a mark where its index is in the table, and what the entry there says.
    """
    if not isinstance(walk, Walk):
        raise TypeError(f"walk must be a Walk, from VmSpace.explain, not {type(walk).__name__}")
    on = style.as_axes(ax, size=(9.0, 3.2))
    for step in walk.steps:
        on.add_patch(Rectangle((0, step.level - 0.3), 512, 0.6, facecolor="none", edgecolor=style.GREY))
        colour = style.COLOURS[0] if step.entry else style.COLOURS[5]
        on.add_patch(Rectangle((step.index - 1, step.level - 0.3), 3, 0.6, facecolor=colour, edgecolor=colour))
        on.text(530, step.level, f"[{step.index}]  {step.entry:#018x}\n{walk.describe(step)}", va="center", fontsize=8)
    on.set(xlim=(0, 1000), ylim=(0.4, 4.6), xticks=[0, 128, 256, 384, 511], ylabel="level", frame_on=False)
    levels = {4: "4 (root)", 3: "3", 2: "2", 1: "1 (leaf)"}
    on.set_yticks(list(levels), list(levels.values()))
    on.set_xlabel("index in the table", loc="left")
    on.set_title(f"{walk.format.name} walk of {walk.gpa:#x}: {_end(walk)}")
    return on


def _end(walk: Walk) -> str:
    """Where a walk leads to."""
    if not walk.steps:
        return "past the end of the space"
    if walk.leaf is None:
        return "not mapped"
    return "not resident" if walk.pfn is None else f"frame {walk.pfn:#x}"
