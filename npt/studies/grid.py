"""The points of a sweep: every choice of a value from each axis, the last axis fastest, each point with a seed of its own."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from npt.errors import InvalidArgument
from npt.units import as_count, as_int

__all__ = ["Grid", "Point", "plain"]

_SCALARS = (bool, int, float, str)


def plain(value: Any, what: str) -> Any:
    """None, a bool, an integer, a float or text; one of numpy's, or of a subclass, as Python's own."""
    if isinstance(value, np.generic):
        value = value.item()
    for kind in _SCALARS:
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if value is not None:
        raise TypeError(f"{what} has a {type(value).__name__}; only None, bools, numbers and text can stand in a row")
    return None


class Point(NamedTuple):
    """One point: its place in the grid, and what the task is called with."""

    place: int
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """All points, made one at a time.

    Attributes
    ----------
    axes : mapping
        Values by axis, in order.
    seed : int
        What the points' seeds are made of.
    """

    axes: Mapping[str, tuple[Any, ...]]
    seed: int

    @classmethod
    def of(cls, axes: Mapping[str, Sequence[Any] | NDArray[Any]], seed: SupportsIndex) -> "Grid":
        """Axes and seed as a caller gave them, checked."""
        if not isinstance(axes, Mapping):
            raise TypeError(f"axes must be a mapping from names to values, not {type(axes).__name__}")
        as_int(seed, "seed")
        checked = {_name(name): _axis(name, values) for name, values in axes.items()}
        if not checked:
            raise InvalidArgument("a sweep needs at least one axis")
        return cls(checked, as_count(seed, "seed", end=1 << 64))

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values()))

    def points(self, without: Container[int] = ()) -> Iterator[Point]:
        """In order, but for some. An axis ``seed`` takes the place of seeds made here."""
        for place, values in enumerate(product(*self.axes.values())):
            if place not in without:
                yield Point(place, dict(zip(self.axes, values, strict=True)) | self._seed(place))

    def _seed(self, place: int) -> dict[str, int]:
        """The seed that ``SeedSequence(seed).spawn`` has for this place, however many there are and whoever asks."""
        if "seed" in self.axes:
            return {}
        (word,) = SeedSequence(self.seed, spawn_key=(place,)).generate_state(1, np.uint64).tolist()
        return {"seed": word}


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of an axis must be text, not {type(name).__name__}")
    if not name or name == "error":
        raise InvalidArgument(f"an axis cannot be called {name!r}")
    return name


def _axis(name: str, values: Any) -> tuple[Any, ...]:
    """The values of one axis."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"axis {name!r} must be a sequence of values, such as a list, not {type(values).__name__}")
    if not values:
        raise InvalidArgument(f"axis {name!r} has no values")
    return tuple(plain(value, f"axis {name!r}") for value in values)
