"""The soak is whole: everything in it makes progress, and what goes wrong in any part of it ends it."""

import pytest

from npt import VmSpace
from npt.testing import Differ
from tests.soak import soak as it
from tests.soak.__main__ import main
from tests.threads.migration import FIRST, Migration

pytestmark = pytest.mark.slow


def test_soak__everything_makes_progress() -> None:
    """In one short shift of all that runs for hours else."""
    report = it.soak(1.0, shift=1.0)
    assert min(report.written, report.harvests, report.kicks, report.pages_copied, report.unmaps) > 0, str(report)
    assert min(report.migrations, report.fuzzed_calls, report.fuzzed_facts, report.shifts, report.checks) > 0, str(report)
    assert report.pages_lost == 0
    assert f"written {report.written:,}" in str(report)


def test_soak__ends_when_a_page_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits that are harvested and forgotten are missed at the next rest."""

    class Careless(Migration):
        def harvest(self) -> None:
            self.space.track_dirty(FIRST, self.ram.length)
            super().harvest()

    monkeypatch.setattr(it, "Migration", Careless)
    monkeypatch.setattr(it, "_study", lambda *_: None)
    monkeypatch.setattr(it, "_fuzz", lambda *_: None)
    with pytest.raises(AssertionError, match="pages were lost"):
        it.soak(120.0, shift=0.2)


def test_soak__ends_when_fuzzing_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in a corner that only random calls look at."""
    monkeypatch.setattr(VmSpace, "resident_count", property(lambda space: 7))
    monkeypatch.setattr(it, "_study", lambda *_: None)
    with pytest.raises(Differ):
        it.soak(120.0, shift=30.0)


def test_soak__ends_when_memory_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what it was when everything had warmed up."""
    sizes = iter(range(1 << 30, 1 << 34, 1 << 28))
    monkeypatch.setattr(it, "resident", lambda: next(sizes))
    monkeypatch.setattr(it, "_work", lambda *_: None)
    with pytest.raises(AssertionError, match="memory grew by"):
        it.soak(120.0, shift=0.2)


def test_command__tells_what_failed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By its exit code, too."""
    monkeypatch.setattr("tests.soak.__main__.soak", lambda *_, **__: it.Report(shifts=3))
    assert main(["--minutes", "1"]) == 0
    assert "shifts 3" in capsys.readouterr().out
    for error, code in ((AssertionError("2 pages were lost"), 1), (KeyboardInterrupt(), 130)):

        def fail(*_: object, error: BaseException = error, **__: object) -> it.Report:
            raise error

        monkeypatch.setattr("tests.soak.__main__.soak", fail)
        assert main([]) == code
    with pytest.raises(SystemExit):
        main(["--minutes", "-1"])
