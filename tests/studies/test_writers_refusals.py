"""What writers refuse, and that nothing is made of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.studies.writers import WRITERS, HotCold, Strided, Synthetic, Uniform, Zipf

BAD_VALUES: list[tuple[Callable[..., Synthetic], dict[str, Any], str]] = [
    (Uniform, {"n_pages": 0}, "n_pages"),
    (Uniform, {"n_pages": -1}, "n_pages"),
    (Uniform, {"n_pages": 2**32 + 1}, "n_pages"),
    (Uniform, {"n_windows": 0}, "n_windows"),
    (Uniform, {"n_windows": 2**32 + 1}, "n_windows"),
    (Uniform, {"accesses": 0}, "accesses"),
    (Uniform, {"accesses": 2**30 + 1}, "accesses"),
    (Uniform, {"write_share": -1e-9}, "write_share"),
    (Uniform, {"write_share": 1.0000001}, "write_share"),
    (Uniform, {"write_share": float("nan")}, "write_share"),
    (Uniform, {"write_share": 10**400}, "write_share"),
    (Uniform, {"seed": -1}, "seed"),
    (Uniform, {"seed": 2**64}, "seed"),
    (Strided, {"stride": 0}, "stride"),
    (Strided, {"stride": 101}, "stride 101 is more than the 100 pages"),
    (Strided, {"stride": -(2**70)}, "stride"),
    (Zipf, {"exponent": -0.1}, "exponent"),
    (Zipf, {"exponent": 8.001}, "exponent"),
    (Zipf, {"exponent": float("inf")}, "exponent"),
    (Zipf, {"exponent": float("nan")}, "exponent"),
    (Zipf, {"n_pages": 2**26 + 1}, "a table of 8 bytes a page; it must be at most 67108864"),
    (HotCold, {"hot_share": 0.001}, "leaves no hot page, or no other"),
    (HotCold, {"hot_share": 1.0}, "leaves no hot page, or no other"),
    (HotCold, {"hot_share": 1.5}, "hot_share must be from 0 to 1"),
    (HotCold, {"hot_accesses": -0.5}, "hot_accesses must be from 0 to 1"),
    (HotCold, {"hot_accesses": 1.5}, "hot_accesses must be from 0 to 1"),
    (HotCold, {"move_every": 2**32 + 1}, "move_every must be from 1 to"),
    (HotCold, {"n_pages": 1}, "leaves no hot page, or no other"),
    (HotCold, {"move_every": 0}, "move_every"),
    (HotCold, {"step": 100}, "step 100 is not less than the 100 pages"),
    (HotCold, {"step": -1}, "step"),
]


@pytest.mark.parametrize(("kind", "parameters", "message"), BAD_VALUES)
def test_writer__bad_values(kind: Callable[..., Synthetic], parameters: dict[str, Any], message: str) -> None:
    """InvalidArgument when it is made, with the name of the parameter."""
    with pytest.raises(InvalidArgument, match=message):
        kind(**{"n_pages": 100, "n_windows": 10, "accesses": 10, **parameters})


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (Uniform, {"n_pages": 10.0}),
        (Uniform, {"n_pages": None}),
        (Uniform, {"n_windows": True}),
        (Uniform, {"accesses": "10"}),
        (Uniform, {"write_share": "1"}),
        (Uniform, {"write_share": True}),
        (Uniform, {"write_share": np.bool_(True)}),
        (Uniform, {"write_share": None}),
        (Uniform, {"write_share": 1j}),
        (Uniform, {"seed": None}),
        (Uniform, {"n_pages": 0, "seed": 1.5}),
        (Strided, {"stride": 1.0}),
        (Zipf, {"exponent": "1"}),
        (Zipf, {"spread": 1}),
        (HotCold, {"step": 0.5}),
        (HotCold, {"hot_share": [0.1]}),
    ],
)
def test_writer__bad_types(kind: Callable[..., Synthetic], parameters: dict[str, Any]) -> None:
    """TypeError, even beside a wrong value."""
    with pytest.raises(TypeError, match="must be"):
        kind(**{"n_pages": 100, "n_windows": 10, "accesses": 10, **parameters})


def test_writer__largest_values_are_taken() -> None:
    """The ends of the ranges belong to them; nothing is computed before a window is asked for."""
    assert Uniform(2**32, 2**32, 2**30, seed=2**64 - 1, write_share=1).write_share == 1.0
    assert Zipf(2**26, 1, 1).n_pages == 2**26


@pytest.mark.parametrize("kind", WRITERS.values(), ids=WRITERS)
def test_window__there_is_no_such(kind: type[Synthetic]) -> None:
    """Windows count from 0 to one less than there are."""
    writer = kind(100, 3, 5)
    for number in (-1, 3, 2**70):
        with pytest.raises(InvalidArgument, match=f"window {number} is not one of 3"):
            writer.window(number)
    for wrong in (1.0, True, "1"):
        with pytest.raises(TypeError, match="window must be an integer"):
            writer.window(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", WRITERS.values(), ids=WRITERS)
def test_writer__only_sizes_go_without_their_names(kind: Callable[..., Synthetic]) -> None:
    """A fourth number alone could be anything; and no class adds to the three."""
    with pytest.raises(TypeError, match="positional argument"):
        kind(100, 10, 10, 1.0)
    assert kind.__match_args__ == ("n_pages", "n_windows", "accesses")  # type: ignore[attr-defined]


def test_writer__cannot_be_changed() -> None:
    """They are values."""
    with pytest.raises(AttributeError):
        Uniform(1, 1, 1).seed = 3  # type: ignore[misc]
