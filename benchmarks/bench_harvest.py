"""``VmSpace.track_dirty`` by the share of dirty pages, with nobody in the tables and beside a vCPU that runs."""

import pytest

from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest
from benchmarks.running import Running

_CASES = [(0.0, "clean"), *((share, how) for share in (0.001, 0.01, 0.1, 0.5) for how in ("random", "clustered")), (1.0, "all")]
_FEW = 0.01  # dirty: what is asked for then is a share of the read limit
_TIMES_BASELINE = {0.1: 8, 0.5: 5, 1.0: 1.3}


def _of_read(guest: Guest, share: float, vcpu: Running | None) -> float | None:
    if vcpu is None:
        return 0.5
    return {1 << 30: 0.45, 64 << 30: 0.8}.get(guest.size) if share <= _FEW else None


@pytest.mark.parametrize(("share", "how"), _CASES, ids=[f"{share * 100:g}pct-{how}" for share, how in _CASES])
def bench_harvest(figure: Figure, guest: Guest, vcpu: Running | None, share: float, how: str) -> None:
    space, pages = guest.space, guest.some(share, how)
    kicks = space.counters.kicks
    times = _TIMES_BASELINE.get(share) if vcpu is not None and how != "clustered" else None
    figure.take(
        f"harvest, {share * 100:g} % {how}, {vcpu or 'quiesced'}", lambda: space.track_dirty(0, guest.size),
        guest.read(_of_read(guest, share, vcpu)), guest.per_page_harvest(pages, times),
        n=guest.n_pages, beside=vcpu, prepare=lambda: guest.dirty(pages), check=guest.check_harvest(pages),
        notes=lambda: {"kicks": space.counters.kicks - kicks},
    )  # fmt: skip


def bench_forms(figure: Figure, guest: Guest) -> None:
    """All pages are dirty: the quiesced form beside the atomic one."""
    pages, running = guest.some(1.0), Running(guest)

    def beside() -> None:
        running.start()
        guest.dirty(pages)
        running.ready()

    def alone() -> None:
        running.stop()
        guest.dirty(pages)

    def harvest() -> object:
        return guest.space.track_dirty(0, guest.size)

    check, asked = guest.check_harvest(pages), {1 << 30: 10, 64 << 30: 6}.get(guest.size)
    atomic = slower("the atomic form", harvest, prepare=beside, check=check, at_least=asked)
    with running:
        figure.take("harvest, 100 % all, quiesced", harvest, atomic, n=guest.n_pages, prepare=alone, check=check)
