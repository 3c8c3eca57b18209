"""The oracle: what it may know, arguments, host memory."""

import ast
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt import (
    AddressOverflow,
    BeyondSpace,
    Busy,
    InvalidArgument,
    NotSupported,
    Overlap,
    Prot,
    ReservoirExhausted,
    StaleHandle,
    TrackingDisabled,
)
from npt.testing import oracle
from npt.testing.oracle import Oracle
from tests.testing.oracle_guest import ORACLE, PAGE, RAM, SIZE, N, OracleGuest

# -- what it may know ---------------------------------------------------------------------------------------------------

ALLOWED = {"npt._types", "npt.errors"}


def _imported(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found: set[str] = set()
    for node in tree:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found |= {f"npt.{alias.name}" for alias in node.names} if node.module == "npt" else {str(node.module)}
    return found


def test_oracle__shares_no_code_with_the_engine() -> None:
    """Of npt it knows errors and small types only, and nothing is loaded by name."""
    files = sorted(Path(oracle.__path__[0]).glob("**/*.py"))
    assert len(files) >= 12
    imported = set[str]().union(*map(_imported, files))
    ours = {name for name in imported if name.split(".")[0] == "npt" and not name.startswith("npt.testing.oracle.")}
    assert ours == ALLOWED
    assert not [name for name in imported if name.split(".")[0] in ("importlib", "numba", "sys")]


def test_oracle__has_the_classes_of_the_contract() -> None:
    """Under the names that the module ``npt`` has for its own."""
    names = ("Reservoir", "MmioObject", "VmSpace", "Vcpu", "Vm")
    assert [getattr(Oracle(), name).__name__ for name in names] == list(names)


def test_handles__are_neither_copied_nor_pickled() -> None:
    """They belong to their process."""
    guest = OracleGuest()
    handles = [guest.reservoir, guest.ram, guest.space, guest.client, guest.client.hold(RAM, 3), ORACLE.Vcpu(guest.client)]
    for handle in handles:
        with pytest.raises(TypeError):
            copy.copy(handle)


# -- arguments ----------------------------------------------------------------------------------------------------------

Act = Callable[[OracleGuest], object]
REFUSED: dict[str, tuple[type[Exception], Act]] = {
    "bool": (TypeError, lambda g: g.space.unmap(True, PAGE)),
    "float": (TypeError, lambda g: g.space.unmap(0.0, PAGE)),
    "numpy bool": (TypeError, lambda g: g.space.pte(np.True_)),
    "text": (TypeError, lambda g: g.client.hold("0", 3)),
    "list of bools": (TypeError, lambda g: g.space.translate([True])),
    "list of floats": (TypeError, lambda g: g.space.translate([1.0])),
    "ragged list": (TypeError, lambda g: g.space.translate([[1], [2, 3]])),
    "int as flag": (TypeError, lambda g: g.space.set_tracking(1)),
    "list as bitmap": (TypeError, lambda g: g.space.peek_dirty(0, PAGE, select=[1])),  # type: ignore[arg-type]
    "int64 as bitmap": (TypeError, lambda g: g.space.peek_dirty(0, PAGE, select=np.zeros(1, np.int64))),
    "number as bytes": (TypeError, lambda g: g.client.write(RAM, 1)),
    "no object": (TypeError, lambda g: g.space.map(None, 0, PAGE, 3)),
    "unaligned": (InvalidArgument, lambda g: g.space.unmap(1, PAGE)),
    "half a page": (InvalidArgument, lambda g: g.space.unmap(PAGE // 2, PAGE)),
    "negative": (InvalidArgument, lambda g: g.space.unmap(-PAGE, PAGE)),
    "2**64": (InvalidArgument, lambda g: g.space.unmap(2**64, PAGE)),
    "no length": (InvalidArgument, lambda g: g.space.populate(RAM, 0)),
    "no whole page": (InvalidArgument, lambda g: g.space.populate(RAM, 1)),
    "no prot": (InvalidArgument, lambda g: g.client.fault(RAM, 0)),
    "prot 8": (InvalidArgument, lambda g: g.client.fault(RAM, 8)),
    "map without read": (InvalidArgument, lambda g: g.space.map(g.ram, 0, PAGE, Prot.WRITE)),
    "hold to execute": (InvalidArgument, lambda g: g.client.hold(RAM, Prot.EXEC)),
    "two dimensions": (InvalidArgument, lambda g: g.space.translate([[0]])),
    "negative in a list": (InvalidArgument, lambda g: g.client.fault_many([0, -1], 1)),
    "short bitmap": (InvalidArgument, lambda g: g.space.peek_dirty(0, 9 * PAGE, select=np.zeros(1, np.uint8))),
    "strided into": (InvalidArgument, lambda g: g.space.track_dirty(0, PAGE, into=np.zeros(8, np.uint8)[::2])),
    "guest memory as into": (
        InvalidArgument,
        lambda g: g.space.track_dirty(0, PAGE, into=g.client.hold(RAM, 3).writable()[8:16]),
    ),
    "out of the object": (InvalidArgument, lambda g: g.space.map(g.ram, 0, N * PAGE, 3, PAGE)),
    "another reservoir's": (InvalidArgument, lambda g: g.space.map(ORACLE.Reservoir(PAGE).allocate(PAGE), 0, PAGE, 3)),
    "device over RAM": (InvalidArgument, lambda g: g.space.map_mmio(0, PAGE, 0x10004F * PAGE)),
    "space beyond 2**47": (InvalidArgument, lambda g: ORACLE.VmSpace(2**47 + PAGE)),
    "to 2**64": (AddressOverflow, lambda g: g.space.unmap(2**64 - PAGE, PAGE)),
    "read to 2**64": (AddressOverflow, lambda g: g.client.read(2**64 - 8, 8)),
    "past the end": (BeyondSpace, lambda g: g.space.map(g.ram, SIZE - PAGE, 2 * PAGE, 3)),
    "harvest past the end": (BeyondSpace, lambda g: g.space.track_dirty(SIZE - PAGE, 2 * PAGE)),
    "over the end of another": (Overlap, lambda g: g.space.map(g.ram, RAM + (N - 1) * PAGE, 2 * PAGE, 3)),
    "over the beginning of another": (Overlap, lambda g: g.space.map(g.ram, RAM - PAGE, 2 * PAGE, 3)),
    "over another": (Overlap, lambda g: g.space.map(g.ram, RAM, N * PAGE, 3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments__refused(name: str) -> None:
    """Each by the class that the table of errors says, and nothing has changed."""
    error, act = REFUSED[name]
    guest = OracleGuest()
    with pytest.raises(error) as refusal:
        act(guest)
    assert refusal.type is error
    assert (guest.space.resident_count <= 1, guest.space.generation, len(guest.space.mappings)) == (True, 1, 1)


ORDER: dict[str, tuple[type[Exception], Act]] = {
    "type before stale": (TypeError, lambda g: g.space.set_dirty(0, "x")),
    "stale before argument": (StaleHandle, lambda g: g.space.set_dirty(1, 1)),
}
UNTRACKED: dict[str, tuple[type[Exception], Act]] = {
    "end before tracking": (BeyondSpace, lambda g: g.space.peek_dirty(SIZE, PAGE)),
    "argument before end": (InvalidArgument, lambda g: g.space.peek_dirty(SIZE, PAGE, select=np.zeros(0, np.uint8))),
    "tracking": (TrackingDisabled, lambda g: g.space.peek_dirty(0, PAGE)),
}


@pytest.mark.parametrize("name", [*ORDER, *UNTRACKED])
def test_arguments__order_of_checks(name: str) -> None:
    """Of two faults the one that is checked first is told."""
    guest = OracleGuest(tracking=False)
    if name in ORDER:
        guest.space.close()
    error, act = (ORDER | UNTRACKED)[name]
    with pytest.raises(error) as refusal:
        act(guest)
    assert refusal.type is error


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64])
def test_arguments__numpy_integers_are_welcome(kind: Any) -> None:
    """Wherever an integer is."""
    guest = OracleGuest()
    guest.space.map(guest.ram, 0, PAGE, Prot.READ)
    assert guest.client.read(kind(3), kind(4)) == bytes(4)
    assert OracleGuest().space.translate(np.array([0], kind)).tolist() == [2**64 - 1]


# -- the reservoir ------------------------------------------------------------------------------------------------------


def usage(reservoir: Any) -> tuple[int, ...]:
    """Pages free, allocated, transient, quarantined."""
    return tuple(n // PAGE for n in reservoir.usage[:4])


def test_reservoir__counts_what_it_gives() -> None:
    """Transient memory is from beyond the size, and counted apart."""
    reservoir = ORACLE.Reservoir(16 * PAGE, limit=20 * PAGE)
    ram = reservoir.allocate(6 * PAGE)
    reservoir.allocate(3 * PAGE, transient=True)
    assert usage(reservoir) == (10, 6, 3, 0)
    with pytest.raises(ReservoirExhausted):
        reservoir.allocate(11 * PAGE)
    with pytest.raises(ReservoirExhausted):
        reservoir.allocate(2 * PAGE, transient=True)
    ram.release()
    assert usage(reservoir) == (16, 0, 3, 0)


def test_reservoir__resize_goes_as_far_as_it_can() -> None:
    """It shrinks by what is free and grows by what is empty."""
    reservoir = ORACLE.Reservoir(16 * PAGE, limit=20 * PAGE)
    ram, brief = reservoir.allocate(6 * PAGE), reservoir.allocate(3 * PAGE, transient=True)
    assert reservoir.resize(20 * PAGE) == 17 * PAGE
    assert reservoir.resize(0, chunk=PAGE) == 6 * PAGE
    brief.release()
    ram.release()
    assert reservoir.resize(20 * PAGE) == 20 * PAGE
    with pytest.raises(ReservoirExhausted):
        reservoir.resize(21 * PAGE)


def test_reservoir__frames_are_never_used_again() -> None:
    """From ``base_pfn`` upwards, so that what is stale is seen."""
    reservoir = ORACLE.Reservoir(4 * PAGE, base_pfn=0x700)
    for first in (0x700, 0x704):
        with reservoir.allocate(4 * PAGE) as ram:
            assert [ram.pfn_at(offset) for offset in (0, PAGE - 1, PAGE)] == [first, first, first + 1]


def test_reservoir__is_busy_while_somebody_has_some_of_it() -> None:
    """Objects, then views."""
    guest = OracleGuest()
    page = guest.client.hold(RAM, 3)
    view = page.writable()
    page.release()
    guest.ram.release()
    with pytest.raises(Busy):
        guest.reservoir.close()
    guest.space.close()
    with pytest.raises(Busy):
        guest.reservoir.close()
    del view
    guest.reservoir.close()
    guest.reservoir.close()
    with pytest.raises(StaleHandle):
        _ = guest.reservoir.usage


def test_quarantine__lasts_as_long_as_any_view() -> None:
    """A slice of a view counts; the bytes are zero from the object's end on."""
    guest = OracleGuest()
    with guest.client.hold(RAM, 3) as page:
        view = page.writable()
        view[:] = 7
        part = view[100:200].reshape(10, 10)
        del view
    guest.ram.release()
    assert part.sum() == 700
    guest.space.unmap(RAM, N * PAGE)
    assert (part.sum(), usage(guest.reservoir)) == (0, (63, 0, 0, 1))
    del part
    assert usage(guest.reservoir) == (64, 0, 0, 0)


def test_reservoir__without_bytes() -> None:
    """Everything but views, and what copies bytes."""
    reservoir = ORACLE.Reservoir(4 * PAGE, backed=False)
    space = ORACLE.VmSpace(SIZE, reservoir=reservoir)
    space.map(reservoir.allocate(4 * PAGE), 0, 4 * PAGE, 3)
    client = space.client()
    page = client.hold(0, 3)
    for act in (page.readable, page.writable, lambda: client.read(PAGE, 1), lambda: client.write(PAGE, b"x")):
        with pytest.raises(NotSupported):
            act()
    assert space.resident_count == 1


# -- objects ------------------------------------------------------------------------------------------------------------


def test_object__references_of_callers_are_counted_apart() -> None:
    """A caller cannot give up a mapping's; what is still mapped answers, and can be referenced again."""
    guest = OracleGuest()
    assert guest.ram.refs == 2
    guest.ram.release()
    with pytest.raises(StaleHandle):
        guest.ram.release()
    assert (guest.ram.refs, guest.ram.length) == (1, N * PAGE)
    guest.ram.reference()
    guest.space.unmap(RAM, N * PAGE)
    guest.ram.release()
    assert guest.ram.refs == 0
    for act in (guest.ram.reference, guest.ram.release, lambda: guest.ram.pfn_at(0), lambda: guest.ram.length):
        with pytest.raises(StaleHandle):
            act()


def test_object__context_drops_one_reference_if_there_is_one() -> None:
    """Leaving it after a release does nothing."""
    guest = OracleGuest()
    with guest.ram:
        guest.ram.release()
    assert guest.ram.refs == 1
    guest.ram.reference()
    with guest.ram:
        pass
    assert guest.ram.refs == 1


def test_mmio__has_exact_frames_below_those_of_tables() -> None:
    """Uncached, and without bytes."""
    mmio = ORACLE.MmioObject(2 * PAGE, 0xFE00_0000)
    assert (mmio.pfn_at(PAGE), int(mmio.attr), mmio.refs) == (0xF_E001, 0, 1)
    ORACLE.MmioObject(PAGE, (2**33 - 1) * PAGE)
    with pytest.raises(InvalidArgument):
        ORACLE.MmioObject(2 * PAGE, (2**33 - 1) * PAGE)
