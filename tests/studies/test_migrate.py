"""Migrations of real bytes: the target is the source, whatever the policy, and whatever goes wrong before."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import numpy as np
import pytest

from npt import (
    EPT,
    NPT,
    InvalidArgument,
    LinkDown,
    NptError,
    Prot,
    PteFormat,
    RamObject,
    Reservoir,
    TrackingDisabled,
    VmSpace,
    kernels,
)
from npt._types import U8Array
from npt.errors import InvariantError
from npt.studies import POLICIES, PrecopyResult, Timed, migrate, precopy, writer
from npt.testing import check

PAGE, BASE = 4096, 0x40_0000
N_PAGES = 1500
ZIPF = f"zipf:pages={N_PAGES},windows=20,accesses=3000,write_share=0.7"
WHOLE = BASE, N_PAGES * PAGE
RATE = 10 * N_PAGES * PAGE  # all of memory in a tenth of a second


class Host:
    """A guest's memory in a space of its own."""

    def __init__(self, form: PteFormat = EPT, n_pages: int = N_PAGES) -> None:
        self.reservoir = Reservoir(n_pages * PAGE)
        self.ram: RamObject = self.reservoir.allocate(n_pages * PAGE)
        self.space = VmSpace(1 << 30, format=form, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, BASE, n_pages * PAGE, Prot.RW)

    @property
    def memory(self) -> U8Array:
        """Its bytes, a row a page."""
        start = (self.ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
        return self.reservoir.memory[start : start + self.ram.length].reshape(-1, PAGE)

    def close(self) -> None:
        """All is well inside, and nobody is left in it."""
        if not self.space.destroyed:
            check(self.space)
            self.space.close()
        self.ram.release()
        self.reservoir.close()


@contextmanager
def hosts(*forms: PteFormat, n_pages: int = N_PAGES) -> Iterator[list[Host]]:
    """Some, each with what was there before in its memory."""
    with ExitStack() as stack:
        made = [Host(form, n_pages) for form in forms or (EPT, EPT)]
        for number, host in enumerate(made):
            stack.callback(host.close)
            host.memory[:, 17] = number + np.arange(n_pages) % 7
        yield made


def dirty(space: VmSpace) -> set[int]:
    """Pages in the log."""
    return set(np.flatnonzero(np.unpackbits(space.peek_dirty(*WHOLE), count=N_PAGES, bitorder="little")).tolist())


@pytest.mark.parametrize("policy", [*POLICIES, "qemu:auto_converge=yes,initial=50", f"qemu:dirty_limit={RATE // 20}"])
@pytest.mark.parametrize("forms", [(EPT, NPT), (NPT, EPT)], ids=["from EPT", "from nPT"])
def test_migrate__arrives(policy: str, forms: tuple[PteFormat, PteFormat]) -> None:
    """From one format to the other; all bytes but, with post-copy, what the guest has written at the target."""
    with hosts(*forms) as (source, target):
        moved = migrate(source.space, target.space, writer(ZIPF), policy=policy, bandwidth=RATE, gpa=BASE, max_rounds=6)
        sends = [one.n_bytes for one in moved.rounds]
        assert sends[0] == N_PAGES * PAGE
        assert sends[1:] == [one.dirtied for one in moved.rounds[: moved.live_sends]]
        assert moved.total_ns == sum(one.ns for one in moved.rounds)
        if policy != "post-copy":
            assert np.array_equal(source.memory, target.memory)
        else:
            assert 0 < moved.faults <= sends[-1] // PAGE


def test_migrate__is_the_same_each_time() -> None:
    """Though a thread writes while another copies."""

    def once() -> PrecopyResult:
        with hosts() as (source, target):
            return migrate(source.space, target.space, writer(ZIPF), policy="xen", bandwidth=RATE, gpa=BASE)

    assert len({once() for _ in range(3)}) == 1


def test_migrate__dirties_what_the_writer_wrote() -> None:
    """Send by send: the distinct pages of as much of the writer as the send took."""
    timed = Timed(writer(ZIPF), seconds_per_window=0.007)
    with hosts() as (source, target):
        moved = migrate(
            source.space, target.space, writer(ZIPF), policy="freebsd", bandwidth=RATE, gpa=BASE, seconds_per_window=0.007
        )
    assert len(moved.rounds) > 2
    for one in moved.rounds[:-1]:
        written = [window.pages[window.write] for window in timed.during(one.ns)]
        assert one.dirtied == np.unique(np.concatenate(written)).size * PAGE


def test_migrate__post_copy_waits_for_pages_on_their_way() -> None:
    """The guest writes to pages in the order, and at the speed, in which they come: for each it waits."""
    again = writer(f"sequential:pages={N_PAGES},windows=1,accesses={N_PAGES}")
    with hosts() as (source, target):
        moved = migrate(source.space, target.space, again, policy="post-copy", bandwidth=RATE, gpa=BASE, seconds_per_window=0.1)
    assert moved.rounds[-1].n_bytes == N_PAGES * PAGE
    assert moved.faults == N_PAGES
    assert moved.stall_ns == N_PAGES * -(-(10**9) // (RATE // PAGE))
    assert moved.downtime_ns == 0


@pytest.mark.parametrize("policy", ["propolis", "post-copy"])
def test_migrate__tells_of_each_send_from_its_first_page_to_its_last(policy: str) -> None:
    """Fetched pages and those that come in order are of one send."""
    told: list[tuple[int, int, int]] = []
    with hosts() as (source, target):
        moved = migrate(
            source.space, target.space, writer(ZIPF), policy=policy, bandwidth=RATE, gpa=BASE,
            progress=lambda *said: told.append(said),
        )  # fmt: skip
    assert len(moved.rounds) == 2
    for one in moved.rounds:
        sent = [pages for number, pages, of in told if (number, of) == (one.number, one.n_bytes // PAGE)]
        assert sent == sorted(sent)
        assert sent[-1] == one.n_bytes // PAGE
    assert {number for number, _, _ in told} == {1, 2}


def test_migrate__leaves_out_pages_that_are_zero() -> None:
    """At both ends: what the target had there has to go."""
    with hosts() as (source, target):
        source.memory[:], target.memory[:] = 0, 0
        source.memory[3, 5] = target.memory[8, 9] = 1
        still = Timed(writer(ZIPF), seconds_per_window=1000)
        moved = migrate(source.space, target.space, still, policy="propolis", bandwidth=RATE, gpa=BASE, skip_zero=True)
        assert moved.rounds[0].n_bytes == 2 * PAGE
        assert np.array_equal(source.memory, target.memory)


def test_migrate__and_the_model_agree_without_writes() -> None:
    """Byte for byte, nanosecond for nanosecond."""
    still = Timed(writer(ZIPF), seconds_per_window=1000)
    with hosts() as (source, target):
        moved = migrate(
            source.space, target.space, still, policy="freebsd", bandwidth=RATE, gpa=BASE, latency=0.01, compression=3
        )
    assert moved == precopy(N_PAGES * PAGE, RATE, 0, policy="freebsd", latency=0.01, compression=3)


# -- what goes wrong ----------------------------------------------------------------------------------------------------


class Failure(Exception):
    """Of the one who watches."""


@pytest.mark.parametrize("round", range(1, 6))
@pytest.mark.parametrize(
    ("error", "policy"), [(Failure, "freebsd"), (KeyboardInterrupt, "freebsd"), (Failure, "post-copy:rounds=4")]
)
def test_migrate__fails_at_any_round(round: int, error: type[BaseException], policy: str) -> None:
    """What was ever dirty is in the log again; another try arrives."""

    def fail(number: int, sent: int, of: int) -> None:
        if number == round and 2 * sent >= of:
            raise error

    with hosts() as (source, target):
        timed = Timed(writer(ZIPF), seconds_per_window=0.001)
        before = source.memory.copy()
        client = source.space.client()
        client.write(BASE + 11 * PAGE, b"early")
        client.destroy()
        with pytest.raises(error):
            migrate(source.space, target.space, timed, policy=policy, bandwidth=RATE, gpa=BASE, progress=fail)
        changed = set(np.flatnonzero((source.memory != before).any(axis=1)).tolist())
        assert 11 in changed
        assert changed <= dirty(source.space)
        moved = migrate(source.space, target.space, timed, policy="freebsd", bandwidth=RATE, gpa=BASE)
        assert np.array_equal(source.memory, target.memory)
        assert moved.rounds[0].n_bytes == N_PAGES * PAGE


@pytest.mark.parametrize("round", range(1, 6))
def test_migrate__that_fails_late_puts_back_what_every_send_took(round: int) -> None:
    """Pages that were written once, long before: each send harvests others."""

    def fail(number: int, sent: int, of: int) -> None:
        if number == round:
            raise Failure

    slow = Timed(writer(f"sequential:pages={N_PAGES},windows=50,accesses=30"), pages_per_second=0.4 * RATE / PAGE)
    with hosts() as (source, target):
        before = source.memory.copy()
        with pytest.raises(Failure):
            migrate(source.space, target.space, slow, policy="freebsd", bandwidth=RATE, gpa=BASE, progress=fail)
        changed = set(np.flatnonzero((source.memory != before).any(axis=1)).tolist())
        assert changed == dirty(source.space)
        assert len(changed) < N_PAGES
        assert 0 in changed or round == 1


@pytest.mark.parametrize("round", range(1, 6))
def test_migrate__whose_target_goes_away(round: int) -> None:
    """The log is whole, and another target gets everything."""
    with hosts(EPT, EPT, NPT) as (source, target, other):

        def fail(number: int, sent: int, of: int) -> None:
            if number == round and sent < of:
                target.space.destroy()

        before = source.memory.copy()
        with pytest.raises(NptError):
            migrate(source.space, target.space, writer(ZIPF), policy="freebsd", bandwidth=RATE, gpa=BASE, progress=fail)
        assert set(np.flatnonzero((source.memory != before).any(axis=1)).tolist()) <= dirty(source.space)
        migrate(source.space, other.space, writer(ZIPF), policy="freebsd", bandwidth=RATE, gpa=BASE)
        assert np.array_equal(source.memory, other.memory)


@pytest.mark.parametrize("policy", ["freebsd", "post-copy:rounds=4"])
@pytest.mark.parametrize("send", range(1, 6))
def test_migrate__whose_link_goes_down(policy: str, send: int) -> None:
    """The guest is still at the source, the log is whole; when the link is up again everything arrives."""
    with hosts() as (source, target):
        timed = Timed(writer(ZIPF), seconds_per_window=0.001)
        before = source.memory.copy()
        with pytest.raises(LinkDown, match=f"send {send}"):
            migrate(source.space, target.space, timed, policy=policy, bandwidth=[RATE] * (send - 1) + [0], gpa=BASE)
        assert set(np.flatnonzero((source.memory != before).any(axis=1)).tolist()) <= dirty(source.space)
        moved = migrate(source.space, target.space, timed, policy="freebsd", bandwidth=[RATE, 2 * RATE], gpa=BASE)
        assert np.array_equal(source.memory, target.memory)
        assert moved.rounds[1].ns == moved.rounds[1].n_bytes * 10**9 // (2 * RATE)


def test_migrate__that_is_cancelled_by_its_policy() -> None:
    """The guest stays; the log is whole."""
    with hosts() as (source, target):
        before = source.memory.copy()
        policy = "cloud-hypervisor:timeout=0.15"
        moved = migrate(source.space, target.space, writer(ZIPF), policy=policy, bandwidth=RATE, gpa=BASE, downtime=0)
        assert (moved.cancelled, moved.converged, moved.downtime_ns) == (True, False, 0)
        assert set(np.flatnonzero((source.memory != before).any(axis=1)).tolist()) <= dirty(source.space)


def test_migrate__notices_a_page_that_did_not_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof is one."""
    scatter, calls = kernels.frames.scatter, count()

    def forget(*arguments: object) -> None:
        scatter(*arguments)
        if next(calls) == 1:
            target.memory[700] ^= 1

    with hosts() as (source, target):
        monkeypatch.setattr(kernels.frames, "scatter", forget)
        still = Timed(writer(ZIPF), seconds_per_window=1000)
        with pytest.raises(InvariantError, match="did not arrive"):
            migrate(source.space, target.space, still, policy="propolis", bandwidth=RATE, gpa=BASE)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"policy": "vmware"}, "propolis"),
        ({"bandwidth": 0}, "bandwidth"),
        ({"gpa": 1}, "gpa"),
        ({"downtime": -1}, "downtime"),
        ({"max_rounds": 0}, "max_rounds"),
        ({"latency": -1}, "latency"),
        ({"compression": 0}, "compression"),
        ({"seconds_per_window": 0}, "seconds_per_window"),
    ],
)
def test_migrate__refuses(change: dict[str, object], what: str) -> None:
    """And has done nothing."""
    with hosts() as (source, target):
        generation = source.space.generation
        arguments: dict[str, object] = {"policy": "xen", "gpa": BASE, "bandwidth": RATE} | change
        with pytest.raises(InvalidArgument, match=what):
            migrate(source.space, target.space, writer(ZIPF), **arguments)  # type: ignore[arg-type]
        assert source.space.generation == generation


def test_migrate__refuses_what_cannot_be_migrated() -> None:
    """One space, no space, a source that keeps no log."""
    with hosts() as (source, target):
        with pytest.raises(InvalidArgument, match="one space"):
            migrate(source.space, source.space, writer(ZIPF), policy="xen", gpa=BASE)
        with pytest.raises(TypeError, match="target"):
            migrate(source.space, None, writer(ZIPF), policy="xen", gpa=BASE)  # type: ignore[arg-type]
        source.space.set_tracking(False)
        with pytest.raises(TrackingDisabled):
            migrate(source.space, target.space, writer(ZIPF), policy="xen", gpa=BASE)
