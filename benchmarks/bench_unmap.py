"""``VmSpace.unmap`` of a mapping that is resident: entries cleared, tables freed."""

from benchmarks import baseline
from benchmarks.bench_populate import target_of
from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest
from benchmarks.running import Running


def bench_unmap(figure: Figure, guest: Guest, vcpu: Running | None) -> None:
    def restore() -> None:
        baseline.populate(guest.levels, 0, guest.n_pages, guest.entry)

    def check(removed: int) -> None:
        assert removed == guest.n_pages

    per_page = slower(
        "the baseline", lambda: baseline.unmap(guest.levels, 0, guest.n_pages),
        prepare=guest.resident, after=restore, check=check,
    )  # fmt: skip
    figure.take(
        f"unmap, {vcpu or 'quiesced'}", guest.unmap, guest.fill(target_of(guest.size)), per_page,
        n=guest.n_pages, beside=vcpu, prepare=guest.resident, check=guest.check_gone,
    )  # fmt: skip
