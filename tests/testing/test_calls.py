"""Calls as data: their form in JSON, what a player tells of them, traces and their recorder."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npt
from npt import EPT, NPT, Deadlock, InvalidArgument, MmioObject, Prot, Reservoir, Unreadable, Vcpu, Vm, VmSpace
from npt.testing import Call, Differ, Duel, Line, Mismatch, NotThere, Oracle, Player, Recorder, Trace, conform, hardware_walk
from npt.testing.__main__ import main
from npt.testing.calls.call import plain, value_of
from npt.testing.calls.trace import SCHEMA

PAGE = 0x1000

VALUES: dict[str, Any] = {
    "nothing": None, "text": "x", "a flag": True, "a float": 1.5, "zero": 0, "a big number": 2**64, "a small one": -(2**53),
    "bytes": b"\x00\xff", "numbers": [1, 2**63, [None]], "a slice": slice(None, -2, 3), "EPT": EPT, "NPT": NPT,
    "a bitmap": np.array([1, 255], np.uint8), "words": np.array([0, 2**64 - 1], np.uint64), "flags": np.array([True, False]),
    "pages": np.full((2, PAGE), 7, np.uint8), "no words": np.empty(0, np.uint64),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_value__survives_a_line_of_json(name: str) -> None:
    """What is read back is what was written, with its type."""
    value = VALUES[name]
    back = value_of(json.loads(json.dumps(plain(value, {}))), {})
    assert type(back) is type(value)
    assert np.array_equal(back, value) if isinstance(value, np.ndarray) else back == value
    assert getattr(back, "dtype", None) == getattr(value, "dtype", None)


@pytest.mark.parametrize(
    "value", [object(), {1}, np.zeros((2, 2)), np.zeros((2, 3), np.uint8)], ids=["odd", "set", "2-D", "bytes"]
)
def test_value__without_a_form_is_refused(value: Any) -> None:
    """Rather than written down as something else."""
    with pytest.raises(TypeError, match="cannot be written down"):
        plain(value, {})


def test_value__of_no_known_form_is_told() -> None:
    """A file that somebody edited."""
    with pytest.raises(ValueError, match="no value has the form"):
        value_of({"strange": 1}, {})


def test_call__survives_a_line_of_json() -> None:
    """With the calls of its callbacks."""
    call = Call("VmSpace.unmap", "s0", {"gpa": 0, "length": PAGE}, inside=((Call("raise"),), (), (Call("Vcpu", new="v0"),)))
    assert Call.of(json.loads(json.dumps(call.line()))) == call


# -- a player -----------------------------------------------------------------------------------------------------------

BEGIN = (
    Call("Reservoir", args={"size": 16 * PAGE}, new="r0"),
    Call("Reservoir.allocate", "r0", {"length": 2 * PAGE}, new="o0"),
    Call("VmSpace", args={"size": 1 << 30, "reservoir": {"thing": "r0"}, "track_dirty": True}, new="s0"),
    Call("VmSpace.map", "s0", {"obj": {"thing": "o0"}, "gpa": 0, "length": 2 * PAGE, "prot": 3}),
    Call("VmSpace.client", "s0", new="c0"),
)


def _begun(implementation: Any = npt) -> Player:
    player = Player(implementation)
    for call in BEGIN:
        assert "ok" in player.play(call)
    return player


def test_player__tells_frames_by_object_and_page() -> None:
    """Where an object lies is the implementation's own business."""
    player = _begun()
    player.play(Call("VmSpace.populate", "s0", {"gpa": 0, "length": 2 * PAGE}))
    frames = {"ok": [{"frame": ["o0", 1]}, {"frame": {"int": hex(2**64 - 1)}}]}
    assert player.play(Call("VmSpace.translate", "s0", {"gpas": [PAGE, 2 * PAGE]})) == frames
    assert player.play(Call("VmSpace.pte", "s0", {"gpa": 0})) == {"ok": {"bits of entry": 0x33, "frame": ["o0", 0]}}
    assert player.play(Call("RamObject.pfn_at", "o0", {"offset": PAGE})) == {"ok": {"frame": ["o0", 1]}}


def test_player__tells_errors_by_class_and_number() -> None:
    """Their messages are the implementation's own business."""
    player = _begun()
    assert player.play(Call("VmClient.hold", "c0", {"gpa": 2 * PAGE, "prot": 3}, "p0")) == {
        "error": "Fault",
        "errno": 14,
        "code": 1,
    }
    assert player.play(Call("VmSpace.unmap", "s0", {"gpa": 1, "length": PAGE})) == {"error": "InvalidArgument", "errno": 22}
    assert player.play(Call("VmSpace.unmap", "s0", {"gpa": "0", "length": PAGE})) == {"error": "TypeError"}


def test_player__knows_what_was_never_made() -> None:
    """A call about it is no answer of the implementation's."""
    with pytest.raises(NotThere, match="p7"):
        _begun().play(Call("VmPage.release", "p7"))


def test_player__lets_crashes_through() -> None:
    """What no implementation may raise is not told as if it were an answer."""
    player = Player(SimpleNamespace(Reservoir=lambda size: 1 // 0))
    with pytest.raises(ZeroDivisionError):
        player.play(BEGIN[0])


def test_player__plays_calls_in_callbacks() -> None:
    """And tells what came of them, callback by callback."""
    player = _begun()
    player.play(Call("VmClient.on_invalidate", "c0", {"callback": {"callback": True}}))
    inside = ((Call("VmSpace.generation", "s0"), Call("VmSpace.populate", "s0", {"gpa": 0, "length": PAGE})),)
    outcome = player.play(Call("VmSpace.track_dirty", "s0", {"gpa": 0, "length": PAGE}, inside=inside))
    deadlock = {"error": "Deadlock", "errno": Deadlock("").errno or 35}
    assert outcome["callbacks"] == [["c0", 0, PAGE, {"ok": 2}, deadlock]]
    outcome = player.play(Call("VmSpace.track_dirty", "s0", {"gpa": 0, "length": PAGE}, inside=((Call("raise"),),)))
    assert outcome == {"error": "CallbackFailed", "callbacks": [["c0", 0, PAGE]]}


def test_player__tells_what_arrays_were_filled_with() -> None:
    """Also when the call failed."""
    player = _begun()
    player.play(Call("VmClient.write", "c0", {"gpa": 0, "data": {"hex": "07"}}))
    args = {"gpa": 0, "length": 2 * PAGE, "into": {"bits": "80"}}
    assert player.play(Call("VmSpace.track_dirty", "s0", args)) == {"ok": {"bits": "81"}, "arrays": {"into": {"bits": "81"}}}


# -- traces -------------------------------------------------------------------------------------------------------------


def _session(used: Any) -> None:
    """Some of everything, as somebody would write it."""
    reservoir = used.Reservoir(64 * PAGE)
    with used.VmSpace(1 << 30, reservoir=reservoir, track_dirty=True) as space:
        with reservoir.allocate(8 * PAGE) as ram:
            space.map(ram, 0x1F_E000, 4 * PAGE, Prot.RW, offset=PAGE)
        device = space.map_mmio(0x40_0000, PAGE, 0xFE00_0000)
        client = space.client()
        client.on_invalidate(lambda gpa, length: client.holds)
        client.write(0x1F_EFFF, b"ab")
        with client.hold(0x1F_E000, Prot.RW) as page:
            page.chain(second := client.hold(0x1F_F000, Prot.READ))
            assert page.next is second
            assert [one.obj is device for one in space.mappings] == [False, True]
            client.on_invalidate(lambda gpa, length: space.populate(0x1F_E000, PAGE))
            with pytest.raises(Deadlock):
                space.track_dirty(0, 1 << 30)
        client.on_invalidate(None)
        with client.hold_many([0x1F_E000, 0x1F_F000], Prot.RW) as pages:
            pages.scatter(pages.gather() + 1)
        vcpu = used.Vcpu(client, tlb=4)
        assert vcpu.run([0x1F_E000, 0x1F_F008], write=[True, False], values=[7, 8]).completed == 2
        assert space.track_dirty(0, 1 << 30)[0x3F] == 0xC0
        assert used.MmioObject(PAGE, 0xFE00_0000).attr == 0
        client.release_all()
        device.release()
    with used.Vm(reservoir) as vm:
        vm.alloc_memseg(3, 4 * PAGE)
        vm.map_memseg(3, 0, 4 * PAGE, Prot.RW)
        segment = vm.map_guest(0, 2 * PAGE, Prot.RW)
        segment[5:7], segment[4] = b"xy", 9
        assert (len(segment), segment[4:8], vm.memseg(3).refs) == (2 * PAGE, b"\x09xy\x00", 2)
        with pytest.raises(InvalidArgument):
            vm.alloc_memseg(3, PAGE)
    reservoir.close()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A session with npt, recorded."""
    path = tmp_path / "session.jsonl"
    with path.open("w") as file:
        _session(Recorder(file, npt, made_by="a test"))
    return path


def test_session__is_one_that_npt_takes() -> None:
    """What is recorded below works without a recorder, too."""
    _session(SimpleNamespace(Reservoir=Reservoir, VmSpace=VmSpace, Vcpu=Vcpu, Vm=Vm, MmioObject=MmioObject))


@pytest.mark.parametrize("implementation", [npt, Oracle()], ids=["npt", "oracle"])
def test_recorded_session__is_what_others_do(recorded: Path, implementation: Any) -> None:
    """Recorded from npt, it is replayed on npt and on the oracle."""
    seen: list[int] = []
    conform(recorded, implementation, after_each=lambda player: seen.append(len(player.things)))
    assert len(seen) == len(Trace.read(recorded).lines) > 40


def test_recorded_oracle__is_what_npt_does(tmp_path: Path) -> None:
    """A recorder takes any implementation."""
    with (path := tmp_path / "oracle.jsonl").open("w") as file:
        _session(Recorder(file, Oracle()))
    conform(path)


def test_recording__holds_the_calls_of_callbacks(recorded: Path) -> None:
    """As part of the call during which the callback came."""
    (harvest,) = (line for line in Trace.read(recorded).lines if line.call.inside and line.outcome.get("error"))
    assert [[call.name for call in calls] for calls in harvest.call.inside] == [["VmSpace.populate", "raise"]]
    assert harvest.outcome["callbacks"][0][3]["error"] == "Deadlock"


def test_trace__survives_its_file(recorded: Path, tmp_path: Path) -> None:
    """Header and lines."""
    trace = Trace.read(recorded)
    trace.write(tmp_path / "again.jsonl")
    assert Trace.read(tmp_path / "again.jsonl") == trace
    assert trace.header == {"made_by": "a test", "schema": SCHEMA}


def test_every_answer__is_compared(recorded: Path) -> None:
    """A trace with any one answer changed does not go through, and says where."""
    lines = Trace.read(recorded).lines
    for i, line in enumerate(lines):
        wrong = [*lines[:i], Line(line.call, {**line.outcome, "ok": "something else"}), *lines[i + 1 :]]
        with pytest.raises(Mismatch, match=f"call {i}: ") as caught:
            conform(wrong)
        assert caught.value.i == i
    assert len(lines) > 40


@pytest.mark.parametrize(
    "text",
    ["", "{}", f'{{"schema": "{SCHEMA}"}}', '{"schema": "other"}', "[]", "\x00", "1\n2",
     f'{{"schema": "{SCHEMA}"}}\n{{"i": 1, "call": "x", "res": {{}}}}', f'{{"schema": "{SCHEMA}"}}\n{{"i": 0, "res": {{}}}}'],
)  # fmt: skip
def test_trace__that_is_none_is_told(tmp_path: Path, text: str) -> None:
    """Not whole, or not of this schema."""
    (path := tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(Unreadable, match=r"bad\.jsonl"):
        Trace.read(path)
    assert main(["conform", str(path)]) == 2


def test_command__replays_traces(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the engine or on the oracle, and says by its exit code whether they agree."""
    assert main(["conform", str(recorded), "--on", "oracle"]) == 0
    assert "as it says" in capsys.readouterr().out
    lines = Trace.read(recorded).lines
    Trace((Line(lines[0].call, {"ok": 1}),)).write(recorded)
    assert main(["conform", str(recorded)]) == 1
    assert "expected {'ok': 1}" in capsys.readouterr().out
    assert main(["conform", "no such file"]) == 2


@pytest.mark.parametrize(
    ("call", "got"),
    [
        (Call("VmSpace.map", "s9"), "not there"),
        (Call("Reservoir.frob", "r0"), "AttributeError"),
        (Call("os"), "AttributeError"),
    ],
    ids=str,
)
def test_command__tells_calls_that_cannot_be_made(
    call: Call, got: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An implementation that lacks a call, or a trace that lacks a line, does not conform: that is no crash of the runner."""
    made = Line(Call("Reservoir", args={"size": PAGE}, new="r0"), {"ok": {"thing": "r0"}})
    Trace((made, Line(call, {"ok": None}))).write(path := tmp_path / "odd.jsonl")
    assert main(["conform", str(path)]) == 1
    assert got in (said := capsys.readouterr().out)
    assert "call 1" in said


def test_recorder__makes_nothing_else() -> None:
    """It stands for an implementation of the contract, not for a module."""
    recorder = Recorder(io.StringIO())
    with pytest.raises(AttributeError, match="not EPT"):
        _ = recorder.EPT
    reservoir = recorder.Reservoir(PAGE)
    with pytest.raises(TypeError, match="cannot be written down"):
        reservoir.allocate(object())


def test_recorder__fills_the_arrays_of_its_caller() -> None:
    """As the implementation does that it stands for: with bits, with words that a vCPU read, with pages."""
    used = Recorder(io.StringIO())
    reservoir = used.Reservoir(4 * PAGE)
    space = used.VmSpace(1 << 30, reservoir=reservoir, track_dirty=True)
    space.map(reservoir.allocate(2 * PAGE), 0, 2 * PAGE, Prot.RW)
    client = space.client()
    client.write(0, b"\x05" * 2 * PAGE)
    bits, words, pages = np.full(1, 0x80, np.uint8), np.zeros(1, np.uint64), np.zeros((2, PAGE), np.uint8)
    assert space.track_dirty(0, 2 * PAGE, into=bits) is bits
    used.Vcpu(client).run([PAGE], into=words)
    with client.hold_many([0, PAGE], Prot.READ) as batch:
        assert batch.gather(out=pages) is pages
    assert (bits[0], words[0], set(pages.flat)) == (0x83, 0x0505_0505_0505_0505, {5})


def test_recorder__shows_what_a_thing_was_made_with() -> None:
    """Attributes that are no calls: they are not written down, and what they name is a stand-in, too."""
    used = Recorder(file := io.StringIO())
    reservoir = used.Reservoir(4 * PAGE)
    space = used.VmSpace(1 << 30, reservoir=reservoir)
    vcpu = used.Vcpu(client := space.client(), cpu=3, tlb=64)
    written = file.getvalue()
    assert (vcpu.cpu, vcpu.tlb, vcpu.client) == (3, 64, client)
    assert file.getvalue() == written
    with pytest.raises(AttributeError, match="registers"):
        _ = vcpu.registers


def test_recorder__keeps_no_view(tmp_path: Path) -> None:
    """A view that its caller has dropped is neither in the way of closing nor in quarantine, here and when replayed."""
    with (path := tmp_path / "trace").open("w") as file:
        used = Recorder(file)
        reservoir = used.Reservoir(4 * PAGE)
        with used.VmSpace(1 << 30, reservoir=reservoir) as space, reservoir.allocate(PAGE) as ram:
            space.map(ram, 0, PAGE, Prot.RW)
            with space.client().hold(0, Prot.RW) as page:
                page.writable()[0] = 7
                view = page.readable()
                assert view[0] == 7
        assert reservoir.usage.quarantined == PAGE
        del view
        assert reservoir.usage.quarantined == 0
        reservoir.close()
    for implementation in (npt, Oracle()):
        conform(path, implementation)


def test_recorder__refuses_what_its_implementation_does(tmp_path: Path) -> None:
    """A negative address in an array is the implementation's to refuse, and is one in the trace, too."""
    with (path := tmp_path / "trace").open("w") as file, pytest.raises(InvalidArgument, match="negative"):
        Recorder(file).VmSpace(PAGE).translate(np.array([-1]))
    for implementation in (npt, Oracle()):
        conform(path, implementation)


# -- duels --------------------------------------------------------------------------------------------------------------


class _Wrong(VmSpace):
    """A space with a fault, by what it is called."""

    fault = ""

    def populate(self, gpa: Any, length: Any) -> int:
        found = super().populate(gpa, length)
        if self.fault == "dirty at populate":
            self.set_dirty(gpa, length)
        elif self.fault == "generation":
            self.accessed(gpa, length, clear=True)
        elif self.fault == "byte":
            with self.client().hold(gpa, Prot.WRITE, defer_dirty=True) as page:
                page.writable()[5] = 1
        elif self.fault == "entry":
            table = int(self.table.entries(2)[np.flatnonzero(self.table.entries(2))[0]]) >> 12 & 0xFF_FFFF_FFFF
            self.table.read_table(table)[0] ^= 1 << 2
        return found

    @property
    def resident_count(self) -> int:
        return super().resident_count + (self.fault == "resident_count")


@pytest.mark.parametrize("fault", ["", "dirty at populate", "generation", "byte", "entry", "resident_count"])
def test_duel__sees_what_no_answer_tells(fault: str) -> None:
    """The answers to the calls agree; what can be seen afterwards does not."""
    wrong = SimpleNamespace(**{name: getattr(npt, name) for name in ("Reservoir", "MmioObject", "Vcpu", "Vm")})
    wrong.VmSpace = type("Wrong", (_Wrong,), {"fault": fault})
    duel = Duel(Oracle(), wrong)
    for call in (*BEGIN, Call("VmSpace.populate", "s0", {"gpa": 0, "length": 2 * PAGE})):
        duel.play(call)
    if fault:
        with pytest.raises(Differ, match=r"after call 5: s0\.populate"):
            duel.compare()
    else:
        assert duel.compare() > 20


def test_pictures__read_tables_as_hardware_does() -> None:
    """The walk that pictures take is the public one."""
    player = _begun()
    player.play(Call("VmSpace.populate", "s0", {"gpa": 0, "length": PAGE}))
    space = player.things["s0"]
    walk = hardware_walk(space.table.read_table, space.table_root >> 12, 0, Prot.READ, format=EPT)
    assert walk.hpa == player.things["o0"].pfn_at(0) << 12
