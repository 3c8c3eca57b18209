"""With ``NUMBA_DISABLE_JIT=1`` everything is slow and right; with ``NUMBA_BOUNDSCHECK=1`` a bad index is an IndexError."""

from typing import Any

import pytest

from npt.kernels.jit import DISABLED
from tests.kernels.fresh import run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(DISABLED, reason="compares with compiled kernels")]

SCENARIO = """
import json, random
import numpy as np
import npt
from npt import EPT, NPT, Prot, Reservoir, Vcpu, VmSpace
from npt.kernels import jit
MIB, seen = 1 << 20, []
numbers = random.Random(5)
for format in (EPT, NPT):
    with Reservoir(16 * MIB) as reservoir, VmSpace(64 * MIB, format=format, track_dirty=True) as space:
        with reservoir.allocate(9 * MIB) as low, reservoir.allocate(7 * MIB) as high:
            space.map(low, 0x1000, 9 * MIB, Prot.RW)
            space.map(high, 0x1000 + 9 * MIB, 5 * MIB, Prot.RWX, 2 * MIB)
            space.map_mmio(32 * MIB, 2 * MIB, 0xFE000000)
            seen.append([space.populate(0x5000, 4 * MIB), space.populate(10 * MIB, 1 * MIB), space.resident_count])
            vcpu = Vcpu(space.client())
            n = 150
            gpas = np.array([0x1000 + numbers.randrange(14 * MIB) // 8 * 8 for _ in range(n)], np.uint64)
            writes = np.array([numbers.random() < 0.5 for _ in range(n)])
            values = np.array([numbers.getrandbits(64) for _ in range(n)], np.uint64)
            loads = np.zeros(n, np.uint64)
            exit = vcpu.run(gpas, write=writes, values=values, into=loads)
            seen.append([exit.reason.name, exit.completed, loads.tolist()])
            exit = vcpu.run([32 * MIB, 40 * MIB], write=True)
            seen.append([exit.reason.name, exit.completed, exit.gpa, int(exit.code), exit.qualification])
            exit = vcpu.run([0x2000], execute=True)
            seen.append([exit.reason.name, exit.completed, exit.gpa, int(exit.code), exit.qualification])
            leaves = {g: space.pte(g) for g in range(0, 64 * MIB, 4096) if space.pte(g)}
            seen.append([space.resident_count, sorted(leaves.items())])
            seen.append([space.peek_dirty(0, 40 * MIB).tolist(), space.accessed(0x3000, 3 * MIB).tolist()])
            some = np.arange(4 * MIB // 4096 // 8, dtype=np.uint8)
            seen.append(space.reset_dirty(0x7000, 4 * MIB, select=some).tolist())
            seen.append(space.set_dirty(0x9000, 4 * MIB, select=some).tolist())
            seen.append(space.track_dirty(0x1000, 13 * MIB).tolist())
            seen.append(space.track_dirty(0x1000, 13 * MIB).tolist())
            client = space.client()
            client.write(0x1FF0, bytes(range(64)) * 200)
            seen.append(client.read(0x1FFF, 9000).hex())
            seen.append(client.fault_many([0x1000, 0x2000, 63 * MIB, 2**48], Prot.EXEC).tolist())
            with client.hold_many([0x1000, 0x3000, 0x5000], Prot.RW) as pages:
                pages.scatter(pages.gather() ^ np.uint8(0x5A))
            seen.append(space.translate([0x1000, 0x2FFF, 63 * MIB]).tolist())
            seen.append([space.table.entries(level).tolist() for level in (4, 3, 2)])
            space.unmap(0x1000, 9 * MIB)
            seen.append([space.resident_count, space.generation, space.table.tables_in_use(1)])
            space.unmap(0x1000 + 9 * MIB, 5 * MIB)
            space.unmap(32 * MIB, 2 * MIB)
            seen.append([space.resident_count] + [space.table.tables_in_use(level) for level in (1, 2, 3, 4)])
            seen.append([bool(space.table.entries(level).any()) for level in (1, 2, 3, 4)])
            space.map(low, 0, MIB, Prot.RW)
            kinds = {
                "populate": space.populate(0, MIB),
                "resident_count": space.resident_count,
                "pte": space.pte(0),
                "completed": vcpu.run([0]).completed,
                "tables_in_use": space.table.tables_in_use(1),
                "release": client.hold_many([0], Prot.RW).release(),
            }
            space.unmap(0, MIB)
kinds = {name: type(number).__name__ for name, number in kinds.items()}
print(json.dumps({"disabled": jit.DISABLED, "seen": seen, "kinds": kinds}, default=int))
"""


@pytest.fixture(scope="module")
def compiled() -> Any:
    """The scenario with compiled kernels."""
    return run(SCENARIO)


@pytest.fixture(scope="module")
def interpreted() -> Any:
    """The scenario in plain Python."""
    return run(SCENARIO, NUMBA_DISABLE_JIT="1")


def test_interpreted__kernels_are_what_they_are_said_to_be(compiled: Any, interpreted: Any) -> None:
    """One run is compiled, the other is not."""
    assert (compiled["disabled"], interpreted["disabled"]) == (False, True)


def test_interpreted__same_entries_bitmaps_and_bytes(compiled: Any, interpreted: Any) -> None:
    """Step by step, in both formats, without a warning."""
    assert len(compiled["seen"]) == len(interpreted["seen"]) == 2 * 17
    for step, (fast, slow) in enumerate(zip(compiled["seen"], interpreted["seen"], strict=True)):
        assert slow == fast, f"step {step}"


@pytest.mark.parametrize("name", ["populate", "resident_count", "pte", "completed", "tables_in_use", "release"])
def test_interpreted__numbers_are_python_ints(compiled: Any, interpreted: Any, name: str) -> None:
    """Either way: nobody should compute with numpy's scalars unawares."""
    assert (compiled["kinds"][name], interpreted["kinds"][name]) == ("int", "int")


# Arrays are parts of a larger one, so that an index that goes unnoticed spoils nothing.
PLANTED = """
import json
import numpy as np
from npt.kernels import dirty
from tests.kernels import test_atomics as a
words = np.zeros(4096, np.uint64)[1024:1536]
data = np.zeros(4 * 4096, np.uint8)[4096:8192]
one, none, bitmap = np.zeros(1, np.uint64), np.empty(0, np.uint64), np.zeros(16, np.uint64)
no, byte, room = np.empty(0, np.uint8), np.zeros(1, np.uint8), np.zeros(512, np.uint64)
table = lambda n: np.array([n], np.uint64)
CALLS = {
    "harvest, table": lambda: dirty.harvest(words, no, table(1), one, 0, 512, none, 1, room, bitmap),
    "harvest, huge table": lambda: dirty.harvest(words, no, table(2**54), one, 0, 512, none, 1, room, bitmap),
    "harvest, byte": lambda: dirty.harvest(words, byte, table(1), one, 0, 512, none, 1, room, bitmap),
    "harvest_still, table": lambda: dirty.harvest_still(words, no, table(1), one, 0, 512, none, 1, bitmap),
    "peek, table": lambda: dirty.peek(words, table(1), one, 0, 512, none, 1, bitmap),
    "mark, table": lambda: dirty.mark(words, no, table(1), one, 0, 512, none, 0, 1, 1, bitmap),
    "mark_leaf": lambda: dirty.mark_leaf(words, no, 512, 0, 1),
    "load": lambda: a.load(words, 512),
    "load, last word there is": lambda: a.load(words, 2**64 - 1),
    "store": lambda: a.store(words, 512, 1),
    "or": lambda: a.set_bits(words, 512, 1),
    "clear": lambda: a.clear_bits(words, 512, 1),
    "publish": lambda: a.put_out(words, 512, 1),
    "clear8, first": lambda: a.clear_line(words, 512, 1),
    "clear8, last": lambda: a.clear_line(words, 505, 1),
    "load, byte": lambda: a.load_byte(data, 4096),
    "store, byte": lambda: a.store_byte(data, 4096, 1),
    "cas, byte": lambda: a.swap_byte(data, 4096, 0, 1),
    "add": lambda: a.add(words, 512, 1),
    "xchg": lambda: a.exchange(words, 512, 1),
    "cas": lambda: a.compare_and_swap(words, 512, 0, 1),
    "mask64, first": lambda: a.mask(words, 512, 1),
    "mask64, last": lambda: a.mask(words, 449, 1),
    "mask64, wrapping": lambda: a.mask(words, 2**64 - 1, 1),
    "fill64, first": lambda: a.fill(words, 512, 1, 0),
    "fill64, last": lambda: a.fill(words, 449, 1, 0),
    "copy_bytes, target": lambda: a.copy(data, 4096, data, 0, 1),
    "copy_bytes, source": lambda: a.copy(data, 0, data, 4096, 1),
    "copy_bytes, end of target": lambda: a.copy(data, 2049, data, 0, 2048),
    "copy_bytes, end of source": lambda: a.copy(data, 0, data, 2049, 2048),
    "zero_bytes, first": lambda: a.zero(data, 4096, 1),
    "zero_bytes, end": lambda: a.zero(data, 4095, 2),
}
FINE = {
    "mask64, last that fits": lambda: a.mask(words, 448, 1),
    "fill64, last that fits": lambda: a.fill(words, 448, 0, 0),
    "load, last": lambda: a.load(words, 511),
    "copy_bytes, to the end": lambda: a.copy(data, 2048, data, 0, 2048),
    "zero_bytes, to the end": lambda: a.zero(data, 0, 4096),
}
def caught(call):
    try:
        call()
    except IndexError:
        return True
    return False
print(json.dumps({name: caught(call) for name, call in (CALLS | FINE).items()}))
"""
BAD = [line.split('"')[1] for line in PLANTED.split("FINE")[0].splitlines() if '": lambda' in line]
GOOD = [line.split('"')[1] for line in PLANTED.split("FINE")[1].splitlines() if '": lambda' in line]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Which of the planted calls raised an IndexError under bounds checks."""
    return run(PLANTED, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path_factory.mktemp("checked")))


@pytest.mark.parametrize("name", BAD)
def test_bounds__bad_index_is_caught(checked: Any, name: str) -> None:
    """In intrinsics as in numba's own indexing."""
    assert checked[name] is True


@pytest.mark.parametrize("name", GOOD)
def test_bounds__last_place_is_inside(checked: Any, name: str) -> None:
    """The check is not off by one."""
    assert checked[name] is False
