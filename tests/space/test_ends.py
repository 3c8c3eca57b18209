"""The end of a space: orphans, pages held beyond it, contexts, and what it warns of."""

import warnings

import pytest

from npt import (
    Busy,
    InvalidArgument,
    Orphaned,
    Prot,
    RamObject,
    Reservoir,
    StaleHandle,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import (
    PAGE,
    map_at,
)  # fmt: skip


def test_close__orphans_clients(space: VmSpace, client: VmClient) -> None:
    """A client of a space that is closed is an orphan: no look-ups, no clones, no vCPU."""
    space.close()
    assert client.orphaned
    for act in (client.clone, client.table_enter, lambda: client.hold(0, Prot.READ), lambda: client.on_invalidate(None)):
        with pytest.raises(Orphaned):
            act()


def test_close__held_pages_stay(space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir) -> None:
    """Pages held beyond the end of the space are readable and writable until released, and say that they were unmapped."""
    page = client.hold(0, Prot.RW)
    pages = client.hold_many([PAGE, 2 * PAGE], Prot.RW)
    space.close()
    page.writable()[:] = 7
    assert page.readable()[0xFFF] == 7
    assert pages.gather().shape == (2, PAGE)
    assert (client.holds, ram.refs) == (3, 4)
    assert (page.release(), pages.release()) == (True, 2)
    assert ram.refs == 1


def test_orphan__releases_all_and_is_destroyed(space: VmSpace, client: VmClient) -> None:
    """An orphan can be cleared away, and stays an orphan."""
    kept = [client.hold(0, Prot.READ), client.hold(PAGE, Prot.READ)]
    space.close()
    assert client.release_all() == 2
    client.destroy()
    client.destroy()
    assert client.orphaned
    with pytest.raises(StaleHandle):
        kept[0].release()


def test_orphan__table_exit_without_enter(space: VmSpace, client: VmClient) -> None:
    """An orphan that is not on CPU is told what anybody is told."""
    space.close()
    with pytest.raises(InvalidArgument):
        client.table_exit()


def test_destroy__orphans_and_keeps_pages(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """destroy needs the mappings gone, not the pages."""
    page = client.hold(0, Prot.RW)
    space.unmap(0, ram.length)
    space.destroy()
    assert client.orphaned
    assert page.readable()[0] == 0
    assert page.release() is True


def test_destroy__busy_with_mappings(space: VmSpace) -> None:
    """Mappings have to be taken down first."""
    with pytest.raises(Busy):
        space.destroy()
    assert len(space.mappings) == 1


def test_destroy__twice_is_stale(space: VmSpace, ram: RamObject) -> None:
    """destroy is for once; close may follow."""
    space.unmap(0, ram.length)
    space.destroy()
    with pytest.raises(StaleHandle):
        space.destroy()
    space.close()


def test_close__is_idempotent(space: VmSpace) -> None:
    """The second close does nothing."""
    space.close()
    space.close()
    with pytest.raises(StaleHandle):
        space.client()


def test_close__gives_references_back(space: VmSpace, ram: RamObject) -> None:
    """Each mapping gives up its reference."""
    map_at(space, ram, 0x200000)
    assert ram.refs == 3
    space.close()
    assert ram.refs == 1


def test_context__closes(reservoir: Reservoir, ram: RamObject) -> None:
    """Leaving the context closes the space."""
    with VmSpace(PAGE) as space:
        space.map(ram, 0, PAGE, Prot.RW)
    assert ram.refs == 1
    with pytest.raises(StaleHandle):
        space.__enter__()


def test_context__hides_no_error(ram: RamObject) -> None:
    """An error inside a context comes out as it is."""
    with pytest.raises(KeyError), VmSpace(PAGE) as space:  # noqa: PT012
        space.map(ram, 0, PAGE, Prot.RW)
        raise KeyError


def test_close__warns_of_pages_that_nobody_has(space: VmSpace, client: VmClient) -> None:
    """A page that was dropped without its release is kept, counted, and told of at the end."""
    client.hold(0, Prot.RW)
    client.hold_many([0, PAGE], Prot.RW)
    assert client.holds == 3
    with pytest.warns(ResourceWarning, match="3"):
        space.close()
    assert client.release_all() == 3


def test_close__warns_of_a_chain_that_nobody_has(space: VmSpace, client: VmClient) -> None:
    """That dropped pages know each other does not make them somebody's."""
    client.hold(0, Prot.RW).chain(client.hold(PAGE, Prot.RW))
    assert client.holds == 2
    with pytest.warns(ResourceWarning, match="2"):
        space.close()


def test_close__does_not_warn_of_pages_in_use(space: VmSpace, client: VmClient) -> None:
    """Who still has its pages may go on with them."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([0], Prot.RW)
    first, second = client.hold(0, Prot.RW), client.hold(0, Prot.RW)
    first.chain(second)
    del second
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space.close()
    assert (page.release(), pages.release(), first.release_chain()) == (True, 1, True)
