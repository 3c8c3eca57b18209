"""Bad arguments to every public call: the documented error, and nothing changed.

All are tried with EPT. With nPT it is every third, which is another third for each parameter; all with ``NPT_LONG=1``.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import (
    NPT,
    BeyondSpace,
    InvalidArgument,
    NoSuchMapping,
    OutOfSegment,
    Prot,
    TrackingDisabled,
    Vcpu,
    VmSpace,
)  # fmt: skip
from tests.space.bad_calls import CALLS, GOOD_INTEGERS
from tests.space.bad_input import Call
from tests.space.bad_kinds import cases, refuse_all
from tests.space.everything import NEW, PAGE, RAM, SIZE, Scene, refused
from tests.space.odd import VAST, Mute, masked

BAD = {f"{call.name}-{name}": (call, name, values) for call, name, values in cases(CALLS)}
N_CASES = sum(len(values) for _, _, values in BAD.values())


@pytest.mark.parametrize("parameter", BAD)
def test_bad_argument(scene: Scene, parameter: str) -> None:
    """One bad argument among good ones is refused as documented."""
    call, name, values = BAD[parameter]
    if scene.space.format is NPT and not os.environ.get("NPT_LONG"):
        values = values[len(parameter) % 3 :: 3]
    refuse_all(scene, call, name, values)
    assert len(values) >= 4


def test_bad_argument__of_every_kind() -> None:
    """There are as many cases as there are thought to be: none was lost."""
    assert (len(CALLS), len(BAD)) == (61, 135)
    assert N_CASES >= 4000


def test_bad_argument__into_is_untouched(scene: Scene) -> None:
    """A bitmap that could not be used is as it was."""
    into = np.full(8, 0xA5, np.uint8)
    refused(scene, lambda: scene.space.track_dirty(SIZE, 64 * PAGE, into=into), BeyondSpace)
    assert (into == 0xA5).all()


def test_into__of_a_subclass_gets_its_bits(scene: Scene) -> None:
    """What an array cannot do must not be found out when the bits are cleared already."""
    into = np.zeros(8, np.uint8).view(Mute)
    wanted = scene.space.peek_dirty(RAM, 64 * PAGE)
    assert wanted.any()
    assert scene.space.track_dirty(RAM, 64 * PAGE, into=into) is into
    assert into.tobytes() == wanted.tobytes()
    scene.space.set_dirty(RAM, 64 * PAGE, select=wanted)


MASKED: dict[str, Callable[[Scene, Any], object]] = {
    "translate": lambda s, array: s.space.translate(array(1, np.uint64)),
    "run values": lambda s, array: s.vcpu.run([RAM], write=True, values=array(1, np.uint64)),
    "run write": lambda s, array: s.vcpu.run([RAM], write=array(1, np.bool_)),
    "run into": lambda s, array: s.vcpu.run([RAM], into=array(1, np.uint64)),
    "scatter": lambda s, array: s.pages.scatter(array((3, PAGE), np.uint8)),
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_array__is_no_array(scene: Scene, name: str) -> None:
    """What is masked is no number: nobody goes by what lies under the mask."""
    refused(scene, lambda: MASKED[name](scene, lambda shape, dtype: masked(np.zeros(shape, dtype))), TypeError)
    scene.fingerprint.renew()
    MASKED[name](scene, np.zeros)


@pytest.mark.parametrize("number", [VAST, -VAST], ids=["positive", "negative"])
def test_vast_number__is_told(scene: Scene, number: int) -> None:
    """A number that Python does not write in decimal digits is refused for what it is."""
    for act in (lambda: scene.vm.alloc_memseg(-VAST, PAGE), lambda: scene.space.table.entries(number)):
        refused(scene, act, InvalidArgument)
    refused(scene, lambda: scene.vm.memseg(number), NoSuchMapping)
    refused(scene, lambda: scene.object_segment[number], OutOfSegment)


def test_kick_timeout__is_no_complex_number(scene: Scene) -> None:
    """Also where it would be turned into a float: numpy would do that, and lose half of it."""
    refused(scene, lambda: VmSpace(PAGE, kick_timeout=np.complex128(1)), TypeError)


@pytest.mark.parametrize("name", ["track_dirty", "reset_dirty", "peek_dirty", "set_dirty"])
@pytest.mark.parametrize("error", [InvalidArgument, BeyondSpace, TrackingDisabled])
def test_bad_argument__no_bitmap_is_touched(scene: Scene, name: str, error: type[Exception]) -> None:
    """A call that is refused for whatever else leaves a good bitmap as it was, and may be made again."""
    bitmap = np.full(9, 0xA5, np.uint8)
    space = scene.untracked if error is TrackingDisabled else scene.space
    gpa = SIZE if error is BeyondSpace else RAM + (error is InvalidArgument)
    argument = {"into" if name == "track_dirty" else "select": bitmap}
    refused(scene, lambda: getattr(space, name)(gpa, 64 * PAGE, **argument), error)
    assert (bitmap == 0xA5).all()


@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_bad_argument__is_needed(scene: Scene, call: Call) -> None:
    """No call takes an argument more than it says."""
    arguments = {name: param.make_good(scene) for name, param in call.params.items()}
    refused(scene, lambda: call.of(scene)(**arguments, surplus=1), TypeError)


# -- numbers that are welcome --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GOOD_INTEGERS, ids=lambda kind: str(kind.__name__))
def test_numpy_integers__of_all_widths_are_welcome(kind: Callable[[int], Any]) -> None:
    """Addresses and protections may be numpy integers; lengths, where they fit."""
    scene = Scene()
    page = scene.vm.space.client()
    wide = kind if np.dtype(kind).itemsize > 1 else int  # type: ignore[call-overload]
    assert scene.space.pte(kind(0)) == scene.space.pte(0)
    assert scene.space.translate(np.array([0, 1], kind)).tolist() == [2**64 - 1] * 2  # type: ignore[call-overload]
    scene.space.map(scene.spare, kind(0), wide(PAGE), kind(3), kind(0))
    scene.space.populate(kind(0), wide(PAGE))
    with scene.client.hold(kind(0), kind(3)) as held:
        assert (held.gpa, type(held.gpa), held.prot, type(held.prot)) == (0, int, Prot.RW, Prot)
    scene.client.write(kind(8), b"abc")
    assert scene.client.read(kind(9), kind(2)) == b"bc"
    assert scene.space.track_dirty(kind(0), wide(PAGE)).tolist() == [1]
    assert Vcpu(page, cpu=kind(1), tlb=kind(0)).step([0]).completed == 0
    assert scene.space.mappings[0][:2] == (0, PAGE)
    assert type(scene.space.mappings[0].gpa) is int
    assert scene.ram.pfn_at(kind(1)) == scene.ram.pfn_at(0)
    assert scene.vm.map_object(kind(0), kind(0), wide(PAGE), kind(3))[kind(1)] == 0


GPAS: dict[str, Any] = {
    "list": [RAM, RAM + PAGE],
    "tuple": (RAM, RAM + PAGE),
    "int64": np.array([RAM, RAM + PAGE]),
    "uint32": np.array([RAM, RAM + PAGE], np.uint32),
    "big-endian": np.array([RAM, RAM + PAGE], ">u8"),
    "strided": np.array([RAM, 0, RAM + PAGE, 0], np.uint64)[::2],
    "reversed": np.array([RAM + PAGE, RAM], np.uint64)[::-1],
    "unaligned memory": np.frombuffer(b"x" + np.array([RAM, RAM + PAGE], np.uint64).tobytes(), np.uint8)[1:].view(np.uint64),
    "read-only": np.frombuffer(np.array([RAM, RAM + PAGE], np.uint64).tobytes(), np.uint64),
    "numpy scalars": [np.uint64(RAM), np.int32(RAM + PAGE)],
    "range": range(RAM, RAM + 2 * PAGE, PAGE),
}


@pytest.mark.parametrize("kind", GPAS)
def test_gpas__of_any_integer_kind_are_welcome(scene: Scene, kind: str) -> None:
    """Arrays of integers are converted, wherever their bytes are."""
    wanted = [scene.ram.pfn_at(0), scene.ram.pfn_at(PAGE)]
    assert scene.space.translate(GPAS[kind]).tolist() == wanted
    with scene.client.hold_many(GPAS[kind], Prot.RW, defer_dirty=True) as pages:
        assert (pages.pfns.tolist(), pages.gpas.tolist()) == (wanted, [RAM, RAM + PAGE])
    assert scene.client.fault_many(GPAS[kind], Prot.READ).tolist() == [0, 0]
    assert scene.vcpu.run(GPAS[kind]).completed == 2


@pytest.mark.parametrize("nothing", [[], (), np.empty(0, np.uint64), np.empty(0, np.int8), range(0)], ids=repr)
def test_gpas__may_be_none_at_all(scene: Scene, nothing: Any) -> None:
    """Empty arrays of addresses are fine."""
    assert scene.space.translate(nothing).size == 0
    assert scene.client.fault_many(nothing, Prot.RW).size == 0
    assert scene.vcpu.run(nothing).completed == 0
    with scene.client.hold_many(nothing, Prot.RW) as pages:
        assert pages.gather().shape == (0, PAGE)


def test_gpas__mixed_with_numbers_past_int64_are_welcome(scene: Scene) -> None:
    """A list that numpy would make floats of is an array of integers all the same."""
    assert scene.space.translate([RAM, 2**63]).tolist() == [scene.ram.pfn_at(0), 2**64 - 1]


def test_new_is_where_nothing_is(scene: Scene) -> None:
    """The good arguments of the table are good: the calls that map would."""
    assert scene.space.pte(NEW) is None
    arguments = {call.name: call.params for call in CALLS}["VmSpace.map"]
    scene.space.map(**{name: param.make_good(scene) for name, param in arguments.items()})
    scene.space.unmap(NEW, 4 * PAGE)
