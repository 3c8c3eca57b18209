"""Rows as arrays: numpy's structured ones, xarray's sets, Arrow's tables."""

import json
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npt.errors import InvalidArgument

if TYPE_CHECKING:
    import pyarrow
    import xarray

__all__ = ["dataset", "structured", "table"]

_EXACT = 2**53  # integers up to it are floats, too
_INT64, _UINT64 = range(-(2**63), 2**63), range(2**64)

Rows = Sequence[Mapping[str, Any]]


def _needed(name: str) -> ModuleType:
    """A package of the ``frames`` extra."""
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(f"this form of results needs {name}: pip install 'npt-engine[frames]'", name=name) from None


def _array(values: Sequence[Any]) -> NDArray[Any]:
    """One column, of the type that all its values have; of objects where there is none."""
    found = np.empty(len(values), object)
    found[:] = values
    return found.astype(_type(values))


def _type(values: Sequence[Any]) -> type:
    kinds = set(map(type, values))
    if kinds == {bool}:
        return np.bool_
    if kinds == {str} and not any(value.endswith("\0") for value in values):  # which numpy would drop
        return np.str_
    if kinds == {int} and all(value in _INT64 for value in values):
        return np.int64
    if kinds == {int} and all(value in _UINT64 for value in values):
        return np.uint64
    exact = all(abs(value) <= _EXACT for value in values if type(value) is int)
    return np.float64 if kinds <= {int, float, type(None)} and kinds & {int, float} and exact else np.object_


def structured(columns: Sequence[str], rows: Rows) -> NDArray[np.void]:
    """A structured array, a field for each column."""
    if "" in columns:
        raise InvalidArgument("a column without a name cannot be a field of an array")
    arrays = [_array([row.get(name) for row in rows]) for name in columns]
    result = np.empty(len(rows), [(name, one.dtype) for name, one in zip(columns, arrays, strict=True)])
    for name, one in zip(columns, arrays, strict=True):
        result[name] = one
    return result


def dataset(
    columns: Sequence[str], rows: Rows, meta: Mapping[str, Any], units: Mapping[str, str], by: Sequence[str]
) -> "xarray.Dataset":  # fmt: skip
    """A set with a variable for each column, over the rows or over a grid of some columns' values."""
    xr = _needed("xarray")
    for name in by:
        if isinstance(by, str) or name not in columns or list(by).count(name) > 1:
            raise InvalidArgument(f"by {by!r} is not made of different columns; there are {', '.join(columns)}")
    values = {name: list(dict.fromkeys(row.get(name) for row in rows)) for name in by}
    shape = tuple(map(len, values.values())) or (len(rows),)
    places = _places(values, rows, shape) if by else range(len(rows))
    variables = {}
    for name in columns:
        if name not in values:
            cells: list[Any] = [None] * math.prod(shape)
            for place, row in zip(places, rows, strict=True):
                cells[place] = row.get(name)
            variables[name] = (tuple(by) or ("row",), _array(cells).reshape(shape))
    made: xarray.Dataset = xr.Dataset(variables, {name: _array(one) for name, one in values.items()}, dict(meta))
    for name, unit in units.items():
        if name in made.variables:
            made[name].attrs["units"] = unit
    return made


def _places(values: Mapping[str, Sequence[Any]], rows: Rows, shape: tuple[int, ...]) -> list[int]:
    """Where in the flat grid each row belongs."""
    number = [{value: k for k, value in enumerate(one)} for one in values.values()]
    indices = [[each[row.get(name)] for name, each in zip(values, number, strict=True)] for row in rows]
    places = [int(np.ravel_multi_index(index, shape)) for index in indices]
    if len(set(places)) < len(places):
        raise InvalidArgument(f"two rows have the same {', '.join(values)}")
    return places


def table(
    columns: Sequence[str], rows: Rows, meta: Mapping[str, Any], units: Mapping[str, str]
) -> "pyarrow.Table":  # fmt: skip
    """A table of Arrow."""
    pa = _needed("pyarrow")
    arrays, fields = [], []
    for name in columns:
        arrays.append(_arrow(pa, name, [row.get(name) for row in rows]))
        fields.append(pa.field(name, arrays[-1].type, metadata={"units": units[name]} if name in units else None))
    return pa.table(arrays, schema=pa.schema(fields, metadata={"npt": json.dumps(dict(meta))}))


def _arrow(pa: ModuleType, name: str, values: list[Any]) -> Any:
    large = any(type(value) is int and value not in _INT64 for value in values)
    try:
        return pa.array(values, pa.uint64() if large else None)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidArgument(f"column {name} has no one type in Arrow: {error}") from None
