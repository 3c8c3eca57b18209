"""Sizes as people write and read them."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from npt import InvalidArgument, units

# -- sizes for people ----------------------------------------------------------------------------------------------

SIZES = {
    "0": 0, "1": 1, "4096": 4096, "4KiB": 4 << 10, "4k": 4 << 10, "4K": 4 << 10, "4kb": 4 << 10, "4KB": 4 << 10, "4Ki": 4 << 10,
    "64M": 64 << 20, "64MiB": 64 << 20, "4GiB": 4 << 30, "4 GiB": 4 << 30, " 4GiB ": 4 << 30, "1.5TiB": 3 << 39,
    "1.5 TiB": 3 << 39, "2PiB": 2 << 50, "0.5k": 512, "7B": 7, "7b": 7, "0.0": 0, "1.000": 1, "007": 7, "1.25KiB": 1280,
}  # fmt: skip


@pytest.mark.parametrize("text", SIZES)
def test_parse_size__as_people_write_them(text: str) -> None:
    """Powers of 1024, upper or lower case."""
    assert units.parse_size(text) == SIZES[text]


@pytest.mark.parametrize("text", [
    "", " ", "x", "GiB", "-1", "+1", "-4GiB", "4 GiB 2", "4XiB", "1e3", "0x1000", "4GGiB", "1,5GiB", ".5GiB", "1.", "4.GiB",
    "1.2.3", "nan", "inf", "4i", "4iB", "4 i", "4EiB", "4Kib8", "4\u212a", "4\u0131B", "\u0664KiB", "1\n2",
])  # fmt: skip
def test_parse_size__not_a_size(text: str) -> None:
    """The message shows how to write one."""
    with pytest.raises(InvalidArgument, match="is not a size; write it like"):
        units.parse_size(text)


@pytest.mark.parametrize("text", ["0.5", "0.5B", "1.0001KiB", "0.3GiB"])
def test_parse_size__not_a_whole_number_of_bytes(text: str) -> None:
    """Nothing is rounded in silence."""
    with pytest.raises(InvalidArgument, match="whole number of bytes"):
        units.parse_size(text)


def test_parse_size__absurdly_long() -> None:
    """More digits than Python converts are no size either."""
    with pytest.raises(InvalidArgument):
        units.parse_size("9" * 5000)


@pytest.mark.parametrize(("n_bytes", "text"), [
    (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (4 << 20, "4 MiB"), (4 << 30, "4 GiB"),
    (3 << 39, "1.5 TiB"), (1 << 47, "128 TiB"), (5 << 50, "5 PiB"), (1 << 60, "1024 PiB"),
])  # fmt: skip
def test_format_size__largest_unit(n_bytes: int, text: str) -> None:
    """With up to one decimal."""
    assert units.format_size(n_bytes) == text


@given(n=st.integers(1, 1023), unit=st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB", "PiB"]))
def test_sizes__round_trip(n: int, unit: str) -> None:
    """What is shown can be typed."""
    size = units.parse_size(f"{n}{unit}")
    assert units.parse_size(units.format_size(size)) == size


@given(n_bytes=st.integers(0, 2**60))
def test_format_size__is_near(n_bytes: int) -> None:
    """Never off by more than one part in ten, or half a tenth of the unit."""
    number, unit = units.format_size(n_bytes).split()
    factor = units.parse_size(f"1{unit}")
    assert abs(float(number) * factor - n_bytes) <= 0.0501 * factor
