"""One page held: views, marks, chains, and the end."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import (
    AccessDenied,
    Busy,
    InvalidArgument,
    NotSupported,
    Prot,
    RamObject,
    Reservoir,
    StaleHandle,
    VmClient,
    VmPage,
    VmSpace,
)
from tests.space.scene import PAGE, dirty, map_at


def test_views__are_the_page_itself(client: VmClient) -> None:
    """A view is 4096 bytes of guest memory, not a copy."""
    with client.hold(PAGE, Prot.RW) as page:
        readable, writable = page.readable(), page.writable()
        writable[0xFFF] = 9
        assert (readable.shape, str(readable.dtype), readable[0xFFF]) == ((4096,), "uint8", 9)
        assert client.read(0x1FFF, 1) == b"\x09"


def test_views__readable_cannot_be_written(client: VmClient) -> None:
    """A view to read is read-only, and cannot be made writable."""
    with client.hold(0, Prot.RW) as page:
        view = page.readable()
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True


DENIED: list[tuple[Prot, Callable[[VmPage], object]]] = [
    (Prot.READ, lambda page: page.writable()),
    (Prot.READ, lambda page: page.mark_dirty()),
    (Prot.RX, lambda page: page.writable()),
    (Prot.WRITE, lambda page: page.readable()),
]


@pytest.mark.parametrize(("prot", "act"), DENIED)
def test_views__only_what_it_was_held_for(
    space: VmSpace, client: VmClient, ram: RamObject, prot: Prot, act: Callable[[VmPage], object]
) -> None:
    """A page gives what it was held for."""
    map_at(space, ram, 0x200000, Prot.RWX)
    with client.hold(0x200000, prot) as page, pytest.raises(AccessDenied):
        act(page)


def test_prot__is_what_it_was_held_for(client: VmClient) -> None:
    """Not what the mapping allows."""
    with client.hold(0, Prot.WRITE) as page:
        assert (page.prot, page.gpa, type(page.prot)) == (Prot.WRITE, 0, Prot)
        assert page.writable().size == PAGE


# -- dirty at release ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prot", "defer", "mark", "wanted"),
    [
        (Prot.READ, False, False, []), (Prot.READ, True, False, []), (Prot.RW, False, False, [0]),
        (Prot.WRITE, False, False, [0]), (Prot.RW, True, False, []), (Prot.RW, True, True, [0]), (Prot.RW, False, True, [0]),
    ],
)  # fmt: skip
def test_release__marks(space: VmSpace, client: VmClient, prot: Prot, defer: bool, mark: bool, wanted: list[int]) -> None:
    """A page held to be written is dirty from its release, unless that was deferred and not taken back."""
    page = client.hold(0, prot, defer_dirty=defer)
    if mark:
        page.mark_dirty()
    assert dirty(space, 0, PAGE) == []
    assert page.release() is False
    assert dirty(space, 0, PAGE) == wanted


def test_release__through_an_alias_marks_its_own_address(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Of two mappings of one frame, the one it was held through is dirty."""
    map_at(space, ram, 0x200000)
    client.hold(0x200000, Prot.RW).release()
    assert (dirty(space, 0, PAGE), dirty(space, 0x200000, PAGE)) == ([], [0])


def test_release__after_unmap_marks_nobody(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """A page that was unmapped meanwhile marks neither the old leaf nor what is there now."""
    page = client.hold(0, Prot.RW)
    space.unmap(0, ram.length)
    map_at(space, ram, 0)
    space.populate(0, ram.length)
    assert page.release() is True
    assert dirty(space, 0, ram.length) == []


def test_release__tells_of_its_own_mapping_only(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Another mapping's end does not concern a page."""
    map_at(space, ram, 0x200000)
    page = client.hold(0x200000, Prot.RW)
    space.unmap(0, ram.length)
    assert page.release() is False
    assert dirty(space, 0x200000, PAGE) == [0]


def test_release__neighbours_of_an_unmapped_range_stay(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Pages right before and right behind the range are as they were; its own first and last are not."""
    map_at(space, ram, ram.length)
    map_at(space, ram, 2 * ram.length)
    first, end = ram.length, 2 * ram.length
    pages = [client.hold(gpa, Prot.RW) for gpa in (first - PAGE, first, end - PAGE, end)]
    space.unmap(ram.length, ram.length)
    assert [page.release() for page in pages] == [False, True, True, False]
    assert space.peek_dirty(first - PAGE, PAGE).tolist() == space.peek_dirty(end, PAGE).tolist() == [1]


def test_unmap__a_hold_keeps_the_object(space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir) -> None:
    """A page held beyond its mapping has a reference of its own, until its release."""
    page, again = client.hold(0, Prot.RW), client.hold(0, Prot.RW)
    page.writable()[:] = 3
    space.unmap(0, ram.length)
    assert ram.refs == 3
    ram.release()
    assert again.readable()[5] == 3
    assert again.release() is True
    assert page.readable()[5] == 3
    assert reservoir.usage.allocated == ram.refs * 0x10 * PAGE
    page.release()
    assert reservoir.usage.free == reservoir.size


def test_view__outlives_the_release(space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir) -> None:
    """A view taken earlier stays usable; its frame is quarantined when freed, and free when the view is gone."""
    page = client.hold(0, Prot.RW)
    view = page.writable()
    part = view[100:200].reshape(10, 10)
    page.release()
    del page, view
    part[:] = 7
    space.unmap(0, ram.length)
    ram.release()
    assert reservoir.usage.quarantined == PAGE
    assert not part.any()
    part[:] = 8
    del part
    gc.collect()
    assert reservoir.usage.quarantined == 0
    assert not reservoir.buffer.any()


def test_view__that_is_gone(space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir) -> None:
    """Views that died before the release quarantine nothing."""
    page = client.hold(0, Prot.RW)
    for _ in range(100):
        page.writable()[0] = 1
    page.release()
    space.unmap(0, ram.length)
    ram.release()
    assert reservoir.usage.quarantined == 0


DERIVED: dict[str, Callable[[Any], Any]] = {
    "itself": lambda view: view,
    "slice": lambda view: view[8:16],
    "slice of a slice": lambda view: view[8:][::2],
    "other type": lambda view: view.view(np.uint64),
    "memoryview slice": lambda view: memoryview(view)[1:2],
    "array of memoryview": lambda view: np.frombuffer(memoryview(view)[8:16], dtype=np.uint32),
}


@pytest.mark.parametrize("derived", DERIVED)
@pytest.mark.parametrize("take", [VmPage.readable, VmPage.writable], ids=["readable", "writable"])
@pytest.mark.parametrize("chained", [False, True])
def test_view__whatever_is_made_of_it_keeps_the_frame(
    space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir, derived: str,
    take: Callable[[VmPage], Any], chained: bool,
) -> None:  # fmt: skip
    """What is left of a view when its page is released, alone or with a chain, keeps the frame from reuse until it goes."""
    page = client.hold(0, Prot.RW)
    reach = DERIVED[derived](take(page))
    page.release_chain() if chained else page.release()
    space.unmap(0, ram.length)
    ram.release()
    assert reservoir.usage.quarantined == PAGE
    del reach
    assert reservoir.usage.quarantined == 0


@pytest.mark.parametrize("kept", [[], [0], [39], [3, 17, 18], list(range(0, 40, 7))])
def test_view__one_of_many(space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir, kept: list[int]) -> None:
    """Of many views those that are alive count, whichever they are; the dead are forgotten while the page is held."""
    page = client.hold(0, Prot.RW)
    views = {k: view for k, view in ((k, page.writable()) for k in range(40)) if k in kept}
    assert len(views) == len(kept)
    assert len(page._windows) <= len(views) + 17
    page.release()
    space.unmap(0, ram.length)
    ram.release()
    for k in kept:
        assert reservoir.usage.quarantined == PAGE
        del views[k]
    assert reservoir.usage.quarantined == 0


def test_view__is_dead_for_weak_references_too(client: VmClient) -> None:
    """The page does not keep its views: none can be had back through a weak reference and outlive the release unseen."""
    page = client.hold(0, Prot.RW)
    known = weakref.ref(page.writable())
    assert known() is None
    page.release()


@pytest.mark.parametrize("hpa", [0, 0xFE00_0000, 2**45 - PAGE])
def test_views__of_mmio(space: VmSpace, client: VmClient, hpa: int) -> None:
    """Below the memory and behind it: no bytes, and no exception but ours."""
    mmio = space.map_mmio(0x200000, PAGE, hpa)
    with client.hold(0x200000, Prot.RW) as page:
        for take in (page.readable, page.writable):
            with pytest.raises(NotSupported):
                take()
        assert page.pfn == hpa >> 12
        for touch in (lambda: client.read(0x200000, 8), lambda: client.write(0x200000, b"x")):
            with pytest.raises(NotSupported):
                touch()
    mmio.release()


# -- chains -------------------------------------------------------------------------------------------------------------


def hold_three(client: VmClient) -> tuple[VmPage, VmPage, VmPage]:
    """Three pages, chained in their order."""
    first, second, third = (client.hold(k * PAGE, Prot.RW) for k in range(3))
    first.chain(second)
    second.chain(third)
    return first, second, third


def test_chain__is_walked_by_next(client: VmClient) -> None:
    """next is the page chained behind, or None."""
    first, second, third = hold_three(client)
    assert (first.next, second.next, third.next) == (second, third, None)
    first.release_chain()


def test_chain__is_released_at_once(space: VmSpace, client: VmClient) -> None:
    """release_chain gives up this page and all behind it, each as its own release would."""
    first, second, third = hold_three(client)
    assert second.release_chain() is False
    assert (first.next, client.holds) == (None, 1)
    assert dirty(space, 0, 3 * PAGE) == [1, 2]
    for page in (second, third):
        with pytest.raises(StaleHandle):
            page.release()
    assert first.release_chain() is False


def test_chain__tells_if_any_was_unmapped(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """One page that lost its mapping is enough."""
    map_at(space, ram, 0x200000)
    first, second = client.hold(0, Prot.RW), client.hold(0x200000, Prot.RW)
    first.chain(second)
    space.unmap(0x200000, ram.length)
    assert first.release_chain() is True
    assert dirty(space, 0, PAGE) == [0]


def test_chain__closes_up(client: VmClient) -> None:
    """A page released out of the middle leaves its neighbours chained."""
    first, second, third = hold_three(client)
    second.release()
    assert first.next is third
    assert client.holds == 2
    first.release_chain()
    assert client.holds == 0


def test_chain__once(client: VmClient) -> None:
    """A page has one before it and one behind it."""
    first, second, third = hold_three(client)
    other = client.hold(0, Prot.RW)
    for before, after in ((first, other), (other, second), (first, second)):
        with pytest.raises(Busy):
            before.chain(after)
    third.chain(other)
    first.release_chain()
    assert client.holds == 0


def test_chain__no_rings(client: VmClient) -> None:
    """A page cannot come behind itself."""
    first, second, third = hold_three(client)
    for before, after in ((third, first), (third, second), (third, third)):
        with pytest.raises(InvalidArgument):
            before.chain(after)
    assert third.next is None
    first.release_chain()


def test_chain__two_chains_join(client: VmClient) -> None:
    """The end of one chain takes the start of another."""
    first, _, third = hold_three(client)
    fourth, *_ = hold_three(client)
    third.chain(fourth)
    first.release_chain()
    assert client.holds == 0


def test_chain__within_a_client(space: VmSpace, client: VmClient) -> None:
    """Pages of two clients do not mix."""
    other = space.client()
    with client.hold(0, Prot.RW) as page, other.hold(0, Prot.RW) as foreign, pytest.raises(InvalidArgument):
        page.chain(foreign)


# -- the end ------------------------------------------------------------------------------------------------------------


def test_context__releases(client: VmClient) -> None:
    """Leaving the context releases, once."""
    with client.hold(0, Prot.RW) as page:
        pass
    assert client.holds == 0
    with client.hold(0, Prot.RW) as page:
        page.release()
    assert client.holds == 0


def test_context__hides_no_error(client: VmClient) -> None:
    """An error inside the context comes out, and the page is released."""
    with pytest.raises(KeyError), client.hold(0, Prot.RW):
        raise KeyError
    assert client.holds == 0


def test_repr__tells_the_state(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Held, unmapped, released."""
    page = client.hold(0x1000, Prot.RW)
    assert "0x1000" in repr(page)
    assert "held" in repr(page)
    space.unmap(0, ram.length)
    assert "unmapped" in repr(page)
    page.release()
    assert "released" in repr(page)
