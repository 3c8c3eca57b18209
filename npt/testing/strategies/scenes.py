"""A small guest as a description: plain data that prints itself, goes to JSON and back, and is built on any implementation."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from npt._types import Prot
from npt.units import PAGE_SHIFT, PAGE_SIZE

__all__ = ["SPARE", "Access", "Built", "Guest", "Part", "arguments"]

SPARE = 16  # pages of the reservoir that no object has
_KIND = {"read": 0, "write": 1, "execute": 2}


def _call(made: object, **arguments: object) -> str:
    """How something is made, as an expression; numbers of more than three digits in hex."""
    shown = (f"{name}={hex(value) if type(value) is int and value > 999 else repr(value)}" for name, value in arguments.items())
    return f"{type(made).__name__}({', '.join(shown)})"


def _spans(pairs: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((first, n_pages) for first, n_pages in pairs)


class _Shown:
    """What prints itself as the expression that makes it, also where hypothesis reports a failure."""

    def __repr__(self) -> str:
        return _call(self, **vars(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Part(_Shown):
    """One mapping of a guest.

    Attributes
    ----------
    gpa, n_pages : int
        Where: bytes, pages.
    prot : int
        A ``Prot`` with READ.
    obj : int or None
        Number of the RAM object that is mapped; None for MMIO, which is readable and writable.
    offset : int
        First page of the object, or frame of the device.
    populated, dirty : tuple of (first page, number of pages)
        Parts of the mapping that are made resident, and those that are made dirty.
    """

    gpa: int
    n_pages: int
    prot: int = 3
    obj: int | None = None
    offset: int = 0
    populated: tuple[tuple[int, int], ...] = ()
    dirty: tuple[tuple[int, int], ...] = ()

    @property
    def length(self) -> int:
        """Bytes."""
        return self.n_pages << PAGE_SHIFT

    @property
    def end(self) -> int:
        """Address of the first byte behind it."""
        return self.gpa + self.length


@dataclass(frozen=True, repr=False)
class Guest(_Shown):
    """A small guest.

    Attributes
    ----------
    format : str
        ``"ept"`` or ``"npt"``.
    size : int
        Bytes of its address space.
    tracking : bool
        Whether it keeps a dirty log.
    objects : tuple of int
        Pages of each RAM object.
    parts : tuple of Part
        Its mappings, by address.

    Examples
    --------
    >>> guest = Guest("ept", 1 << 30, True, (2,), (Part(0x1000, 2, obj=0, dirty=((1, 1),)),))
    >>> with guest.build() as built:
    ...     built.space.peek_dirty(0x1000, 0x2000).tolist()
    [2]
    >>> Guest.from_json(guest.to_json()) == guest
    True
    """

    format: str
    size: int
    tracking: bool
    objects: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def n_pages(self) -> int:
        """Pages that are mapped."""
        return sum(part.n_pages for part in self.parts)

    def pages(self) -> list[int]:
        """Addresses of all pages that are mapped, in order."""
        return [gpa for part in self.parts for gpa in range(part.gpa, part.end, PAGE_SIZE)]

    def to_json(self) -> str:
        """As text, for a file of regressions."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Guest":
        """The other way of ``to_json``."""
        known = json.loads(text)
        parts = tuple(Part(**part | {name: _spans(part[name]) for name in ("populated", "dirty")}) for part in known["parts"])
        return cls(**known | {"objects": tuple(known["objects"]), "parts": parts})

    @contextmanager
    def build(self, implementation: Any = None, **options: Any) -> Iterator["Built"]:
        """Have it built while a context lasts; it is taken down at the end.

        Parameters
        ----------
        implementation
            What has ``Reservoir``, ``VmSpace``, ``EPT`` and ``NPT`` with the contract's calls; ``npt`` itself if None.
        options
            More arguments of the space.

        Yields
        ------
        Built
            The guest.
        """
        if implementation is None:
            import npt as implementation
        format = implementation.EPT if self.format == "ept" else implementation.NPT
        with ExitStack() as stack:
            reservoir = stack.enter_context(implementation.Reservoir(sum(self.objects, SPARE) << PAGE_SHIFT))
            objects = tuple(stack.enter_context(reservoir.allocate(n << PAGE_SHIFT)) for n in self.objects)
            space = implementation.VmSpace(self.size, format=format, reservoir=reservoir, track_dirty=self.tracking, **options)
            stack.enter_context(space)
            built = Built(self, reservoir, objects, space)
            for part in self.parts:
                built.map(part)
                built.fill(part)
            yield built


class Built(NamedTuple):
    """A guest that was built.

    Attributes
    ----------
    guest : Guest
        What it was built from.
    reservoir, objects, space
        Of the implementation; objects by number, the caller's references to them.
    """

    guest: Guest
    reservoir: Any
    objects: tuple[Any, ...]
    space: Any

    def map(self, part: Part) -> None:
        """Map a part of the guest, with nothing resident."""
        if part.obj is None:
            self.space.map_mmio(part.gpa, part.length, part.offset << PAGE_SHIFT).release()
        else:
            self.space.map(self.objects[part.obj], part.gpa, part.length, Prot(part.prot), part.offset << PAGE_SHIFT)

    def fill(self, part: Part) -> None:
        """Make of it resident and dirty what is to be."""
        for first, n_pages in part.populated:
            self.space.populate(part.gpa + (first << PAGE_SHIFT), n_pages << PAGE_SHIFT)
        for first, n_pages in part.dirty:
            self.space.set_dirty(part.gpa + (first << PAGE_SHIFT), n_pages << PAGE_SHIFT)


@dataclass(frozen=True, repr=False)
class Access(_Shown):
    """One access of a vCPU.

    Attributes
    ----------
    gpa : int
        Byte address, a multiple of 8.
    kind : str
        ``"read"``, ``"write"`` or ``"execute"``.
    value : int
        What a write stores.
    """

    gpa: int
    kind: str = "read"
    value: int = 0


def arguments(accesses: Sequence[Access], *, values: bool = True) -> dict[str, Any]:
    """Accesses as ``Vcpu.run`` and ``Vcpu.step`` take them.

    Examples
    --------
    >>> arguments([Access(0x1000, "write", 7)], values=False)["write"].tolist()
    [True]
    """
    kinds = np.array([_KIND[access.kind] for access in accesses], np.uint8)
    made = {
        "gpas": np.array([access.gpa for access in accesses], np.uint64),
        "write": kinds == _KIND["write"],
        "execute": kinds == _KIND["execute"],
    }
    return made | {"values": np.array([access.value for access in accesses], np.uint64)} if values else made
