"""Calls of the kernels that use page tables: walks, look-ups, what vCPUs do."""

from random import Random
from typing import Any

import numpy as np

from npt import EPT, NPT, MemAttr, Prot, PteFormat
from npt._types import U64Array
from npt.kernels import guest
from tests.kernels.guests import BASE, SIZE, Guest
from tests.kernels.world import World, extents_of
from tests.properties.bitmap_calls import zeros
from tests.properties.calls import Call, a_number, a_range, case, some_bytes, some_words

# -- walks --------------------------------------------------------------------------------------------------------------

_STARTS = (0x1F0, (1 << 18) - 16, (1 << 27) - 16)  # pages: 32 from each on, over a border of each level
_WALK_SIZE = (1 << 27) + 12 << 12


class Walked:
    """A tree with some leaves, some of them of any bits, and the extents behind them; directories lead astray now and then."""

    def __init__(self, numbers: Random) -> None:
        self.format: PteFormat = numbers.choice([EPT, NPT])
        self.world = World((8, 6, 4, 1), int(self.format.masks.table))
        self.pages = [start + k for start in _STARTS for k in range(32)]
        for page in self.pages:
            self.world.leaf(page)
            if numbers.random() < 0.4:
                self.world.put(page, numbers.choice([numbers.getrandbits(64), self._fresh(numbers)]))
        rows = []
        for start in _STARTS:
            for first, n in ((start, 12), (start + 12, 14), (start + 28, 4)):  # the second lies beside the first
                rows.append((first, first + n, self._fresh(numbers), int(numbers.choice([Prot.READ, Prot.RW, Prot.RWX]))))
        self.extents = extents_of(*rows)
        if numbers.random() < 0.3:
            level = numbers.randint(1, 3)
            self.world.levels[level][numbers.randrange(1024 if level < 3 else 2)] = numbers.getrandbits(64)
        self.prot = numbers.randint(1, 7)

    def _fresh(self, numbers: Random) -> int:
        prot = numbers.choice([Prot.READ, Prot.RW, Prot.RX, Prot.RWX])
        return (BASE + numbers.randrange(64)) << 12 | self.format.leaf_bits(prot, MemAttr.WB)

    def gpas(self, numbers: Random, *, aligned: bool = False) -> U64Array:
        """Addresses of some of the pages, of pages near them, and of anywhere."""
        n = a_number(numbers, 200)
        pages = [numbers.choice(self.pages) if numbers.random() < 0.9 else numbers.getrandbits(36) for _ in range(n)]
        return np.array([page << 12 | (0 if aligned else numbers.randrange(4096)) for page in pages], np.uint64)

    @property
    def masks(self) -> tuple[int, int, int]:
        return self.format.need[self.prot], self.format.deny[self.prot], self.prot


@case("walk.look_up")
def look_up(numbers: Random) -> Call:
    w = Walked(numbers)
    page = numbers.choice([*w.pages, w.pages[-1] + 1, 1 << 35])
    return Call((w.world.levels, w.extents, w.world.words, page, *w.masks))


@case("walk.look_up_many")
def look_up_many(numbers: Random) -> Call:
    w = Walked(numbers)
    gpas = w.gpas(numbers)
    outcomes = np.zeros(gpas.size, np.uint8)
    return Call((w.world.levels, w.extents, w.world.words, gpas, _WALK_SIZE, *w.masks, outcomes, zeros(64)))


@case("walk.find_many")
def find_many(numbers: Random) -> Call:
    w = Walked(numbers)
    gpas = w.gpas(numbers, aligned=numbers.random() < 0.9)
    return Call((w.world.levels, w.extents, gpas, _WALK_SIZE, *w.masks, zeros(gpas.size), zeros(gpas.size)))


@case("walk.install_many")
def install_many(numbers: Random) -> Call:
    w = Walked(numbers)
    pages = [numbers.choice(w.pages) for _ in range(numbers.randrange(80))]
    leaves = np.array([w.world.leaf(page) for page in pages], np.uint64)
    return Call((w.world.levels, w.extents, w.world.words, np.array(pages, np.uint64) << np.uint64(12), leaves))


@case("walk.translate")
def translate(numbers: Random) -> Call:
    w = Walked(numbers)
    gpas = w.gpas(numbers)
    return Call((w.world.levels, gpas, _WALK_SIZE, zeros(gpas.size)))


@case("walk.leaf_tables")
def leaf_tables(numbers: Random) -> Call:
    w = Walked(numbers)
    first, end = sorted(numbers.choice([0, 1, 511, 512, 1 << 18, 1 << 26]) + numbers.randrange(3) for _ in range(2))
    touched = (some_bytes(numbers, 8) & 3)[: numbers.choice([0, 8])]
    return Call((w.world.levels, touched, first, end, zeros(numbers.choice([1, 8])), zeros(8)))


@case("walk.find_resident")
def find_resident(numbers: Random) -> Call:
    w = Walked(numbers)
    context = zeros(24)
    context[0:4] = [level.ctypes.data for level in w.world.levels]
    context[4:8] = [level.size // 512 for level in w.world.levels]
    context[8:16], context[16:24] = w.format.need, w.format.deny
    gpa = numbers.choice(w.pages) << 12 | numbers.choice([0, 0, 0, 1, 1 << 48])
    return Call((context.ctypes.data + w.prot, gpa), (*w.world.levels, context[4:]))


# -- vCPUs --------------------------------------------------------------------------------------------------------------


_EXECUTABLE = (0x1FC, 0x200)


def _accesses(numbers: Random) -> tuple[Guest, tuple[Any, ...], bool, tuple[Any, ...]]:
    """A guest, what its tables and its memory are, whether marks are set, and what is done."""
    made = Guest(numbers.choice([EPT, NPT]))
    n = a_number(numbers, 150)
    pages = [numbers.choice([0x1FC, 0x1FD, 0x1FD, 0x200, 0x201, 0x201, 0x204, 0x206]) for _ in range(n)]
    if n and numbers.random() < 0.3:
        pages[numbers.randrange(n)] = numbers.choice([0x1FE, 0x208, 0x3FF, 1 << 40])
    gpas = np.array([page << 12 | 8 * numbers.randrange(512) for page in pages], np.uint64)
    each = [numbers.randrange(3 if page in _EXECUTABLE else 2) for page in pages]
    kinds = np.array(numbers.choice([each, each, [0], [1], [2]]) or [1], np.uint8)
    if numbers.random() < 0.3:
        made.world.levels[0][:] &= ~made.format.masks.accessed
    values, loads = some_words(numbers, numbers.choice([0, n])), zeros(numbers.choice([0, n]))
    made.line[0] = numbers.random() < 0.1
    start, stop = a_range(numbers, n)
    return made, (gpas, kinds, values, loads, start, stop), numbers.random() < 0.8, (BASE, SIZE)


@case("guest.access")
def access(numbers: Random) -> Call:
    made, accesses, marking, (base, size) = _accesses(numbers)
    memory = made.line, made.memory, base, size
    outcome = np.full(4, 99, np.uint64)
    scratch = np.zeros(guest.SCRATCH_WORDS, np.uint64)
    takes = np.array([numbers.randrange(3)] * 8, np.uint64)
    tables = made.world.levels, made.touched, takes, made.format.rules
    return Call((*tables, *memory, marking, *accesses, scratch, outcome))


@case("tlb.access")
def access_through_tlb(numbers: Random) -> Call:
    made, accesses, marking, (base, size) = _accesses(numbers)
    n = numbers.choice([1, 3, 4, 5, 64])
    cache = np.zeros((n, 2), np.uint64), zeros(-(-n // 4))
    tables, memory = (made.world.levels, made.touched, made.format.rules), (made.line, made.memory, base, size)
    return Call((*tables, *memory, marking, *accesses, *cache, np.full(4, 99, np.uint64)))
