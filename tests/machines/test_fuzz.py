"""Random calls of the engine and the oracle: 20,000 a format here, more with ``python -m npt.testing fuzz --operations N``.

What fuzzing found once is kept in ``regressions``, as traces with the oracle's answers, and asked again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npt
from npt import Deadlock, InvalidArgument, VmSpace
from npt.testing import Call, Differ, Duel, Fuzzed, Trace, conform, fuzz, fuzz_bytes
from npt.testing.__main__ import main
from npt.testing.calls.drawn import SUBJECTS
from npt.testing.calls.player import MAKES
from npt.testing.calls.shrinking import shrink
from npt.testing.fuzzing import ORACLE, ROUND, keep
from tests.ahead import Done, ahead
from tests.forms import FORMS, forced

OPERATIONS = 20_000
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.jsonl"))


@contextlib.contextmanager
def _in_form(n: int) -> Iterator[None]:
    """Each round in another form of the engine's work."""
    with forced(list(FORMS.values())[n % len(FORMS)]):
        yield


def in_every_form(format: str) -> Fuzzed:
    """So many calls, in all forms in turn."""
    return fuzz(format, operations=OPERATIONS, seed=9, around=_in_form)


@pytest.mark.slow
@ahead(in_every_form)
@pytest.mark.parametrize("format", ["EPT", "NPT"])
def test_fuzz__finds_no_difference(format: str, done: Done) -> None:
    """And what was drawn is all that can be, most of it answered with a result."""
    fuzzed = done()
    assert fuzzed.calls >= OPERATIONS
    assert len(FORMS) <= OPERATIONS / ROUND
    assert 0.1 < fuzzed.errors / fuzzed.calls < 0.5
    assert fuzzed.facts > OPERATIONS
    assert set(MAKES) <= set(fuzzed.by_name)
    assert len(fuzzed.by_name) >= 110, sorted(fuzzed.by_name)


@given(text=st.binary(max_size=1500), format=st.sampled_from(["EPT", "NPT"]))
@settings(max_examples=40)
def test_bytes__are_calls_on_which_both_agree(text: bytes, format: str) -> None:
    """Whatever the bytes are; ``.hypothesis.fuzz_one_input`` of this test takes a fuzzer's."""
    assert fuzz_bytes(text, format) > 0


def test_bytes__of_a_fuzzer_go_in() -> None:
    """The entry that external fuzzers use."""
    of_test: Any = test_bytes__are_calls_on_which_both_agree
    assert of_test.hypothesis.fuzz_one_input(bytes(range(256)) * 4) is not None


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("implementation", [npt, ORACLE], ids=["npt", "oracle"])
def test_regression__is_mended(path: Path, implementation: Any) -> None:
    """What was found once is answered as the oracle says."""
    conform(path, implementation)


def test_regressions__are_there() -> None:
    """An empty directory must not look like success."""
    assert REGRESSIONS


def test_same_seed__same_calls() -> None:
    """And another seed makes others."""
    once, again, other = (fuzz("NPT", operations=300, seed=seed) for seed in (1, 1, 2))
    assert once == again != other


@pytest.mark.parametrize("arguments", [{"format": "ept"}, {"operations": 0}, {"seed": -1}], ids=str)
def test_fuzz__refuses_what_would_compare_nothing(arguments: dict[str, Any]) -> None:
    """A format in small letters made no space on either side, and so no difference."""
    with pytest.raises(InvalidArgument):
        fuzz(**{"operations": 50, **arguments})


# -- it finds what is wrong -----------------------------------------------------------------------------------------------


class _Leaky(VmSpace):
    """Its harvests leave the last page's bit out, where there are several."""

    def track_dirty(self, gpa: Any, length: Any, *, into: Any = None) -> Any:
        found = super().track_dirty(gpa, length, into=into)
        if into is None and length > 0x3000:
            found[-1] = 0
        return found


def _with(space: type[VmSpace]) -> Any:
    return SimpleNamespace(**{name: getattr(npt, name) for name in ("Reservoir", "MmioObject", "Vcpu", "Vm")}, VmSpace=space)


@pytest.fixture(scope="module")
def leak() -> Differ:
    """What fuzzing says of a space that forgets bits now and then."""
    with pytest.raises(Differ) as caught:
        fuzz("EPT", operations=12_000, subject=_with(_Leaky))
    return caught.value


def test_fault__is_found_made_short_and_kept(leak: Differ, tmp_path: Path) -> None:
    """Few calls are left, and they are a trace that tells npt from it."""
    assert len(leak.calls) <= 10, str(leak)
    assert leak.calls[-1].name == "VmSpace.track_dirty"
    path = keep(leak, tmp_path, "leaky")
    conform(path)
    with pytest.raises(AssertionError, match="track_dirty"):
        conform(path, _with(_Leaky))
    assert Trace.read(path).header["found"]


class _Lax(VmSpace):
    """What may not be asked in a callback it answers with nothing."""

    def set_tracking(self, enabled: Any) -> None:
        with contextlib.suppress(Deadlock):
            super().set_tracking(enabled)


STOP = Call("VmSpace.set_tracking", "s0", {"enabled": False})


@pytest.mark.parametrize(("space", "left"), [(_Leaky, ()), (_Lax, ((STOP,),))])
def test_shrinking__leaves_out_what_callbacks_do(space: type[VmSpace], left: tuple[Any, ...]) -> None:
    """Unless it is that which differs."""
    harvest, bytes_ = {"gpa": 0, "length": 0x8000}, {"gpa": 0x7000, "data": {"hex": "01"}}
    size = {"size": 1 << 30, "format": {"format": "EPT"}, "track_dirty": True}
    calls = [
        Call("Reservoir", None, {"size": 0x10000}, "r0"), Call("Reservoir.allocate", "r0", {"length": 0x8000}, "o0"),
        Call("VmSpace", None, size, "s0"), Call("VmSpace.map", "s0", {"obj": {"thing": "o0"}, **harvest, "prot": 3}),
        Call("VmSpace.client", "s0", {}, "c0"), Call("VmClient.on_invalidate", "c0", {"callback": {"callback": True}}),
        Call("VmClient.write", "c0", bytes_),
        Call("VmSpace.track_dirty", "s0", harvest, None, ((STOP,),)),
    ]  # fmt: skip
    duel = Duel(ORACLE, _with(space))
    found = duel.again(calls)
    assert found is not None
    assert shrink(duel, found).calls[-1].inside == left


class _Crashing(VmSpace):
    """It raises what nobody may."""

    def populate(self, gpa: Any, length: Any) -> int:
        return super().populate(gpa, length) // (0 if gpa == 0x1000 else 1)


def test_crash__is_a_difference() -> None:
    """An exception that the contract does not have."""
    with pytest.raises(Differ, match="ZeroDivisionError"):
        fuzz("NPT", operations=20_000, subject=_with(_Crashing))


# -- the command ----------------------------------------------------------------------------------------------------------


def test_command__says_what_it_did(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leak: Differ
) -> None:
    """And by its exit code whether there was a difference."""
    assert main(["fuzz", "--operations", "200", "--format", "EPT"]) == 0
    assert "EPT, seed 0: " in (said := capsys.readouterr().out)
    assert "no difference" in said

    def fail(format: str, **_: object) -> Fuzzed:
        raise leak

    monkeypatch.setattr("npt.testing.__main__.fuzz", fail)
    assert main(["fuzz", "--keep", str(tmp_path)]) == 1
    assert "kept in" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["ept-0.jsonl"]


@pytest.mark.parametrize("arguments", [["fuzz", "--operations", "0"], ["fuzz", "--format", "x"], [], ["other"]])
def test_command__refuses_what_makes_no_sense(arguments: list[str]) -> None:
    """As commands do."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_command__can_be_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and what is known by then."""

    def interrupt(format: str, **_: object) -> Fuzzed:
        raise KeyboardInterrupt

    monkeypatch.setattr("npt.testing.__main__.fuzz", interrupt)
    assert main(["fuzz"]) == 130
    assert "no difference so far" in capsys.readouterr().err


def test_subjects__are_the_machines_rules() -> None:
    """A subject that no rule draws would be tested by nobody."""
    from npt.testing.machines import ContractMachine

    rules = {name.lower() for name in ("host_memory", "mappings", "marks", "clients", "pages", "batches", "vcpus", "machines")}
    assert {name.lower().replace(" ", "_") for name in SUBJECTS} == rules
    assert rules <= set(dir(ContractMachine))
