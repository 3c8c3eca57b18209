"""Small guests: a mapping or a few that lie across borders, beside each other or far apart, in part resident and dirty."""

import hypothesis.strategies as st

from npt._types import Prot
from npt.formats.amd import NPT
from npt.formats.base import PFN_END, PteFormat
from npt.formats.ept import EPT
from npt.testing.strategies.addresses import BORDERS, SPACE_END, page_counts, page_numbers, protections
from npt.testing.strategies.scenes import SPARE, Guest, Part
from npt.units import PAGE_SHIFT

__all__ = ["guests"]

_BASE_PFN = 0x100000  # of a reservoir, unless told
_GAPS = (0, 1, 2, 510, 511, 512, 513, *(border - 1 for border in BORDERS[1:]))  # pages between one mapping and the next
_BEFORE = tuple(border - n for border in BORDERS for n in (1, 2, 511))  # pages that a mapping begins at to cross a border
_Spans = tuple[tuple[int, int], ...]
_Place = tuple[int, int]  # first page, number of pages


@st.composite
def _spans(draw: st.DrawFn, n_pages: int) -> _Spans:
    """Parts of a mapping: none, all of it, or one or two from border to border."""
    cuts = sorted(draw(st.sampled_from([[], [0, n_pages]]) | st.lists(page_numbers(n_pages + 1), max_size=4, unique=True)))
    return tuple((first, end - first) for first, end in zip(cuts[::2], cuts[1::2], strict=False))


@st.composite
def _places(draw: st.DrawFn, n_pages: int, n_parts: int, most: int) -> list[_Place]:
    """Where mappings lie: the first anywhere, each other some pages behind the one before, as long as there is room."""
    places: list[_Place] = []
    crosses, before = draw(st.booleans()), [page for page in _BEFORE if page < n_pages]
    first = draw(st.sampled_from(before)) if crosses and before else draw(page_numbers(n_pages))
    while len(places) < n_parts and first < n_pages:
        length = draw(page_counts(min(most, n_pages - first), first=first))
        places.append((first, length))
        first += length + draw(st.sampled_from(_GAPS))
    return places


@st.composite
def _ram(draw: st.DrawFn, place: _Place, objects: list[int]) -> Part:
    """A mapping of RAM: of an object of its own, mostly, or of one that is there; it is added to ``objects``."""
    first, n_pages = place
    fitting = [number for number, size in enumerate(objects) if size >= n_pages]
    shares = draw(st.booleans())
    if fitting and shares:
        obj = draw(st.sampled_from(fitting))
    else:
        obj = len(objects)
        objects.append(n_pages + draw(st.sampled_from([0, 1, 3])))
    offset = draw(st.integers(0, objects[obj] - n_pages))
    return Part(first << PAGE_SHIFT, n_pages, int(draw(protections(Prot.READ))), obj, offset)


@st.composite
def _mmio(draw: st.DrawFn, place: _Place, most_ram: int) -> Part:
    """A mapping of device memory, apart from all RAM that there may be."""
    first, n_pages = place
    frames = [0xFEE00 - n_pages, _BASE_PFN - n_pages, _BASE_PFN + most_ram, PFN_END - n_pages]
    return Part(first << PAGE_SHIFT, n_pages, int(Prot.RW), None, draw(st.sampled_from(frames)))


@st.composite
def guests(
    draw: st.DrawFn,
    *,
    format: PteFormat | None = None,
    tracking: bool | None = None,
    size: int | None = None,
    most_parts: int = 3,
    most_pages: int = 1100,
    mmio: bool = True,
) -> Guest:
    """Small guests with at least one mapping.

    Parameters
    ----------
    format
        ``EPT`` or ``NPT``; either if None.
    tracking
        Whether they keep a dirty log; either if None. Those that do not have nothing dirty.
    size
        Bytes of their spaces; if None the largest, 512 GiB and two pages, or 1 GiB.
    most_parts
        Most mappings.
    most_pages
        Most pages of a mapping: with more than 513 it can lie across two table borders.
    mmio
        Whether some are of device memory.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(guests(), lambda guest: guest.format == "npt")
    Guest(format='npt', size=0x800000000000, tracking=False, objects=(1,), parts=(Part(gpa=0, n_pages=1, prot=1, obj=0, \
offset=0, populated=(), dirty=()),))
    """
    made = draw(st.sampled_from([EPT, NPT])) if format is None else format
    tracks = draw(st.booleans()) if tracking is None else tracking
    bytes_ = draw(st.sampled_from([SPACE_END, (512 << 30) + 8192, 1 << 30])) if size is None else size
    objects: list[int] = []
    parts = []
    for place in draw(_places(bytes_ >> PAGE_SHIFT, draw(st.integers(1, most_parts)), most_pages)):
        is_ram = not mmio or draw(st.sampled_from([True, True, True, False]))
        part = draw(_ram(place, objects) if is_ram else _mmio(place, most_parts * (most_pages + 3) + SPARE))
        dirty = draw(_spans(part.n_pages)) if tracks and part.prot & Prot.WRITE else ()
        parts.append(Part(**vars(part) | {"populated": draw(_spans(part.n_pages)), "dirty": dirty}))
    return Guest(made.name, bytes_, tracks, tuple(objects), tuple(parts))
