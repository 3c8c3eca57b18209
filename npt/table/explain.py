"""``Walk``: one translation, level by level, for people."""

from dataclasses import dataclass

from npt import _html
from npt._types import MemAttr, Prot
from npt.formats.base import PteFormat

__all__ = ["Walk", "WalkStep"]


@dataclass(frozen=True)
class WalkStep:
    """One table on the way."""

    level: int  # 4 = root ... 1 = leaf
    index: int  # 0 to 511
    entry: int  # as it stands in the table; 0 where the walk ends


@dataclass(frozen=True)
class Walk:
    """What the tables say of one address; from ``VmSpace.explain``.

    Attributes
    ----------
    gpa : int
        The page's byte address.
    format : PteFormat
        Which format the entries are in.
    steps : tuple of WalkStep
        From the root to the leaf, or to the first entry that is zero; empty past the end of the space.
    """

    gpa: int
    format: PteFormat
    steps: tuple[WalkStep, ...]

    @property
    def leaf(self) -> int | None:
        """The leaf entry, or None where the walk does not come that far."""
        return self.steps[-1].entry if self.steps and self.steps[-1].level == 1 else None

    @property
    def pfn(self) -> int | None:
        """Host frame of the page, or None if it is not resident."""
        return self.format.pfn_of(self.leaf) if self.leaf else None

    @property
    def prot(self) -> Prot | None:
        """What the leaf allows, or None if the page is not resident."""
        return self.format.prot_of(self.leaf) if self.leaf else None

    @property
    def attr(self) -> int | None:
        """Memory type of the page, or None if it is not resident."""
        return self.format.attr_of(self.leaf) if self.leaf else None

    def describe(self, step: WalkStep) -> str:
        """What one entry says, in words."""
        if not step.entry:
            return "empty"
        if step.level > 1:
            return f"table {self.format.pfn_of(step.entry):#x}"
        masks = self.format.masks
        marks = [name for name, bit in (("A", masks.accessed), ("D", masks.dirty)) if step.entry & int(bit)]
        assert self.prot is not None  # the entry is not zero
        assert self.attr is not None
        return " ".join([f"pfn {self.pfn:#x}", str(self.prot.name), _name(self.attr), *marks])

    def _verdict(self) -> str:
        if not self.steps:
            return "past the end of the space"
        if self.leaf is None:
            return "not mapped"
        return "resident" if self.leaf else "not resident"

    def __repr__(self) -> str:
        lines = [f"<Walk {self.format.name} {self.gpa:#x}: {self._verdict()}"]
        lines += [f"  level {s.level} [{s.index:3}] {s.entry:#018x} {self.describe(s)}" for s in self.steps]
        return "\n".join(lines) + ">"

    def _repr_html_(self) -> str:
        rows = [(s.level, s.index, f"{s.entry:#018x}", self.describe(s)) for s in self.steps]
        caption = f"{self.format.name} walk of {self.gpa:#x}: {self._verdict()}"
        return _html.table(caption, ("level", "index", "entry", "meaning"), rows)


def _name(attr: int) -> str:
    return attr.name if isinstance(attr, MemAttr) else f"type {attr}"
