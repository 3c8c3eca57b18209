"""Which pages are resident, as a bitmap."""

import numpy as np
import pytest

from npt import EPT, NPT, Prot, RamObject, Reservoir, VmClient, VmSpace
from tests.space.scene import GIB, PAGE, SIZE, bits, map_at, on_cpu, write_to

START = GIB - 128 * PAGE  # 192 pages around the end of a leaf table


@pytest.fixture(scope="module", params=[EPT, NPT], ids=["ept", "npt"])
def wide(request: pytest.FixtureRequest) -> VmSpace:
    """192 pages, every second one resident."""
    reservoir = Reservoir(192 * PAGE, backed=False)
    space = VmSpace(SIZE, reservoir=reservoir, format=request.param)
    map_at(space, reservoir.allocate(192 * PAGE), START)
    space.client().fault_many(START + np.arange(0, 192, 2) * PAGE, Prot.READ)
    return space


@pytest.mark.parametrize("first", [0, 1, 2, 7, 8, 63, 64, 65, 127, 128])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 200, 320])
def test_resident__any_range(wide: VmSpace, first: int, n: int) -> None:
    """Every second page of the mapping is, and none outside."""
    found = wide.resident(START + (first - 64) * PAGE, n * PAGE)
    assert (found.shape, str(found.dtype)) == ((-(-n // 8),), "uint8")
    assert bits(found) == [k for k in range(n) if first + k - 64 in range(0, 192, 2)]


def test_resident__whatever_its_protection(space: VmSpace, ram: RamObject, client: VmClient) -> None:
    """Read-only, executable and device pages count, mapped pages that nobody looked up do not; dirty or not."""
    space.map(ram, 0x20 * PAGE, 2 * PAGE, Prot.READ)
    space.map(ram, 0x22 * PAGE, 2 * PAGE, Prot.RX)
    mmio = space.map_mmio(0x24 * PAGE, 2 * PAGE, 0xFE00_0000)
    for page in (0x20, 0x23, 0x24):
        client.fault(page * PAGE, Prot.READ)
    write_to(client, 3 * PAGE)
    assert bits(space.resident(0, 0x30 * PAGE)) == [3, 0x20, 0x23, 0x24]
    space.unmap(0x22 * PAGE, 2 * PAGE)
    assert bits(space.resident(0, 0x30 * PAGE)) == [3, 0x20, 0x24]
    mmio.release()


def test_resident__changes_nothing_and_needs_no_log(space: VmSpace, client: VmClient) -> None:
    """With tracking off, in a callback, on CPU; the generation stays, nothing becomes resident."""
    space.populate(PAGE, PAGE)
    space.set_tracking(False)
    generation, entry = space.generation, space.pte(PAGE)
    assert bits(space.resident(0, 16 * PAGE)) == [1]
    assert (space.generation, space.pte(PAGE), space.resident_count) == (generation, entry, 1)
    with on_cpu(space):
        assert bits(space.resident(0, 16 * PAGE)) == [1]
    seen: list[list[int]] = []
    client.on_invalidate(lambda gpa, length: seen.append(bits(space.resident(0, 16 * PAGE))))
    space.set_tracking(True)
    assert seen == [[1]]


def test_resident__agrees_with_translate(wide: VmSpace) -> None:
    """Both say which pages there are."""
    gpas = START - 64 * PAGE + np.arange(320) * PAGE
    there = np.flatnonzero(wide.translate(gpas) != np.uint64(2**64 - 1)).tolist()
    assert bits(wide.resident(START - 64 * PAGE, 320 * PAGE)) == there
