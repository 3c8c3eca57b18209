"""The rooms of the house keep to their places (the contracts are in pyproject.toml)."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

# who may import what is not npt's own, nor the standard library's, nor numpy's
PLACES = {
    "atheris": "npt.testing",
    "click": "npt.cli",
    "dask": "npt.studies",
    "distributed": "npt.studies",
    "hypothesis": "npt.testing",
    "llvmlite": "npt.kernels",
    "matplotlib": "npt.view",
    "numba": "npt.kernels",
    "pyarrow": "npt.studies",
    "rich": "npt.cli",
    "xarray": "npt.studies",
}


def _tool(name: str) -> ModuleType:
    """A linter's module; CI must have it."""
    if os.environ.get("CI") == "true":
        return __import__(name)
    module: ModuleType = pytest.importorskip(name, reason="import-linter is not installed: pip install -e .[dev]")
    return module


def test_layers__no_room_uses_one_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """All contracts of import-linter hold."""
    _tool("importlinter")
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


def test_layers__other_people_s_packages_stay_in_their_rooms() -> None:
    """numba is known to the kernels only, rich to the command line only, and so on."""
    grimp = _tool("grimp")
    graph = grimp.build_graph("npt", include_external_packages=True, cache_dir=None)
    imports = {
        (module, other)
        for module in graph.modules
        if module.partition(".")[0] == "npt"
        for other in graph.find_modules_directly_imported_by(module)
        if other.partition(".")[0] not in {"npt", "numpy", *sys.stdlib_module_names}
    }
    assert len(imports) > 10
    strays = [
        f"{module} imports {other}"
        for module, other in sorted(imports)
        if not f"{module}.".startswith(f"{PLACES.get(other, 'nobody')}.")
    ]
    assert strays == []


def test_layers__kernels_know_nothing_of_npt_but_its_types() -> None:
    """A kernel gets arrays, integers and named tuples. (Who compiles it keeps the collector off meanwhile.)"""
    grimp = _tool("grimp")
    graph = grimp.build_graph("npt", cache_dir=None)
    if "npt.kernels" not in graph.modules:
        pytest.fail("there is no npt.kernels")
    kernels = {"npt.kernels", *graph.find_descendants("npt.kernels")}
    known = {other for kernel in kernels for other in graph.find_modules_directly_imported_by(kernel)}
    assert known - kernels <= {"npt._types", "npt._collector"}
