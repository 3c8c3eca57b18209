"""A shell with nothing in it but ``npt``."""

import shlex
import sys
from pathlib import Path

import pytest

from npt.cli import app
from tests.cli.running import Ended, Shell


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """Runs a line like ``precopy --ram 4GiB`` as ``npt`` would, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(line: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["npt", *shlex.split(line)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app.run()
        return Ended(int(end.value.code or 0), *capsys.readouterr())

    return run
