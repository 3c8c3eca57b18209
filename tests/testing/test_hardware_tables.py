"""``npt.testing.hardware_walk`` on the tables of an engine."""

from collections.abc import Iterator
from typing import Any

import pytest

from npt import EPT, NPT, Prot, PteFormat, Reservoir, Vcpu, VmSpace, WalkKind
from npt.testing.hardware import HardwareWalk, hardware_walk

PAGE, MIB, GIB = 1 << 12, 1 << 20, 1 << 30
OK, VIOLATION, MISCONFIG = WalkKind.OK, WalkKind.VIOLATION, WalkKind.MISCONFIG
READ, WRITE, EXEC = Prot.READ, Prot.WRITE, Prot.EXEC
SIZE = 1 << 40
SHARES = [Prot.READ, Prot.RW, Prot.RX, Prot.RWX]
AT = [0x1F_F000, 0x3FFF_E000, 512 * GIB - 2 * PAGE, 0x80_0000_4000 + MIB]  # over the edges of tables, but the last


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


@pytest.fixture
def space(form: PteFormat) -> Iterator[VmSpace]:
    """Four objects, each with another protection, over the edges of tables; device memory; some pages not resident."""
    with Reservoir(64 * PAGE) as reservoir, VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=True) as made:
        for gpa, prot in zip(AT, SHARES, strict=True):
            with reservoir.allocate(4 * PAGE) as ram:
                made.map(ram, gpa, 4 * PAGE, prot)
            made.populate(gpa, 3 * PAGE)
        made.map_mmio(GIB + MIB, PAGE, 0xFE00_0000).release()
        made.populate(GIB + MIB, PAGE)
        yield made


def pages_of(space: VmSpace) -> list[int]:
    """Each mapped page, and those around."""
    return sorted({one.gpa + k * PAGE for one in space.mappings for k in range(-1, one.length // PAGE + 1)})


def walk_of(space: VmSpace, gpa: int, access: Prot, **options: Any) -> HardwareWalk:
    """Walk the space's own tables."""
    return hardware_walk(space.table.read_table, space.table_root >> 12, gpa, access, format=space.format, **options)


def test_walk__vcpu_agrees(space: VmSpace) -> None:
    """Where the walk goes, what is denied, and what is reported of it: as a vCPU of the engine says, for each page."""
    vcpu, outcomes = Vcpu(space.client()), []
    for gpa in pages_of(space):
        for access in (READ, WRITE, EXEC):
            exit, walk = vcpu.step([gpa + 8], write=access is WRITE, execute=access is EXEC), walk_of(space, gpa + 8, access)
            outcomes.append(walk.kind)
            assert (walk.kind is OK, walk.qualification) == (exit.completed == 1, exit.qualification), (hex(gpa), access)
            if walk.kind is OK:
                assert walk.hpa == (int(space.translate([gpa])[0]) << 12) + 8
    assert (len(outcomes), outcomes.count(OK), outcomes.count(VIOLATION)) == (27 * 3, 26, 27 * 3 - 26)


def test_walk__entries_are_never_ill_formed(space: VmSpace) -> None:
    """Nor are they for a processor without execute-only pages, up to 46 address bits; with fewer the tables lie beyond."""
    walks = [walk_of(space, gpa, READ, execute_only=False) for gpa in pages_of(space)]
    assert len(walks) == 27
    assert MISCONFIG not in {walk.kind for walk in walks}
    assert all((walk.qualification or 0) & 8 == 0 for walk in walks)
    assert walk_of(space, AT[0], READ, maxphyaddr=34).level == 4


def test_walk__sees_marks_of_the_walk(space: VmSpace) -> None:
    """D that a hardware walk sets is in the dirty log, and nothing else is."""
    gpa = AT[1]
    assert walk_of(space, gpa + 2 * PAGE, WRITE, ad=True).kind is OK
    assert walk_of(space, gpa, READ, ad=True).kind is OK
    assert space.accessed(gpa, 4 * PAGE).tolist() == [0b101 if space.format is EPT else 0b111]
    assert space.track_dirty(gpa, 4 * PAGE).tolist() == [0b100]
