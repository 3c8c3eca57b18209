"""``VmSpace.populate``, all of a mapping at once."""

from benchmarks import baseline
from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest
from benchmarks.running import Running

_TARGETS = ((16 << 30, 0.6), (1 << 30, 0.45))  # of fill, from a size on


def target_of(size: int) -> float | None:
    """What is asked for at a size."""
    return next((target for least, target in _TARGETS if size >= least), None)


def bench_populate(figure: Figure, guest: Guest, vcpu: Running | None) -> None:
    def empty() -> None:
        guest.mapped()
        guest.resident()
        baseline.unmap(guest.levels, 0, guest.n_pages)

    per_page = slower(
        "the baseline", lambda: baseline.populate(guest.levels, 0, guest.n_pages, guest.entry),
        prepare=empty, check=guest.check_fresh,
    )  # fmt: skip
    figure.take(
        f"populate, {vcpu or 'quiesced'}", lambda: guest.space.populate(0, guest.size),
        guest.fill(target_of(guest.size)), per_page,
        n=guest.n_pages, beside=vcpu, prepare=guest.mapped, check=guest.check_fresh,
    )  # fmt: skip
