"""Unmapping beside vCPUs that are on their way through the tables: they reach nobody else's pages."""

import numpy as np

from npt import ExitReason, FaultCode, KickTimeout, Prot, VcpuExit
from npt.formats.base import ADDRESS
from npt.testing import Play, check, until
from npt.units import ENTRIES, PAGE_SHIFT
from tests.interleavings.scenario import scenario
from tests.interleavings.scene import FAR, HERE, NEXT, PAGE, Case, Scene, write

__all__: list[str] = []

VALUE = 0x77


def _outcome(exit: VcpuExit) -> str:
    if exit.reason is ExitReason.DONE:
        return "stored"
    assert exit.reason is ExitReason.FAULT
    assert exit.code is FaultCode.NOMAP
    return "refused"


@scenario("stored", "refused", tlbs=(0, 2), sampled=1000)
def unmap_against_walk(case: Case) -> Play:
    """A vCPU writes to a page while that is unmapped and its tables are built into another mapping's at once."""
    scene = Scene(case)
    one, other = scene.ram(), scene.ram()
    scene.map(one, HERE)
    vcpu = scene.vcpu()
    exits: list[VcpuExit] = []

    def change() -> None:
        scene.space.unmap(HERE, PAGE)
        last = scene.word(one)
        scene.map(other, FAR, resident=True)
        until(lambda: exits, "the vCPU to be done")
        assert scene.word(one) == last, "stored after unmap had returned"

    def finish() -> None:
        case.seen.add(_outcome(exits[0]))
        assert scene.is_zero(other), "stored in somebody else's page"
        assert not scene.space.peek_dirty(FAR, PAGE).any(), "marked somebody else's page"
        assert (scene.word(one) == VALUE) == (exits[0].reason is ExitReason.DONE)

    return scene.play([lambda: exits.append(write(vcpu, HERE, VALUE)), change], finish)


@scenario("stored in one", "stored in the other", "refused", tlbs=(0, 2))
def unmap_against_walk_beside_a_neighbour(case: Case) -> Play:
    """The same where the leaf table stays for a neighbour's sake, and another page takes the place of the one unmapped."""
    scene = Scene(case)
    one, other, neighbour = scene.ram(), scene.ram(), scene.ram()
    scene.map(one, HERE, resident=True)
    scene.map(neighbour, NEXT, resident=True)
    vcpu = scene.vcpu()
    exits: list[VcpuExit] = []
    told: list[int] = []
    last: list[int] = []
    scene.client().on_invalidate(lambda gpa, length: told.append(scene.word(one)))

    def change() -> None:
        scene.space.unmap(HERE, PAGE)
        last.append(scene.word(one))
        assert scene.space.resident_count == 1
        scene.map(other, HERE)

    def finish() -> None:
        words = scene.word(one), scene.word(other)
        assert told == [words[0]], "stored after clients were told"
        assert last == [words[0]], "stored after unmap had returned"
        wanted = [(VALUE, 0), (0, VALUE)] if _outcome(exits[0]) == "stored" else [(0, 0)]
        assert words in wanted
        case.seen.add(("refused", "stored in one", "stored in the other")[(words[0] > 0) + 2 * (words[1] > 0)])
        assert scene.space.peek_dirty(HERE, 2 * PAGE)[0] == (words[1] == VALUE)
        assert scene.is_zero(neighbour)

    return scene.play([lambda: exits.append(write(vcpu, HERE, VALUE)), change], finish)


@scenario("stored", "refused", tlbs=(0, 2))
def unmap_against_walk_to_freed_memory(case: Case) -> Play:
    """A vCPU writes to a page while that is unmapped, freed, and its memory handed out again."""
    scene = Scene(case, 1)
    one = scene.ram()
    scene.map(one, HERE, resident=True)
    one.release()
    vcpu = scene.vcpu()
    exits: list[VcpuExit] = []

    def change() -> None:
        scene.space.unmap(HERE, PAGE)
        new = scene.reservoir.allocate(PAGE)
        until(lambda: exits, "the vCPU to be done")
        assert scene.is_zero(new), "stored in memory that was handed out again"

    finish = lambda: case.seen.add(_outcome(exits[0]))  # noqa: E731
    return scene.play([lambda: exits.append(write(vcpu, HERE, VALUE)), change], finish)


@scenario("stayed", "did not stay")
def unmap_against_stayer(case: Case) -> Play:
    """A vCPU that remembers a leaf table and stays with it until the host has given the unmap up, and gone on."""
    scene = Scene(case, ENTRIES + 2, kick_timeout=0.01)
    one, other = scene.ram(ENTRIES + 1), scene.ram()  # the last page of one stands in another leaf table, where the first does
    scene.map(one, HERE)
    client, host = scene.client(), scene.client()
    host.fault(HERE, Prot.WRITE)
    space = scene.space
    changed: list[str] = []

    def stay() -> None:
        client.table_enter()
        table = _leaf_table(scene, HERE)
        until(lambda: changed, "the host to have gone on")
        if table is not None:
            _store(scene, table)
        client.table_exit()

    def change() -> None:
        try:
            space.unmap(HERE, one.length)
            changed.append("did not stay")
        except KickTimeout:
            host.fault(HERE + (ENTRIES << PAGE_SHIFT), Prot.WRITE)
            changed.append("stayed")
        scene.map(other, HERE + 2 * (ENTRIES << PAGE_SHIFT), resident=True)

    def finish() -> None:
        case.seen |= set(changed)
        assert scene.is_zero(other), "stored in somebody else's page"
        assert scene.is_zero(one), "stored in another page"
        if changed == ["stayed"]:
            assert one.refs == 2
            assert space.pte(HERE) == 0
            space.unmap(HERE, one.length)
            check(space)
        assert one.refs == 1

    return scene.play([stay, change], finish, may_time_out=True)


def _store(scene: Scene, table: int) -> None:
    """Store a word as a vCPU does that remembers the leaf table of ``HERE``."""
    entry = int(scene.space.table.levels[0][table * ENTRIES + (HERE >> PAGE_SHIFT) % ENTRIES])
    if entry:
        frame = ((entry & ADDRESS) >> PAGE_SHIFT) - scene.reservoir.base_pfn
        scene.reservoir.memory.view(np.uint64)[frame * ENTRIES] = VALUE


def _leaf_table(scene: Scene, gpa: int) -> int | None:
    """Number of the leaf table above an address, as hardware finds and remembers it."""
    table = 0
    for level in (4, 3, 2):
        index = gpa >> 12 + 9 * (level - 1) & ENTRIES - 1
        entry = int(scene.space.table.levels[level - 1][table * ENTRIES + index])
        if not entry:
            return None
        table = (entry >> PAGE_SHIFT) % (1 << 27)
    return table
