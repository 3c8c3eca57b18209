"""The command line as a whole."""

import subprocess
import sys

import pytest

import npt

pytestmark = pytest.mark.slow


def _npt(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "npt", *arguments], capture_output=True, text=True)


def test_version__is_the_package_s() -> None:
    """``npt --version`` says which."""
    assert npt.__version__ in _npt("--version").stdout


def test_without_click__says_what_to_install() -> None:
    """The core package has no click; its command says so instead of showing a traceback."""
    code = "import sys; sys.modules['click'] = None; from npt.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'npt-engine[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_cut_off__is_no_traceback() -> None:
    """``npt bench | head -1`` ends quietly."""
    command = f"{sys.executable} -m npt bench --size 2MiB --repeat 1 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
