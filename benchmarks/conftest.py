"""What all benchmarks share: options, sizes and formats, a guest, the figure, a line for each, and a file for the rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import npt
from benchmarks import rows
from benchmarks.figures import Figure
from benchmarks.guest import Guest
from benchmarks.running import Running
from npt import EPT, NPT, PAGE_SIZE, NptError, PteFormat, format_size, parse_size
from npt.studies.results import provenance

PACKAGE = Path(npt.__file__).parent
FORMATS = {"ept": EPT, "npt": NPT}
SIZES = ("1GiB", "64GiB")
TINY = ("4MiB",)
_ROUNDS, _SECONDS = 7, 0.3


def _size(text: str) -> int:
    """Bytes of what the user wrote."""
    try:
        size = parse_size(text)
    except NptError as error:
        raise pytest.UsageError(f"--size: {error.strerror}") from None
    if size <= 0 or size % (8 * PAGE_SIZE):
        raise pytest.UsageError(f"--size: {text} is not a positive multiple of {format_size(8 * PAGE_SIZE)}")
    return size


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the benchmarks."""
    group = parser.getgroup("npt", "benchmarks of npt")
    group.addoption(
        "--size", action="append", default=[], help=f"of guests, like 1GiB; repeatable  [{' '.join(SIZES)}, or the file's]"
    )
    group.addoption("--format", action="append", default=[], choices=list(FORMATS), help="repeatable  [both]")
    group.addoption("--rounds", type=int, default=None, help=f"timed rounds, at least, after one untimed  [{_ROUNDS}]")
    group.addoption("--seconds", type=float, default=None, help=f"more rounds while a benchmark takes no longer  [{_SECONDS}]")
    group.addoption("--seed", type=int, default=0, help="of all that is random  [0]")
    group.addoption("--rows", type=Path, default=None, help="file that gets a line of JSON for each row, as it is measured")
    group.addoption("--alone", action="store_true", help="time npt's own work only, without limits and baselines")
    group.addoption("--scale", action="store_true", help="guests of terabytes, too, as far as memory allows")
    group.addoption("--tiny", action="store_true", help="so small that figures mean nothing: to see that all of it works")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options; keep pytest-benchmark's table of means out of the way."""
    config.option.benchmark_quiet = True
    config.option.reportchars = "fE"  # what was skipped has a line already
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")  # since its first round failed
    tiny = config.getoption("tiny")
    for name, small, usual in (("rounds", 1, _ROUNDS), ("seconds", 0.0, _SECONDS)):
        if config.getoption(name) is None:
            setattr(config.option, name, small if tiny else usual)
    if config.getoption("rounds") < 1 or config.getoption("seed") < 0 or not 0 <= config.getoption("seconds") < 1e6:
        raise pytest.UsageError("--rounds must be at least 1, --seed and --seconds at least 0")
    for size in config.getoption("size"):
        _size(size)
    config.pluginmanager.register(_Rows(config), "npt-rows")


class _Rows:
    """Keeps each row as soon as it is there, and tells it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._done, self._total = config, 0, 0
        self._path: Path | None = config.getoption("rows")
        self._meta = provenance(seed=config.getoption("seed"), rounds=config.getoption("rounds"), package=str(PACKAGE))
        self._untold: list[str] = []
        if self._path is not None:
            try:
                self._path.write_text(json.dumps({"meta": self._meta}) + "\n")
            except OSError as error:
                raise pytest.UsageError(f"--rows: {error}") from None

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The lines take the place of pytest's dots and file names."""
        self._total = len(session.items)
        self._reporter.showfspath = False

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """See above."""
        return (report.outcome, "", "") if report.when == "call" or not report.passed else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell what there is to tell; a benchmark's own output is kept from the terminal while it runs."""
        if report.when == "setup":
            self._done += 1
        if report.skipped and isinstance(report.longrepr, tuple):
            self.keep({"name": _name(report.nodeid), "skipped": report.longrepr[2].removeprefix("Skipped: ")})
        elif report.failed:
            self.keep({"name": _name(report.nodeid), "failed": _last_line(report)})
        while self._untold:
            self._reporter.write_line(f"{self._done:3}/{self._total} {self._untold.pop(0)}")

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """How the figures came about, into pytest-benchmark's own file."""
        output_json["npt"] = self._meta

    def keep(self, row: dict[str, Any]) -> None:
        """Write a row away before the next is measured."""
        self._untold.append(rows.line(row))
        if self._path is not None:
            with open(self._path, "a") as file:
                file.write(json.dumps(row) + "\n")


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return (str(report.longrepr) if crash is None else crash.message).strip().split("\n")[0]


def _name(nodeid: str) -> str:
    """Name of a benchmark wherever it is run from."""
    return nodeid.rsplit("/", 1)[-1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Formats and sizes: the user's, else the file's own, else the usual ones."""
    tiny, given = metafunc.config.getoption("tiny"), metafunc.config.getoption("size")
    if "format" in metafunc.fixturenames:
        names = metafunc.config.getoption("format") or list(FORMATS)
        metafunc.parametrize("format", [FORMATS[name] for name in dict.fromkeys(names)], ids=list(dict.fromkeys(names)))
    if "size" in metafunc.fixturenames:
        usual = getattr(metafunc.module, "TINY" if tiny else "SIZES", TINY if tiny else SIZES)
        sizes = {_size(text): None for text in given or usual}  # each once
        metafunc.parametrize("size", list(sizes), ids=[format_size(size).replace(" ", "") for size in sizes])


@pytest.fixture
def tiny(pytestconfig: pytest.Config) -> bool:
    """Whether only to see that it works."""
    return bool(pytestconfig.getoption("tiny"))


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """Of all that is random."""
    return int(pytestconfig.getoption("seed"))


@pytest.fixture
def figure(request: pytest.FixtureRequest, pytestconfig: pytest.Config, benchmark: Any) -> Figure:
    """What takes the figure."""
    given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    what = {"name": _name(request.node.nodeid), "format": "", "size": given.get("size")}
    if "format" in given:
        what["format"] = given["format"].name
    keep: Any = pytestconfig.pluginmanager.get_plugin("npt-rows")
    option = pytestconfig.option
    return Figure(benchmark, what, rounds=option.rounds, seconds=option.seconds, alone=option.alone, keep=keep.keep)


@pytest.fixture
def guest(format: PteFormat, size: int, seed: int) -> Iterator[Guest]:
    """A resident guest without bytes."""
    made = Guest(format, size, seed=seed)
    yield made
    made.close()


@pytest.fixture(params=["quiesced", "beside"])
def vcpu(request: pytest.FixtureRequest, guest: Guest) -> Iterator[Running | None]:
    """None: no client is on CPU; or a vCPU that is on CPU elsewhere in the space, for the whole of the measurement."""
    if request.param == "quiesced":
        yield None
    else:
        with Running(guest) as running:
            yield running
