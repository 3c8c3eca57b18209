"""Result tables as arrays: numpy's, xarray's, Arrow's."""

import json
import math
import os
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.studies import Results

NAN, INF = math.nan, math.inf


def frames(name: str) -> ModuleType:
    """A package of the extra; CI has it."""
    if os.environ.get("CI") == "true":
        return __import__(name)
    module: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed: pip install -e .[frames]")
    return module


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([True, False], "bool"),
        ([1, -(2**63)], "int64"),
        ([0, 2**64 - 1], "uint64"),
        ([-1, 2**63], "object"),
        ([1, 2**64], "object"),
        ([1.5, NAN, INF], "float64"),
        ([1, 2.5], "float64"),
        ([1, None], "float64"),
        ([-(2**53), None], "float64"),
        ([2**53 + 1, 0.5], "object"),
        ([None, -(2**53) - 1], "object"),
        ([True, 1], "object"),
        ([True, None], "object"),
        (["a", "bcd"], "<U3"),
        (["a", "b\0"], "object"),
        (["a", None], "object"),
        ([None, None], "object"),
        ([[1, 2], [3, 4]], "object"),
        ([], "object"),
    ],
)  # fmt: skip
def test_numpy__types(values: list[Any], dtype: str) -> None:
    """A column has the type that says all its values without loss, otherwise objects."""
    found = Results([{"a": value} for value in values], {}).to_numpy()
    if values:
        assert found["a"].dtype == np.dtype(dtype)
        want = [NAN if value is None else float(value) for value in values] if dtype == "float64" else values
        assert repr(found["a"].tolist()) == repr(want)
    else:
        assert found.shape == (0,)


def test_numpy__one_field_a_column() -> None:
    """In the order of the columns; a row without one has None there."""
    found = Results([{"a": 1, "b": "x"}, {"a": 2, "c": 3}], {}).to_numpy()
    assert found.dtype.names == ("a", "b", "c")
    assert found[1].tolist() == (2, None, 3.0)


def test_numpy__a_column_without_a_name_is_refused() -> None:
    """Numpy would give it one of its own."""
    with pytest.raises(InvalidArgument, match="without a name"):
        Results([{"": 1}], {}).to_numpy()


GRID = Results(
    [{"ram": ram, "policy": policy, "ms": ms} for ram, policy, ms in [(2, "xen", 1.5), (1, "qemu", 2.5), (2, "qemu", 3.5)]],
    {"seed": 3},
    {"ms": "ms", "ram": "B", "absent": "s"},
)


def test_xarray__over_rows() -> None:
    """Each column is a variable with its unit."""
    frames("xarray")
    found = GRID.to_xarray()
    assert found["ms"].dims == ("row",)
    assert found["policy"].values.tolist() == ["xen", "qemu", "qemu"]
    assert (found["ms"].attrs, found["policy"].attrs, found.attrs) == ({"units": "ms"}, {}, {"seed": 3})


def test_xarray__over_a_grid() -> None:
    """Axes become dimensions in their order; what no row has is missing."""
    frames("xarray")
    found = GRID.to_xarray(by=["policy", "ram"])
    assert found["ms"].dims == ("policy", "ram")
    assert found["ram"].attrs == {"units": "B"}
    assert found["ms"].sel(policy="qemu", ram=1) == 2.5
    assert found["ms"].sel(policy="xen", ram=2) == 1.5
    assert math.isnan(found["ms"].sel(policy="xen", ram=1))


@pytest.mark.parametrize("by", [["ram"], ["policy"]])
def test_xarray__two_rows_for_one_place_are_refused(by: list[str]) -> None:
    """None may be lost."""
    frames("xarray")
    with pytest.raises(InvalidArgument, match="two rows"):
        GRID.to_xarray(by=by)


@pytest.mark.parametrize("by", [["other"], ["ram", "ram"], "ram"])
def test_xarray__by_what_is_no_column(by: Any) -> None:
    """Columns, each once, in a sequence."""
    frames("xarray")
    with pytest.raises(InvalidArgument, match="by"):
        GRID.to_xarray(by=by)


def test_arrow__types_and_units() -> None:
    """Nulls are nulls, integers stay integers, units and meta are metadata."""
    pa = frames("pyarrow")
    rows: list[dict[str, Any]] = [{"i": 1, "u": 2**64 - 1, "f": NAN, "t": "ä"}, {"i": None, "u": 0, "f": 1.5, "t": None}]
    found = Results(rows, {"seed": 3}, {"i": "ns"}).to_arrow()
    assert found.schema.types == [pa.int64(), pa.uint64(), pa.float64(), pa.string()]
    assert repr(found.to_pylist()) == repr(rows)
    assert (found.schema.field("i").metadata, found.schema.field("u").metadata) == ({b"units": b"ns"}, None)
    assert json.loads(found.schema.metadata[b"npt"]) == {"seed": 3}


@pytest.mark.parametrize("values", [[1, "a"], [2**64, 1], [-1, 2**63], [2**53 + 1, 0.5], [True, 1], ["\ud800"], [object()]])
def test_arrow__a_column_without_one_type_is_refused(values: list[Any]) -> None:
    """By its name."""
    frames("pyarrow")
    with pytest.raises(InvalidArgument, match="column mixed has no one type"):
        Results([{"mixed": value} for value in values], {}).to_arrow()


@pytest.mark.parametrize(("form", "package"), [("to_xarray", "xarray"), ("to_arrow", "pyarrow")])
def test_frames__say_what_to_install(monkeypatch: pytest.MonkeyPatch, form: str, package: str) -> None:
    """One line, with the extra's name."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}: pip install 'npt-engine\[frames\]'") as caught:
        getattr(GRID, form)()
    assert "\n" not in str(caught.value)
