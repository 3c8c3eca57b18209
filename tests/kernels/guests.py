"""A small guest for vCPU kernels, accesses to it, and what comes of them."""

from typing import NamedTuple

import numpy as np
import pytest

from npt import EPT, NPT, MemAttr, Prot, PteFormat
from npt._types import U64Array
from npt.kernels import guest
from tests.kernels.world import ADDRESS, FIRST_TABLE, World, u64

FORMATS = [EPT, NPT]
in_both_formats = pytest.mark.parametrize("format", FORMATS, ids=[f.name for f in FORMATS])
DONE, KICKED, ABSENT, DENIED = 0, 1, 2, 3
READ, WRITE, EXEC = 0, 1, 2
BASE = 0x10_0000  # PFN of frame 0
N_FRAMES = 8
SIZE = 0x400_000
NOTHING = np.empty(0, np.uint64)


class Outcome(NamedTuple):
    """What ``access`` says: reason, number of the access not done, AND and OR of its entries."""

    reason: int
    completed: int
    all_of: int
    any_of: int


class Guest:
    """A small guest: 8 frames of RAM, mapped twice over a leaf-table border, some pages absent, read-only, or MMIO."""

    def __init__(self, format: PteFormat) -> None:
        self.format = format
        self.world = World((4, 2, 2, 1), int(format.masks.table))
        self.memory = np.arange(N_FRAMES * 512, dtype=np.uint64) * np.uint64(0x0101_0101_0101)
        self.touched = np.zeros(4, np.uint8)
        self.line = np.zeros(8, np.uint64)
        self.takes = np.zeros(8, np.uint64)
        self.scratch = np.zeros(guest.SCRATCH_WORDS, np.uint64)
        for k, prot in enumerate([Prot.RWX, Prot.RW, Prot.READ, Prot.RX, Prot.RWX, Prot.RW, Prot.READ, Prot.RX]):
            self.world.put(0x1FC + k, (BASE + k) << 12 | format.leaf_bits(prot, MemAttr.WB))
        self.world.put(0x204, 0xFEE0_0000 | format.leaf_bits(Prot.RW, MemAttr.UC))  # below the RAM: no bytes
        self.world.put(0x205, (BASE + N_FRAMES) << 12 | format.leaf_bits(Prot.RW, MemAttr.UC))  # just above it
        self.world.put(0x206, 0xFF0 << 52 | (BASE + 1) << 12 | format.leaf_bits(Prot.RW, MemAttr.WB))

    def access(
        self, gpas: U64Array, kinds: list[int], *, values: U64Array = NOTHING, loads: U64Array = NOTHING,
        marking: bool = True, start: int = 0, stop: int | None = None,
    ) -> Outcome:  # fmt: skip
        """The kernel's turn."""
        outcome = u64(99, 99, 99, 99)
        guest.access(
            self.world.levels, self.touched, self.takes, self.format.rules, self.line, self.memory, BASE, SIZE, marking, gpas,
            np.array(kinds, np.uint8), values, loads, start, gpas.size if stop is None else stop, self.scratch, outcome,
        )  # fmt: skip
        return Outcome(*outcome.tolist())

    def slow_access(
        self, gpas: U64Array, kinds: list[int], *, values: U64Array = NOTHING, loads: U64Array = NOTHING,
        marking: bool = True, start: int = 0, stop: int | None = None,
    ) -> Outcome:  # fmt: skip
        """The same, slowly."""
        rules = self.format.rules.tolist()
        for i in range(start, gpas.size if stop is None else stop):
            if (i - start) % 64 == 0 and int(self.line[0]):
                return Outcome(KICKED, i, 99, 99)
            gpa, kind = int(gpas[i]), kinds[i if len(kinds) > 1 else 0]
            index, all_of, any_of = self._walk(gpa, rules[0])
            if all_of & rules[3 + kind] != rules[3 + kind] or any_of & rules[6 + kind]:
                return Outcome(DENIED if index is not None else ABSENT, i, all_of, any_of)
            assert index is not None
            if marking:
                self.mark(index, kind)
            frame = (int(self.world.levels[0][index]) & ADDRESS) // 4096 - BASE
            has_bytes, word = 0 <= frame < N_FRAMES, 512 * frame + gpa % 4096 // 8
            if kind == WRITE and values.size and has_bytes:
                self.memory[word] = values[i]
            if kind == READ and loads.size:
                loads[i] = self.memory[word] if has_bytes else 0
        return Outcome(DONE, gpas.size if stop is None else stop, 99, 99)

    def mark(self, index: int, kind: int) -> None:
        """Set A, and for a write D and the leaf table's byte."""
        rules = self.format.rules.tolist()
        self.world.levels[0][index] |= np.uint64(rules[1] | (rules[2] if kind == WRITE else 0))
        if kind == WRITE and not self.touched[index >> 9]:
            self.touched[index >> 9] = 1

    def _walk(self, gpa: int, present: int) -> tuple[int | None, int, int]:
        all_of, any_of, table = 2**64 - 1, 0, 0
        if gpa >= SIZE:
            return None, 0, 0
        for level in (3, 2, 1, 0):
            index = 512 * table + (gpa >> 12 + 9 * level & 511)
            entry = int(self.world.levels[level][index])
            if not entry & present:
                return None, 0, any_of
            all_of, any_of = all_of & entry, any_of | entry
            if level:
                table = ((entry & ADDRESS) >> 12) - FIRST_TABLE - (level - 1 << 27)
        return index, all_of, any_of

    def state(self) -> list[list[int]]:
        """All entries, the memory and the summary."""
        return [level.tolist() for level in self.world.levels] + [self.memory.tolist(), self.touched.tolist()]


def addresses(*pages: int) -> U64Array:
    """Addresses in pages, at different words of them."""
    return u64(*(page << 12 | 8 * (37 * k % 512) for k, page in enumerate(pages)))
