"""All that can be seen of what a player has made, in terms that implementations share.

Looking changes nothing, and nothing that an implementation keeps to itself is looked at: entries are read by a walk of the
tables, from the root, as hardware does it.
"""

from collections.abc import Iterator
from typing import Any
from zlib import crc32

from npt._types import Prot
from npt.errors import NotSupported
from npt.testing.calls.call import Call
from npt.testing.calls.player import Player
from npt.testing.hardware import hardware_walk

__all__ = ["Picture", "differences", "picture"]

Picture = dict[str, Any]
"""What is seen, by what is looked at."""

_PAGE, _PAGE_SHIFT, _ENTRIES = 0x1000, 12, 512
_TABLES, _LEVEL_SHIFT = 1 << 33, 27  # frames of tables: the first, and how many a level has
_MOST_PAGES = 24  # of a mapping that are looked at one by one, from each of its ends

_PROPERTIES = {
    "Reservoir": ("usage", "size", "limit"),
    "RamObject": ("refs", "length"),
    "MmioObject": ("refs", "length"),
    "VmSpace": ("generation", "resident_count", "tracking", "mappings", "counters", "table_root", "destroyed"),
    "VmClient": ("holds", "orphaned", "kicked"),
    "VmPage": ("pfn", "gpa", "prot", "next"),
    "VmPages": ("gpas", "pfns"),
    "Segment": ("__len__",),
}


def picture(player: Player) -> Picture:
    """Everything, by name of the thing and what of it."""
    seen: Picture = {}
    for name, kind in player.kinds.items():
        for one in _PROPERTIES.get(kind, ()):
            seen[f"{name}.{one}"] = player.play(Call(f"{kind}.{one}", name))
        if (look := _LOOKS.get(kind)) is not None and "error" not in seen.get(f"{name}.{_PROPERTIES[kind][0]}", {}):
            seen |= {f"{name}.{what}": found for what, found in look(player, name)}
        if kind == "view":
            seen[name] = player.things[name].tobytes()
    return seen


def differences(one: Picture, other: Picture) -> list[str]:
    """What two pictures differ in, a line each."""
    return [f"{what}: {one.get(what)!r} != {other.get(what)!r}" for what in one | other if one.get(what) != other.get(what)]


# -- spaces -------------------------------------------------------------------------------------------------------------


def _look_at_space(player: Player, name: str) -> Iterator[tuple[str, Any]]:
    space = player.things[name]
    tables: dict[int, list[int]] = {}
    for level in (4, 3, 2, 1):
        yield f"tables {level}", space.table.tables_in_use(level)
    for mapping in space.mappings:
        args = {"gpa": mapping.gpa, "length": mapping.length}
        for call in ("peek_dirty", "accessed", "resident", "translate"):
            asked = {"gpas": list(range(mapping.gpa, mapping.gpa + mapping.length, _PAGE))} if call == "translate" else args
            yield f"{call} {mapping.gpa:#x}", player.play(Call(f"VmSpace.{call}", name, asked))
        for gpa in _pages_of(mapping, space.size):
            yield f"pte {gpa:#x}", player.entry(space.pte(gpa))
            yield f"walk {gpa:#x}", _walks(player, space, gpa, tables)


def _pages_of(mapping: Any, size: int) -> Iterator[int]:
    """The first pages of a mapping and the last, and one beside each end."""
    first, n = mapping.gpa // _PAGE - 1, mapping.length // _PAGE + 2
    numbers = range(n) if n <= 2 * _MOST_PAGES else (*range(_MOST_PAGES), *range(n - _MOST_PAGES, n))
    return (gpa for gpa in ((first + k) * _PAGE for k in numbers) if 0 <= gpa < size)


def _walks(player: Player, space: Any, gpa: int, tables: dict[int, list[int]]) -> list[Any]:
    """What hardware answers to the three kinds of access; tables that were read are kept in ``tables``."""
    answers = []
    for access in (Prot.READ, Prot.WRITE, Prot.EXEC):
        if hasattr(space, "walk"):  # a model without tables
            kind, qualification, level, hpa = space.walk(gpa, access)
        else:
            root = space.table_root >> _PAGE_SHIFT
            walk = hardware_walk(lambda pfn: _table(space, pfn, tables), root, gpa, access, format=space.format)
            kind, qualification, level, hpa = walk.kind, walk.qualification, walk.level, walk.hpa
        where = None if hpa is None else player.frame(hpa >> _PAGE_SHIFT)
        answers.append([kind.name, qualification if where is None else None, level, where])
    return answers


def _table(space: Any, pfn: int, tables: dict[int, list[int]]) -> list[int]:
    """A table by its frame, without ``read_table``: that would change how it is scanned from then on."""
    if pfn not in tables:
        level, index = (pfn - _TABLES) >> _LEVEL_SHIFT, (pfn - _TABLES) & ((1 << _LEVEL_SHIFT) - 1)
        tables[pfn] = space.table.entries(level + 1)[_ENTRIES * index : _ENTRIES * (index + 1)].tolist()
    return tables[pfn]


# -- bytes --------------------------------------------------------------------------------------------------------------


def _look_at_object(player: Player, name: str) -> Iterator[tuple[str, Any]]:
    """A sum of the bytes of each of its pages, whoever may look at them."""
    ram = player.things[name]
    if not ram.refs:
        return
    try:
        yield "pages", [crc32(_frame(ram.reservoir, ram.pfn_at(offset))) for offset in range(0, ram.length, _PAGE)]
    except NotSupported:
        yield "pages", "NotSupported"


def _frame(reservoir: Any, pfn: int) -> Any:
    if hasattr(reservoir, "frame"):  # a model without a buffer
        return reservoir.frame(pfn)
    first = (pfn - reservoir.base_pfn) * _PAGE
    return reservoir.buffer[first : first + _PAGE]


def _look_at_page(player: Player, name: str) -> Iterator[tuple[str, Any]]:
    """Bytes through a page that is held for reading, without a name for the view."""
    page = player.things[name]
    if page.prot & Prot.READ:
        yield "bytes", _bytes_of(page)


def _bytes_of(page: Any) -> Any:
    try:
        return page.readable().tobytes()
    except NotSupported:
        return "NotSupported"


_LOOKS = {"VmSpace": _look_at_space, "VmPage": _look_at_page, "RamObject": _look_at_object}
