"""Views that outlive what they were taken from: whatever they are kept as, nobody sees anything of anybody's through them."""

import gc
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, Prot, PteFormat, RamObject, Reservoir, StaleHandle, Vm, VmPage, VmSpace
from npt._types import U8Array
from npt.testing import check
from tests.isolation.canary import LATE, PAGE, filled, frames_of, stamp
from tests.isolation.kinds import COPIES, KINDS

N_PAGES, SIZE, LIMIT = 3, 8, 12
OWN, OTHER = 1, 2  # guests
VIEWED = 1  # page of the object


class Guest:
    """Somebody who has an object, and holds a page of it; everything of it says so."""

    def __init__(self, form: PteFormat, *, transient: bool = False) -> None:
        self.form = form
        self.reservoir = Reservoir(SIZE * PAGE, limit=LIMIT * PAGE)
        self.vm = Vm(self.reservoir, format=form)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE, transient=transient)
        self.vm.space.map(self.ram, 0, self.ram.length, Prot.RW)
        self.client = self.vm.space.client()
        self.client.write(0, marked(OWN, N_PAGES))
        self.frame = frames_of(self.ram)[VIEWED]
        self.page: VmPage = self.client.hold(VIEWED * PAGE, Prot.RW)


def marked(guest: int, n_pages: int) -> U8Array:
    """Pages that say whose they are."""
    return np.concatenate([filled(stamp(guest, guest, page, 0)) for page in range(n_pages)])


def _mapping_goes_first(guest: Guest) -> None:
    guest.vm.space.unmap(0, guest.ram.length)
    guest.ram.release()
    guest.page.release()


def _hold_goes_first(guest: Guest) -> None:
    guest.page.release()
    guest.vm.space.unmap(0, guest.ram.length)
    guest.ram.release()


def _reference_goes_first(guest: Guest) -> None:
    guest.ram.release()
    guest.page.release()
    guest.vm.space.unmap(0, guest.ram.length)


def _client_goes(guest: Guest) -> None:
    guest.ram.release()
    guest.client.release_all()
    guest.client.destroy()
    guest.vm.space.close()


def _space_is_closed(guest: Guest) -> None:
    guest.vm.space.close()
    guest.ram.release()
    guest.page.release()


def _space_is_destroyed(guest: Guest) -> None:
    guest.vm.space.unmap(0, guest.ram.length)
    guest.vm.space.destroy()
    guest.page.release()
    guest.ram.release()


def _vm_is_destroyed(guest: Guest) -> None:
    guest.page.release()
    guest.ram.release()
    guest.vm.destroy()


def _shared_to_the_last(guest: Guest) -> None:
    """Somebody else has the object, too, on purpose, and is the last."""
    with VmSpace(1 << 30, format=guest.form, reservoir=guest.reservoir) as other:
        other.map(guest.ram, 0x20_0000, guest.ram.length, Prot.RW)
        _hold_goes_first(guest)


def _in_a_chain(guest: Guest) -> None:
    first = guest.client.hold(0, Prot.READ)
    first.chain(guest.page)
    guest.vm.space.unmap(0, guest.ram.length)
    guest.ram.release()
    first.release_chain()


ENDS: dict[str, Callable[[Guest], None]] = {
    "unmap, free, release": _mapping_goes_first,
    "release, unmap, free": _hold_goes_first,
    "free, release, unmap": _reference_goes_first,
    "client": _client_goes,
    "close": _space_is_closed,
    "destroy": _space_is_destroyed,
    "Vm": _vm_is_destroyed,
    "shared": _shared_to_the_last,
    "chain": _in_a_chain,
}


def settle_in(guest: Guest, *, transient: bool) -> tuple[VmSpace, RamObject]:
    """Another guest takes all memory that there is, finds it zero, and makes it its own."""
    usage = guest.reservoir.usage
    n_free = LIMIT * PAGE - guest.reservoir.size - usage.transient if transient else usage.free
    ram = guest.reservoir.allocate(n_free, transient=transient)
    space = VmSpace(1 << 30, format=guest.form, reservoir=guest.reservoir)
    space.map(ram, 0, ram.length, Prot.RW)
    client = space.client()
    assert not any(client.read(0, ram.length))
    client.write(0, marked(OTHER, ram.length // PAGE))
    return space, ram


def check_other(space: VmSpace, ram: RamObject) -> None:
    """It has what it wrote."""
    client = space.client()
    assert client.read(0, ram.length) == marked(OTHER, ram.length // PAGE).tobytes()


def outlive(form: PteFormat, name: str, end: str, *, transient: bool = False, writable: bool = True) -> None:
    """A view is kept as something, its page freed, all there is taken by another, the view written through, and dropped."""
    guest, kind = Guest(form, transient=transient), KINDS[name]
    expected = filled(stamp(OWN, OWN, VIEWED, 0))
    kept: Any = kind.derive(guest.page.writable() if writable else guest.page.readable())
    mirror: Any = kind.derive(expected)
    assert writable or not kind.look(kept).flags.writeable
    assert np.array_equal(kind.look(kept), kind.look(mirror))
    ENDS[end](guest)
    expected[:] = 0
    assert np.array_equal(kind.look(kept), kind.look(mirror)), f"{name} shows {np.unique(kind.look(kept))} after {end}"
    space, ram = settle_in(guest, transient=transient)
    assert np.array_equal(kind.look(kept), kind.look(mirror)), f"{name} shows another's after {end}"
    if kind.look(kept).flags.writeable:
        kind.look(kept)[...] = LATE
        kind.look(mirror)[...] = LATE
        assert np.array_equal(kind.look(kept), kind.look(mirror))
    check_other(space, ram)
    assert guest.frame not in frames_of(ram)
    check(space)
    kept = None
    if kind.collects:
        gc.collect()
    check_other(space, ram)
    with guest.reservoir.allocate(PAGE, transient=transient) as last:
        assert frames_of(last) == [guest.frame]
        assert not guest.reservoir.buffer[guest.frame * PAGE :][:PAGE].any(), f"what {name} wrote is in new memory"
    space.close()
    ram.release()
    guest.vm.destroy()
    assert not guest.reservoir.buffer.any()
    assert guest.reservoir.usage.free == SIZE * PAGE
    guest.reservoir.close()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", KINDS)
def test_views__outlive_their_page(name: str, end: str) -> None:
    """Every kind of view, every way for its page to go."""
    outlive(EPT, name, end)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("transient", [False, True])
def test_views__for_reading_only(form: PteFormat, end: str, transient: bool) -> None:
    """The other view that a page has, in both formats, and of transient memory."""
    outlive(form, "slice", end, transient=transient, writable=False)


@pytest.mark.parametrize("name", KINDS)
def test_views__of_transient_memory(name: str) -> None:
    """Memory from beyond the size is as safe."""
    outlive(NPT, name, "release, unmap, free", transient=True)


@pytest.mark.parametrize("name", COPIES)
def test_views__a_copy_keeps_nothing(form: PteFormat, name: str) -> None:
    """A copy shows for ever what it is a copy of, and its frame is another's at once."""
    guest = Guest(form)
    copy = COPIES[name](guest.page.readable())
    _hold_goes_first(guest)
    assert guest.reservoir.usage.quarantined == 0
    space, ram = settle_in(guest, transient=False)
    assert guest.frame in frames_of(ram)
    assert bytes(copy) == filled(stamp(OWN, OWN, VIEWED, 0)).tobytes()
    space.close()
    ram.release()
    guest.vm.destroy()
    guest.reservoir.close()


def test_views__many_of_one_page(form: PteFormat) -> None:
    """Of many views that a page gave out the last one counts, be it the first or the last that was taken."""
    for survivor in (0, 19, 39):
        guest = Guest(form)
        views = [guest.page.readable() if n % 2 else guest.page.writable() for n in range(40)]
        view: Any = views[survivor]
        del views
        _hold_goes_first(guest)
        space, ram = settle_in(guest, transient=False)
        assert not view.any()
        assert guest.frame not in frames_of(ram)
        view = None
        assert guest.reservoir.usage.quarantined == 0
        space.close()
        ram.release()
        guest.vm.destroy()


def test_views__of_two_holds(form: PteFormat) -> None:
    """Two clients hold one page; the view of either keeps the frame."""
    for survivor in (0, 1):
        guest = Guest(form)
        second = guest.vm.space.client().hold(VIEWED * PAGE, Prot.RW)
        views: list[Any] = [guest.page.writable(), second.writable()]
        views[1 - survivor] = None
        second.release()
        _hold_goes_first(guest)
        space, ram = settle_in(guest, transient=False)
        assert guest.frame not in frames_of(ram)
        views[survivor][:] = LATE
        check_other(space, ram)
        views.clear()
        assert guest.reservoir.usage.quarantined == 0
        assert not guest.reservoir.buffer[guest.frame * PAGE :][:PAGE].any()
        space.close()
        ram.release()
        guest.vm.destroy()


def test_views__one_by_one(form: PteFormat) -> None:
    """Views of two holds, two of each, die in every order: the frame is kept, and may be written, to the last."""
    orders = [*permutations(range(4))]
    assert len(orders) == 24
    for order in orders:
        guest = Guest(form)
        second = guest.vm.space.client().hold(VIEWED * PAGE, Prot.RW)
        views: list[Any] = [page.writable() for page in (guest.page, second) for _ in range(2)]
        second.release()
        _hold_goes_first(guest)
        assert len(order) == 4
        for n_left, dies in zip((3, 2, 1, 0), order, strict=True):
            views[dies][:] = LATE
            views[dies] = None
            assert guest.reservoir.usage.quarantined == (PAGE if n_left else 0)
            assert guest.reservoir.buffer[guest.frame * PAGE] == (LATE if n_left else 0)
            with guest.reservoir.allocate(guest.reservoir.usage.free) as ram:
                assert (guest.frame in frames_of(ram)) == (not n_left)
        assert not guest.reservoir.buffer.any()
        guest.vm.destroy()
        guest.reservoir.close()


def test_views__frames_that_grow_and_shrink(form: PteFormat) -> None:
    """A frame in quarantine is nobody's, however the reservoir is resized; afterwards it is as good as new."""
    guest = Guest(form)
    view: Any = guest.page.writable()
    _vm_is_destroyed(guest)
    view[:] = LATE
    assert guest.reservoir.resize(0) == PAGE
    for transient in (True, False):
        guest.reservoir.resize(0 if transient else LIMIT * PAGE)
        with guest.reservoir.allocate((LIMIT - 1) * PAGE, transient=transient) as ram:
            assert guest.frame not in frames_of(ram)
    assert view.min() == LATE
    view = None
    assert guest.reservoir.resize(0) == 0
    with guest.reservoir.allocate(LIMIT * PAGE, transient=True):
        assert not guest.reservoir.buffer.any()
    guest.reservoir.close()


def test_segments__end_with_their_vm(form: PteFormat) -> None:
    """A window keeps its object, mapped or not; when the Vm goes so does the window, and what it showed is zero."""
    guest = Guest(form)
    ram = guest.vm.alloc_memseg(0, N_PAGES * PAGE)
    frames = frames_of(ram)
    segment = guest.vm.map_object(0, 0, N_PAGES * PAGE, Prot.RW)
    through = guest.vm.map_guest(0, N_PAGES * PAGE, Prot.READ)
    segment[:] = marked(OWN, N_PAGES).tobytes()
    _hold_goes_first(guest)
    space, other = settle_in(guest, transient=False)
    assert segment[:] == marked(OWN, N_PAGES).tobytes()
    with pytest.raises(LookupError):
        through.read(0, 1)
    guest.vm.destroy()
    for window in (segment, through):
        with pytest.raises(StaleHandle):
            window.read(0, 1)
    with pytest.raises(StaleHandle):
        segment[0] = 1
    check_other(space, other)
    assert not guest.reservoir.buffer.reshape(-1, PAGE)[frames].any()
    space.close()
    other.release()
    guest.reservoir.close()
