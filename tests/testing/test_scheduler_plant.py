"""Faults planted in Python functions."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from npt import kernels
from npt.testing import plant


def double(n: int) -> int:
    """A function of a module."""
    return 2 * n


class Base:
    """What the methods below stand on."""

    def value(self) -> int:
        """To be called through super."""
        return 10


class Thing(Base):
    """One method of each kind."""

    offset = 1

    def value(self) -> int:
        """Calls its parent's."""
        return super().value() + self.offset

    @property
    def twice(self) -> int:
        """A property."""
        return 2 * self.value()

    @staticmethod
    def half(n: int) -> int:
        """A static method."""
        return n // 2

    @classmethod
    def make(cls) -> "Thing":
        """A class method."""
        return cls()

    @contextmanager
    def entered(self) -> Iterator[int]:
        """A method that is wrapped."""
        yield 1

    def plain(self, n: int = 3) -> int:
        """A method without super, which an edit may bring in."""
        return n


def _closing_over(n: int) -> type:
    class Closure:
        """Its method is not to be found by name."""

        def get(self) -> int:
            return n

    return Closure


def test_plant__function_and_back() -> None:
    """In place for the length of the block, also if that fails."""
    during: list[int] = []

    def fail() -> None:
        with plant(double, "2 * n", "3 * n"):
            during.append(double(1))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [*during, double(1)] == [3, 2]


def test_plant__methods_of_every_kind() -> None:
    """Decorators, super and defaults stay what they were."""
    before = dict(vars(Thing))
    with plant(Thing.value, "+ self.offset", "- self.offset"):
        assert Thing().value() == 9
    with plant(Thing.twice, "2 *", "5 *"):
        assert Thing().twice == 55
    with plant(Thing.half, "n // 2", "n // 3"):
        assert Thing().half(9) == Thing.half(9) == 3
    with plant(Thing.make, "return cls()", "thing = cls(); thing.offset = 7; return thing"):
        assert Thing.make().offset == 7
    with plant(Thing.entered, "yield 1", "yield 2"), Thing().entered() as entered:
        assert entered == 2
    with plant(Thing.plain, "return n", "return n + super().value()"):
        assert Thing().plain() == 13
    assert dict(vars(Thing)) == before


def test_plant__one_on_another() -> None:
    """The second edits what the first has left."""
    with plant(double, "2 * n", "3 * n"), plant(double, "3 * n", "n * 4"):
        assert double(1) == 4
    assert double(1) == 2


def test_plant__refuses_what_it_cannot_do() -> None:
    """An edit that is not there once, a kernel, a function that no name leads to."""
    for target, old, why in [
        (double, "5 * n", "0 times"),
        (double, "n", "times, not once"),
        (kernels.walk.look_up, "x", "Twins"),
        (_closing_over(1).get, "n", "has no"),  # type: ignore[attr-defined]
    ]:
        with pytest.raises(ValueError, match=why), plant(target, old, "whatever"):
            pass
