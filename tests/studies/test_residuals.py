"""The closed model beside the engine: where it holds, and where it does not."""

import math

import pytest

from npt import InvalidArgument
from npt.studies import Results, compare, residuals, writer

MIB = 1 << 20
PAGE = 4096


def of(text: str, **more: object) -> Results:
    """At 40 MiB/s of 100 MiB/s."""
    return residuals(writer(text), bandwidth=100 * MIB, dirty_rate=40 * MIB, policy="freebsd", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["sequential:pages=100000,windows=50,accesses=10000", "strided:pages=20000,windows=50,stride=17"]
)
def test_residuals__where_each_write_goes_to_another_page(text: str) -> None:
    """Below a hundredth; what differs is where windows end."""
    rows = of(text).rows
    assert [row["kind"] for row in rows] == ["live"] * 4 + ["stop"]
    assert all(abs(row["residual"]) < 0.01 for row in rows)
    assert rows[0]["residual"] == 0


def test_residuals__where_pages_are_written_again() -> None:
    """Of k writes to n pages, as many are new as chance says: the rate of each window is a little below its writes'."""
    n, a_window = 100_000, 5000
    rows = of(f"uniform:pages={n},windows=400,accesses={a_window}").rows
    new = n * -math.expm1(-a_window / n)  # distinct pages of a window: what the rate counts
    writes = 40 * MIB / PAGE * rows[0]["engine_ns"] / 1e9 * a_window / new
    assert rows[1]["engine_bytes"] / PAGE == pytest.approx(n * -math.expm1(-writes / n), rel=0.01)
    assert all(-0.2 < row["residual"] < -0.15 for row in rows[1:])


def test_residuals__of_independent_writes() -> None:
    """They keep to a model of their own below a hundredth, in small windows; where pages are hot, nothing does."""
    first, *others = of("uniform:pages=100000,windows=4000,accesses=500").rows
    assert (first["independent_bytes"], first["independent_residual"]) == (None, None)
    assert all(abs(row["independent_residual"]) < 0.01 for row in others)
    seconds = first["engine_ns"] / 1e9
    assert others[0]["independent_bytes"] == pytest.approx(
        100_000 * PAGE * (1 - math.exp(-40 * MIB * seconds / (100_000 * PAGE)))
    )
    rows = of("zipf:pages=100000,windows=400,accesses=10000").rows[1:]
    assert rows[0]["independent_residual"] < -0.2 < 0.2 < rows[-1]["independent_residual"]  # a window is hot, many are less so


def test_residuals__of_a_guest_that_is_slowed_down() -> None:
    """Independent writes keep to their model there, too, where at full speed they would be half as many again."""
    found = residuals(
        writer("uniform:pages=20000,windows=4000,accesses=100"), bandwidth=100 * MIB, dirty_rate=90 * MIB,
        policy="qemu:auto_converge=yes,initial=60", downtime=0.02, max_rounds=6,
    )  # fmt: skip
    rows = [row for row in found.rows if row["engine_bytes"] is not None]
    assert len(rows) > 4
    assert all(abs(row["independent_residual"]) < 0.02 for row in rows[1:])
    before, last = rows[-2:]
    at_full_speed = 20_000 * PAGE * -math.expm1(-90 * MIB * before["engine_ns"] / 1e9 / (20_000 * PAGE))
    assert last["engine_bytes"] < at_full_speed / 1.5


def test_residuals__where_some_pages_are_hot() -> None:
    """A third to a half less: few of a window's pages are not dirty yet."""
    found = [row["residual"] for row in of("zipf:pages=100000,windows=400,accesses=10000").rows[1:]]
    assert len(found) > 3
    assert all(-0.5 < one < -0.33 for one in found)


def test_residuals__say_what_was_compared() -> None:
    """Columns and their values."""
    rows = of("zipf:pages=2000,windows=20,accesses=2000,seed=3", max_rounds=2).rows
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert {row["policy"] for row in rows} == {"freebsd"}
    assert {row["seed"] for row in rows} == {3}
    assert {row["max_rounds"] for row in rows} == {2}
    assert all(row["residual"] == row["engine_bytes"] / row["model_bytes"] - 1 for row in rows)


def test_residuals__other_parameters_are_other_cases() -> None:
    """With several bandwidths, too, which are text."""
    text, more = "zipf:pages=50,windows=5,accesses=20", {"dirty_rate": MIB, "policy": "propolis"}
    a = residuals(writer(text), bandwidth=[MIB, 2 * MIB], **more)  # type: ignore[arg-type]
    b = residuals(writer(text), bandwidth=[MIB, 2 * MIB], latency=1, **more)  # type: ignore[arg-type]
    assert {row["bandwidth"] for row in a.rows} == {"1048576.0,2097152.0"}
    assert [compare(a, one).meta["matched"] for one in (a, b)] == [2, 0]


def test_residuals__refuses() -> None:
    """Rates that cannot be, and another format."""
    with pytest.raises(InvalidArgument, match="dirty_rate"):
        residuals(writer("zipf:pages=2000"), bandwidth=1, dirty_rate=0, policy="xen")
    with pytest.raises(TypeError, match="format"):
        of("zipf:pages=2000", format="ept")
