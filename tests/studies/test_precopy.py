"""The closed model, against numbers that were worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from npt import PAGE_SIZE
from npt.errors import InvalidArgument, LinkDown
from npt.studies.policies import POLICIES, Policy
from npt.studies.precopy import precopy

MIB = 1 << 20
RAM, BANDWIDTH, RATE = 4096 * MIB, 1000 * MIB, 400 * MIB
MS = 10**6  # ns

# Megabytes of each send at 400 MiB/s of 1000 MiB/s: each is two fifths of the one before.
SENDS = [4096.0, 1638.4, 655.36, 262.144, 104.8576, 41.94304]


def sizes(policy: str, *, rate: float = RATE, **more: float) -> list[float]:
    """MiB of each send."""
    result = precopy(RAM, BANDWIDTH, rate, policy=policy, **more)  # type: ignore[arg-type]
    assert result.bytes_sent == sum(one.wire for one in result.rounds)
    assert result.total_ns == sum(one.ns for one in result.rounds)
    assert [one.kind for one in result.rounds[:-1]] == ["live"] * result.live_sends
    return [one.n_bytes / MIB for one in result.rounds]


def test_precopy__the_worked_example() -> None:
    """Four live sends, the last one counted in the bytes."""
    result = precopy(RAM, BANDWIDTH, RATE, policy="freebsd")
    assert result.live_sends == 4
    assert result.bytes_sent / MIB == pytest.approx(6756.7616, abs=1e-4)
    assert result.downtime_ns == 104_857_600
    assert result.total_ns == 6_756_761_600
    assert result.downtime == 0.1048576
    assert result.converged


@pytest.mark.parametrize(
    ("policy", "n"),
    [("propolis", 2), ("freebsd", 5), ("xen", 6), ("qemu", 4), ("cloud-hypervisor", 4), ("post-copy:rounds=3", 4)],
)  # fmt: skip
def test_precopy__each_send_is_two_fifths_of_the_last(policy: str, n: int) -> None:
    """262 MiB take 262 ms: the first that fit in 300."""
    assert sizes(policy) == pytest.approx(SENDS[:n], abs=1e-5)


@pytest.mark.parametrize(
    ("policy", "live"),
    [("propolis", 1), ("freebsd", 4), ("xen", 1), ("qemu", 1), ("cloud-hypervisor", 1), ("post-copy", 1)],
)
@pytest.mark.parametrize("downtime", [0.3, 0])
def test_precopy__nothing_is_dirtied(policy: str, live: int, downtime: float) -> None:
    """All that is sent is the memory; ``freebsd`` counts its rounds all the same."""
    result = precopy(RAM, BANDWIDTH, 0, policy=policy, downtime=downtime)
    assert (result.live_sends, result.bytes_sent, result.downtime_ns, result.converged) == (live, RAM, 0, True)


@pytest.mark.parametrize(
    ("policy", "live"), [("propolis", 1), ("freebsd", 4), ("xen", 5), ("qemu", 7), ("cloud-hypervisor", 7)]
)
@pytest.mark.parametrize("rate", [BANDWIDTH, 3 * BANDWIDTH])
def test_precopy__as_fast_as_the_link_or_faster(policy: str, live: int, rate: int) -> None:
    """All memory is dirty behind every send; who waits for less goes on to the last round."""
    result = precopy(RAM, BANDWIDTH, rate, policy=policy, max_rounds=7)
    assert [one.n_bytes for one in result.rounds] == [RAM] * (live + 1)
    assert (result.live_sends, result.downtime_ns, result.converged) == (live, 4096 * MS, False)


@pytest.mark.parametrize(
    ("policy", "live"), [("propolis", 1), ("freebsd", 4), ("xen", 1), ("qemu", 1), ("cloud-hypervisor", 1)]
)
def test_precopy__one_page(policy: str, live: int) -> None:
    """4096 bytes at a million a second take 4.096 ms; at a quarter of that rate 1024 bytes are dirty then, 256, 64, 16."""
    result = precopy(PAGE_SIZE, 10**6, 250_000, policy=policy)
    assert [one.n_bytes for one in result.rounds] == [4096, 1024, 256, 64, 16][: live + 1]
    assert result.downtime_ns == [None, 1_024_000, 256_000, 64_000, 16_000][live]


def test_precopy__no_downtime_at_all() -> None:
    """Sends get smaller until nothing is dirty: a byte takes a millisecond, in which less than a byte is dirtied."""
    result = precopy(1000, 1000, 500, policy="qemu", downtime=0)
    assert [one.n_bytes for one in result.rounds] == [1000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 0]
    assert (result.live_sends, result.downtime_ns, result.converged) == (10, 0, True)


def test_precopy__rounds_up_and_down() -> None:
    """10 bytes at 3 a second: 3 333 333 334 ns; at 7 a second 23.3 bytes are dirty, all 10 of them."""
    result = precopy(10, 3, 0.6, policy="propolis")
    assert [(one.ns, one.dirtied) for one in result.rounds] == [(3_333_333_334, 2), (666_666_667, 0)]
    assert precopy(10, 3, 7, policy="propolis").rounds[0].dirtied == 10


@pytest.mark.parametrize(
    ("policy", "live", "rest"),
    [
        ("propolis", 1, 500),
        ("freebsd", 4, 62),
        ("xen", 1, 500),
        ("qemu", 10, 0),
        ("cloud-hypervisor", 10, 0),
        ("post-copy", 1, 500),
    ],
)
def test_precopy__no_downtime_at_all_under_each(policy: str, live: int, rest: int) -> None:
    """Halves, as above: who aims at it goes on until nothing is left; fifty pages are more than all there is here."""
    result = precopy(1000, 1000, 500, policy=policy, downtime=0)
    assert (result.live_sends, result.rounds[-1].n_bytes) == (live, rest)
    assert result.downtime_ns == (0 if policy == "post-copy" else rest * MS)
    assert result.converged is (result.downtime_ns == 0)


@pytest.mark.parametrize(("rate", "touched"), [(1000, 500), (3000, 1500)])
def test_precopy__post_copy_as_fast_as_the_link_or_faster(rate: int, touched: int) -> None:
    """All is missing. In its second ``rate`` pages are touched, half of them missing; of all pages none is fetched twice."""
    result = precopy(1000 * PAGE_SIZE, 1000 * PAGE_SIZE, rate * PAGE_SIZE, policy="post-copy", latency=0.001)
    assert [one.n_bytes for one in result.rounds] == [1000 * PAGE_SIZE] * 2
    in_its_time = touched * 1001 // 1000  # a send takes a millisecond more than its second
    assert result.faults == min(in_its_time, 1000)
    assert result.stall_ns == result.faults * 2 * MS
    assert (result.downtime_ns, result.converged) == (MS, True)


def test_precopy__post_copy_of_one_page() -> None:
    """A quarter of it is left, and next to never touched in its millisecond."""
    result = precopy(PAGE_SIZE, 10**6, 250_000, policy="post-copy")
    assert [(one.kind, one.n_bytes) for one in result.rounds] == [("live", 4096), ("post", 1024)]
    assert (result.faults, result.stall_ns, result.downtime_ns) == (0, 0, 0)


@pytest.mark.parametrize("options", ["auto_converge=yes", "dirty_limit=1"])
@pytest.mark.parametrize(
    ("rate", "live", "slowed"), [(0, 1, False), (BANDWIDTH // 2, 5, False), (BANDWIDTH // 2 + 4096, 5, True)]
)  # fmt: skip
def test_precopy__qemu_slows_beyond_half(options: str, rate: int, live: int, slowed: bool) -> None:
    """Half of what was sent is not more than half: 4096, 2048, 1024, 512 and 256 MiB are sent live, and 128 fit in 0.2 s."""
    result = precopy(RAM, BANDWIDTH, rate, policy=f"qemu:{options}", downtime=0.2)
    sent = [one.n_bytes / MIB for one in result.rounds]
    if slowed:
        assert sent[:3] == pytest.approx([4096, 2048, 1024], rel=1e-4)
        assert sent[3] == pytest.approx(1024 * 0.5 * 0.8 if "auto" in options else 0, rel=1e-4, abs=1e-4)
    else:
        assert sent == [4096 / 2**number for number in range(live + 1)] if rate else [4096, 0]
        assert {one.throttle for one in result.rounds} == {0}


@pytest.mark.parametrize(
    ("timeout", "downtime", "live", "cancelled"),
    [(8.192, 0, 2, True), (8.1920001, 0, 3, True), (4.096, 4.096, 1, False), (0, 4.0959999, 1, True)],
)
def test_precopy__cloud_hypervisor_looks_at_what_fits_and_then_at_the_clock(
    timeout: float, downtime: float, live: int, cancelled: bool
) -> None:
    """A send of all memory takes 4.096 s: after two of them 8.192 s are over, not a tenth of a microsecond more."""
    result = precopy(RAM, BANDWIDTH, BANDWIDTH, policy=f"cloud-hypervisor:timeout={timeout}", downtime=downtime)
    assert (result.live_sends, result.cancelled, result.converged) == (live, cancelled, not cancelled)


@pytest.mark.parametrize(("pages", "live"), [(49, 1), (50, 2)])
def test_precopy__xen_stops_below_fifty_pages(pages: int, live: int) -> None:
    """A thousand pages take a second, in which so many are dirtied; fifty take so little that two are."""
    result = precopy(1000 * PAGE_SIZE, 1000 * PAGE_SIZE, pages * PAGE_SIZE, policy="xen")
    assert result.rounds[0].dirtied == pages * PAGE_SIZE
    assert result.live_sends == live


@pytest.mark.parametrize(("downtime", "live"), [(0.262144, 3), (0.262143, 4)])
def test_precopy__qemu_stops_when_the_rest_just_fits(downtime: float, live: int) -> None:
    """262.144 MiB at 1000 MiB/s."""
    assert precopy(RAM, BANDWIDTH, RATE, policy="qemu", downtime=downtime).live_sends == live


def throttles(policy: str, rate: int) -> list[int]:
    """Of the live sends."""
    result = precopy(RAM, BANDWIDTH, rate, policy=policy, max_rounds=30)
    return [one.throttle for one in result.rounds[: result.live_sends]]


def test_precopy__auto_converge() -> None:
    """At the link's rate: 20 % after two sends, then 10 more after each two behind which more than half is dirty again.

    Sends of 4096, 4096 | 4096, 3276.8 | 2621.44, 1835.008 | 1284.5056, 770.70336 | 462.422016 MiB; half of the last fits.
    """
    assert throttles("qemu:auto_converge=yes", BANDWIDTH) == [0, 0, 20, 20, 30, 30, 40, 40, 50]
    assert throttles("qemu", BANDWIDTH) == [0] * 30


def test_precopy__auto_converge_has_an_end() -> None:
    """At most so much, and the guest dirties what is left of its rate."""
    assert throttles("qemu:auto_converge=yes,initial=90,increment=99,most=95", 100 * BANDWIDTH) == [0, 0, 90, 90, *[95] * 26]


def test_precopy__dirty_limit() -> None:
    """From the third send on the guest dirties a tenth of the link's rate: 409.6 MiB, then 40.96, which fit."""
    result = precopy(RAM, BANDWIDTH, BANDWIDTH, policy=f"qemu:dirty_limit={100 * MIB}")
    assert [one.n_bytes / MIB for one in result.rounds] == pytest.approx([4096, 4096, 4096, 409.6, 40.96], abs=1e-5)


@pytest.mark.parametrize(("ignore", "kinds"), [("no", ["live"] * 3), ("yes", ["live"] * 3 + ["stop"])])
def test_precopy__cloud_hypervisor_when_time_is_up(ignore: str, kinds: Sequence[str]) -> None:
    """Three sends of 4.096 s each are more than ten seconds: it is cancelled, or goes on."""
    result = precopy(RAM, BANDWIDTH, BANDWIDTH, policy=f"cloud-hypervisor:timeout=10,ignore={ignore}")
    assert [one.kind for one in result.rounds] == kinds
    assert (result.cancelled, result.converged) == (ignore == "no", False)
    assert result.downtime_ns == (0 if ignore == "no" else 4096 * MS)


def test_precopy__post_copy_stalls() -> None:
    """Half of memory is missing, and sent in half a second: a millisecond for each page that the guest waits for."""
    ram, second = 1000 * PAGE_SIZE, 1000 * PAGE_SIZE
    result = precopy(ram, second, 500 * PAGE_SIZE, policy="post-copy", latency=0)
    assert [one.n_bytes for one in result.rounds] == [ram, 500 * PAGE_SIZE]
    assert result.faults == 62  # 250 pages are touched in half a second, a quarter of them missing on average
    assert result.stall_ns == 62 * MS
    assert result.downtime_ns == 0


def test_precopy__latency_compression_and_zero_pages() -> None:
    """A half of memory is zero, the rest takes half its bytes, and a tenth of a second comes on top of each send."""
    result = precopy(RAM, BANDWIDTH, RATE, policy="propolis", latency=0.1, compression=2, zero=RAM // 2)
    first, last = result.rounds
    assert (first.n_bytes, first.wire, first.ns) == (RAM // 2, RAM // 4, 1_124 * MS)
    assert last.n_bytes == int(400 * MIB * 1.124)
    assert last.ns == pytest.approx(100 * MS + 400 * 1.124 / 2 / 1000 * 1000 * MS, abs=1)


def test_precopy__a_bandwidth_for_each_send() -> None:
    """4096 MiB at 1000 MiB/s, then what was dirtied in 4.096 s at 500, then at 250 each: 3.2768 s, 5.24288 s behind it."""
    result = precopy(RAM, [BANDWIDTH, 500 * MIB, 250 * MIB], RATE, policy="freebsd:rounds=3")
    assert [one.ns for one in result.rounds] == pytest.approx(
        [4_096_000_000, 3_276_800_000, 5_242_880_000, 8_388_608_000], abs=8
    )
    assert result.bytes_resent / MIB == pytest.approx(1638.4 + 1310.72 + 2097.152, abs=1e-4)


@pytest.mark.parametrize("policy", ["freebsd", "post-copy:rounds=4"])
@pytest.mark.parametrize("send", range(1, 6))
def test_precopy__the_link_goes_down(policy: str, send: int) -> None:
    """In any send, the last one too."""
    with pytest.raises(LinkDown, match=f"send {send}: the bandwidth went to nothing"):
        precopy(RAM, [BANDWIDTH] * (send - 1) + [0], RATE, policy=policy)
    assert len(precopy(RAM, [BANDWIDTH] * 5 + [0], RATE, policy=policy).rounds) == 5


# -- what cannot be -----------------------------------------------------------------------------------------------------


def test_precopy__a_policy_has_a_rule() -> None:
    """What has none cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        Policy()  # type: ignore[abstract]


def test_precopy__knows_its_policies() -> None:
    """The error has a list of them."""
    with pytest.raises(InvalidArgument, match=", ".join(POLICIES)):
        precopy(RAM, BANDWIDTH, RATE, policy="vmware")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bandwidth": 0}, "bandwidth 0 is not a positive"),
        ({"bandwidth": -1}, "bandwidth"),
        ({"bandwidth": float("inf")}, "finite"),
        ({"bandwidth": float("nan")}, "bandwidth nan"),
        ({"bandwidth": []}, "empty"),
        ({"bandwidth": [BANDWIDTH, -1]}, "bandwidth -1 is not a non-negative"),
        ({"dirty_rate": -1}, "dirty_rate -1 is not a non-negative"),
        ({"dirty_rate": float("nan")}, "dirty_rate nan"),
        ({"ram": 0}, "ram 0"),
        ({"downtime": -0.1}, "downtime"),
        ({"max_rounds": 0}, "max_rounds 0"),
        ({"latency": -1}, "latency"),
        ({"compression": 0}, "compression"),
        ({"zero": RAM + 1}, "zero"),
        ({"policy": "xen:rounds=3"}, "'rounds' is no option of it; these are: pages, sends"),
        ({"policy": "propolis:rounds=3"}, "it has none"),
        ({"policy": "freebsd:rounds=0"}, "rounds must be from 1"),
        ({"policy": "freebsd:rounds=3,rounds=4"}, "said twice"),
        ({"policy": "freebsd:"}, "not of the form"),
        ({"policy": "qemu:auto_converge=yes,dirty_limit=1"}, "exclude each other"),
        ({"policy": "qemu:initial=50,most=40"}, "initial 50 is more than most, 40"),
        ({"policy": "qemu:dirty_limit=-1"}, "dirty_limit must be from 0"),
        ({"policy": "cloud-hypervisor:timeout=nan"}, "timeout must be from 0"),
        ({"policy": "post-copy:rounds=0"}, "rounds must be from 1"),
        ({"policy": "xen:sends=0"}, "sends must be from 1"),
        ({"policy": "xen:pages=-1"}, "pages must be from 0"),
        ({"bandwidth": 1 << 2000}, "bandwidth"),
        ({"ram": 1 << 63}, "ram"),
    ],
)
def test_precopy__refuses(change: dict[str, object], what: str) -> None:
    """Numbers that cannot be, and options that there are not."""
    arguments: dict[str, object] = {"ram": RAM, "bandwidth": BANDWIDTH, "dirty_rate": RATE, "policy": "freebsd"}
    with pytest.raises(InvalidArgument, match=what):
        precopy(**(arguments | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"ram": 1.5}, {"ram": True}, {"bandwidth": "1"}, {"policy": 4}, {"max_rounds": 2.0}, {"zero": 1.0}]
)
def test_precopy__refuses_types(change: dict[str, object]) -> None:
    """Floats, bools and words where they do not belong."""
    arguments: dict[str, object] = {"ram": RAM, "bandwidth": BANDWIDTH, "dirty_rate": RATE, "policy": "freebsd"}
    with pytest.raises(TypeError):
        precopy(**(arguments | change))  # type: ignore[arg-type]


def test_precopy__takes_numpy_numbers() -> None:
    """As everywhere."""
    arguments = np.int64(RAM), np.float64(BANDWIDTH), np.int32(RATE)
    assert precopy(*arguments, policy="xen") == precopy(RAM, BANDWIDTH, RATE, policy="xen")
