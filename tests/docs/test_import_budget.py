"""``import npt`` is quick because it loads nothing that is not needed yet."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("click", "dask", "distributed", "llvmlite", "matplotlib", "numba", "pyarrow", "rich", "xarray")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Top-level names of all modules that ``import npt`` loads in a fresh interpreter."""
    spec = importlib.util.find_spec("npt")
    assert spec is not None
    assert spec.origin is not None
    environment = os.environ | {"PYTHONPATH": str(Path(spec.origin).parents[1])}
    command = [sys.executable, "-X", "importtime", "-c", "import npt"]
    where = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(command, env=environment, cwd=where, capture_output=True, text=True, check=True)
    rows = [row for row in done.stderr.splitlines() if row.startswith("import time:")]
    return {row.rsplit("|", 1)[1].strip().split(".")[0] for row in rows}


def test_import__is_seen_at_all(imported: set[str]) -> None:
    """Otherwise the tests below would pass by looking at nothing."""
    assert {"npt", "numpy"} <= imported


@pytest.mark.parametrize("package", HEAVY)
def test_import__does_not_load(imported: set[str], package: str) -> None:
    """Compilers, pictures and terminals load on first use."""
    assert package not in imported
