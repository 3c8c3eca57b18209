"""Sizes, rates, times and numbers as people write them."""

import click
import pytest

from npt.cli.options import Duration, Number, Rate, Size

_GI, _MI = 1 << 30, 1 << 20


@pytest.mark.parametrize(("kind", "text", "value"), [
    (Size(), "4GiB", 4 * _GI), (Size(), "4g", 4 * _GI), (Size(), "1.5 MiB", 3 * _MI // 2), (Size(), "4096", 4096),
    (Size(zero=True), "0", 0),
    (Rate(), "1000MiB", 1000 * _MI), (Rate(), "1.5GiB/s", 3 * _GI // 2), (Rate(), "10Gbit/s", 1_250_000_000),
    (Rate(), "2.5 kbit/s", 312), (Rate(), "100", 100), (Rate(zero=True), "0", 0),
    (Duration(), "300ms", 0.3), (Duration(), "2us", 2e-6), (Duration(), "5 ns", 5e-9), (Duration(), "1.5s", 1.5),
    (Duration(), "2", 2.0), (Duration(), "2min", 120.0), (Duration(), "1h", 3600.0), (Duration(), "1e-3", 0.001),
    (Duration(zero=True), "0", 0.0),
    (Number(0, 1), "0.25", 0.25), (Number(), "-3", -3.0),
])  # fmt: skip
def test_value__is_read(kind: "click.ParamType[float]", text: str, value: float) -> None:
    """In powers of 1024 for bytes, of 1000 for bits."""
    assert kind.convert(text, None, None) == pytest.approx(value, rel=1e-12)
    assert kind.convert(value, None, None) == value  # a default of ours


@pytest.mark.parametrize(("kind", "text", "said"), [
    (Size(), "big", "'big' is not a size; write it like 64MiB"), (Size(), "-4GiB", "is not a size"),
    (Size(), "nan", "is not a size"),
    (Size(), "0", "'0' is not a positive number of whole pages of 4096 bytes"), (Size(), "5000", "whole pages"),
    (Size(zero=True), "1", "is not a number of whole pages"), (Size(), "", "is not a size"),
    (Rate(), "fast", "'fast' is not a rate; write it like 1000MiB, 1.5GiB/s or 10Gbit/s"), (Rate(), "-1GiB", "is not a rate"),
    (Rate(), "0", "'0' is not a positive rate"), (Rate(), "7bit/s", "is not a positive rate"), (Rate(), "nan", "is not a rate"),
    (Rate(), "inf", "is not a rate"), (Rate(), "10Gb/s", "may mean bits or bytes"), (Rate(), "-8bit/s", "is not a rate"),
    (Duration(), "soon", "'soon' is not a time; write it like 300ms"), (Duration(), "-1s", "is not a time"),
    (Duration(), "0", "'0' is not a positive time"), (Duration(), "nan", "not a time"), (Duration(), "1e400", "not a time"),
    (Number(0, 1), "1.5", "1.5 is not in the range 0<=x<=1"), (Number(0, 1), "nan", "nan is not a finite number"),
    (Number(), "inf", "inf is not a finite number"), (Number(), "x", "'x' is not a valid number"),
])  # fmt: skip
def test_value__is_refused_by_what_it_is(kind: "click.ParamType[float]", text: str, said: str) -> None:
    """The message has the value, and what would be right."""
    with pytest.raises(click.BadParameter, match=said.replace("(", "\\(")):
        kind.convert(text, None, None)
