"""What vCPUs do: reads, writes and fetches of a guest, near the borders of its mappings, in holes, past its end."""

import hypothesis.strategies as st

from npt.testing.strategies.addresses import BORDERS, gpas, page_numbers
from npt.testing.strategies.entries import entries
from npt.testing.strategies.scenes import Access, Guest, Part
from npt.units import PAGE_SHIFT, PAGE_SIZE

__all__ = ["accesses"]


def _in_part(part: Part) -> st.SearchStrategy[int]:
    return page_numbers(part.n_pages).map(lambda page: part.gpa + (page << PAGE_SHIFT))


def _outside(guest: Guest) -> st.SearchStrategy[int]:
    """Pages beside mappings, anywhere in the space, and past its end."""
    beside = [gpa for part in guest.parts for gpa in (part.gpa - PAGE_SIZE, part.end) if gpa >= 0]
    beyond = [guest.size, guest.size + (BORDERS[0] << PAGE_SHIFT), 1 << 63, 2**64 - PAGE_SIZE]
    return st.sampled_from(beside) | gpas(guest.size) | st.sampled_from(beyond)


def accesses(guest: Guest, *, most: int = 80, faults: bool = True) -> st.SearchStrategy[list[Access]]:
    """Lists of accesses of a vCPU to a guest; some come again and again, so that there is more than a block of 64.

    Parameters
    ----------
    guest
        Whose pages are meant.
    most
        Most of them.
    faults
        Whether some are outside of all mappings; a protection may refuse others in any case.

    Examples
    --------
    >>> from hypothesis import find
    >>> guest = Guest("ept", 1 << 30, False, (1,), (Part(0, 1, obj=0),))
    >>> find(accesses(guest), lambda drawn: any(access.kind == "write" for access in drawn))
    [Access(gpa=0, kind='write', value=0)]
    """
    inside = st.one_of([_in_part(part) for part in guest.parts])
    pages = inside | inside | inside | _outside(guest) if faults else inside
    words = st.sampled_from([0, 8, 2048, PAGE_SIZE - 8])
    places = st.builds(int.__add__, pages, words)
    kinds = st.sampled_from(["read", "write", "write", "execute"])
    some = st.lists(st.builds(Access, places, kinds, entries()), max_size=most)
    return st.builds(lambda drawn, times: (drawn * times)[:most], some, st.sampled_from([1, 1, 2, 16]))
