"""``--help`` teaches: a line for each command, words for each option, and examples that run as they are written."""

import gzip
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from npt.cli.app import cli
from npt.kernels.jit import DISABLED
from npt.studies import POLICIES, TASKS
from tests.cli.running import Shell, commands

pytestmark = pytest.mark.slow

_ALL = dict(commands())
_DASK = os.environ.get("CI") == "true" or find_spec("distributed") is not None
_TRACE = b"==1== Lackey\nI  0401ab70,3\n S 1fff000768,8\nI  0401ab73,5\n L 04033ff8,8\n==1== Exit code:       0\n"


def _help(path: tuple[str, ...]) -> str:
    return CliRunner().invoke(cli, [*path, "--help"], terminal_width=200, max_content_width=200).output


def _examples(path: tuple[str, ...]) -> list[str]:
    """The lines under "Examples:", without what the group says beside them."""
    _, _, behind = _help(path).partition("Examples:\n")
    return [line.strip().split("  ")[0] for line in behind.split("\n\n")[0].splitlines()]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples read, and a home to write to."""
    (tmp_path / "trace.txt").write_bytes(_TRACE)
    (tmp_path / "trace.txt.gz").write_bytes(gzip.compress(_TRACE))
    (tmp_path / "rounds").mkdir()
    (tmp_path / "rounds" / "round-0").write_bytes(bytes(range(64)))
    (tmp_path / "log.bin.gz").write_bytes(gzip.compress(bytes(range(128)) * 1024))
    (tmp_path / ".config/fish/completions").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("path", _ALL, ids=" ".join)
def test_examples__run_as_they_are_written(path: tuple[str, ...], shell: Shell, files: Path) -> None:
    """In the order in which they stand; into a pipe without a control character."""
    lines = _examples(path)
    assert lines
    for line in lines:
        command, _, target = (part.strip(" >") for part in line.partition(" >"))
        program, _, rest = command.partition(" ")
        if program == "valgrind" or (rest == "warm-up" and DISABLED) or ("dask" in rest and not _DASK):
            continue
        assert program == "npt"
        ended = shell(rest)
        assert ended.code == 0, f"{line}: {ended.err}"
        assert (ended.out + ended.err).replace("\n", "").isprintable()
        if target:
            Path(target).expanduser().write_text(ended.out)


def test_group__lists_every_command_with_a_whole_line() -> None:
    """None is cut off, and none is left out."""
    text = _help(()).partition("Commands:\n")[2]
    listed = dict(line.split(maxsplit=1) for line in text.splitlines())
    here = {path[0] for path in _ALL if path}
    assert set(listed) == here
    assert here == {
        "bench", "compare", "completion", "dirty", "dirty-log", "import", "info", "migrate", "populate", "precopy", "replay",
        "report", "show", "sweep", "warm-up",
    }  # fmt: skip
    assert len(here) == len(list(Path(sys.modules["npt.cli.commands"].__path__[0]).glob("[!_]*.py")))
    assert all(what.endswith(".") and not what.endswith("...") for what in listed.values())


@pytest.mark.parametrize("path", _ALL, ids=" ".join)
def test_options__have_words(path: tuple[str, ...]) -> None:
    """Each option says what it is for; results, seeds and sizes are asked for alike everywhere."""
    options = {name: one for one in _ALL[path].params if isinstance(one, click.Option) for name in one.opts}
    assert options or path in (("import",), ("completion",))
    assert all(one.help for one in options.values())
    if path not in ((), ("import",), ("completion",), ("report",), ("show",)):
        assert {"--json", "--csv", "--quiet", "-q"} <= set(options)


def test_names__are_told_where_they_are_taken() -> None:
    """Policies, tasks."""
    assert ", ".join(POLICIES) in " ".join(_help(("migrate",)).replace("-\n", "-").split())
    *most, last = TASKS
    assert f"TASK is {', '.join(most)} or {last}:" in " ".join(_help(("sweep",)).split())


@pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")
def test_help__starts_no_compiler(tmp_path: Path) -> None:
    """The list of commands does not even import it; no command's help compiles or loads a kernel."""
    code = """if True:
        import sys
        from click.testing import CliRunner
        from npt.cli.app import cli
        assert CliRunner().invoke(cli, ["--help"]).exit_code == 0
        assert "numba" not in sys.modules and "rich" not in sys.modules
        for name in cli.list_commands(None):
            assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0, name
        from npt.kernels import jit
        assert "numba" in sys.modules
        print(jit.origins().compiled + jit.origins().cached)
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "0\n", done.stderr
