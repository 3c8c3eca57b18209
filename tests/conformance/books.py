"""What a replay keeps beside npt: states to compare, generations that npt did not raise, whose frame is whose."""

from dataclasses import dataclass, field

from npt import PAGE_SIZE, RamObject, Reservoir, VmSpace

__all__ = ["FRAME", "LEVELS", "Frames", "Home", "SpaceState", "tables_in_use"]

FRAME = 0x000F_FFFF_FFFF_F000  # bits 51:12 of an entry
LEVELS = (4, 3, 2, 1)


@dataclass(frozen=True)
class SpaceState:
    """All that a refused call could have changed in a space and its reservoir."""

    generation: int
    resident: int
    tables: tuple[int, ...]
    entries: tuple[bytes, ...]
    mappings: tuple[tuple[int, int, int, int, int, int], ...]
    usage: tuple[int, ...]

    @classmethod
    def of(cls, space: VmSpace, reservoir: Reservoir) -> "SpaceState":
        return cls(
            space.generation,
            space.resident_count,
            tables_in_use(space),
            tuple(space.table.entries(level).tobytes().rstrip(b"\0") for level in LEVELS),
            tuple((m.gpa, m.length, id(m.obj), m.obj.refs, m.offset, int(m.prot)) for m in space.mappings),
            tuple(reservoir.usage),
        )


def tables_in_use(space: VmSpace) -> tuple[int, ...]:
    """Table pages in use at levels 4, 3, 2, 1."""
    return tuple(space.table.tables_in_use(level) for level in LEVELS)


@dataclass
class Home:
    """A space and what the trace says about it that npt does not keep."""

    space: VmSpace
    tracking: bool
    behind: int = 0  # generations that the reference raised and npt did not
    ever: int = 0  # pages that ever became resident
    resident: int = 0  # at the last look
    mapped: dict[int, int] = field(default_factory=dict)  # gpa -> object id
    clients: list[int] = field(default_factory=list)  # in the order in which they were made

    def count(self) -> int:
        """Pages that ever became resident; to be asked after every operation."""
        now = self.space.resident_count
        self.ever += max(0, now - self.resident)
        self.resident = now
        return self.ever

    @property
    def generation(self) -> int:
        return self.space.generation + self.behind


class Frames:
    """Host frames, told by object and page, in npt's reservoir and in the reference's."""

    def __init__(self) -> None:
        self._place: dict[int, tuple[int, int]] = {}
        self._reference: dict[int, int] = {}

    def add(self, number: int, obj: RamObject, base_pfn: int) -> None:
        self._reference[number] = base_pfn
        for page in range(obj.length // PAGE_SIZE):
            self._place[obj.pfn_at(page * PAGE_SIZE)] = number, page

    def told(self, pfn: int) -> dict[str, int] | int:
        """As the trace writes a frame; one that is no reservoir memory (MMIO) stands for itself."""
        if pfn not in self._place:
            return pfn
        number, page = self._place[pfn]
        return {"o": number, "pg": page}

    def in_reference(self, pte: int) -> str:
        """An entry as the reference would have it: our flags, its frame."""
        if not pte:
            return "0x0"
        pfn = (pte & FRAME) >> 12
        if pfn in self._place:
            number, page = self._place[pfn]
            pfn = self._reference[number] + page
        return hex(pte & ~FRAME | pfn << 12)
