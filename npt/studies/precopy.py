"""Pre-copy in a closed model: memory of a size, a bandwidth, a rate of dirtying; no pages.

Each live send takes ``latency + wire / bandwidth`` seconds, and behind it ``min(ram, dirty_rate * seconds)`` bytes are dirty.
Then the policy is asked. Everything is in integers: times in whole nanoseconds, rounded up (a send has ended when its last byte
has gone), bytes rounded down (a byte is dirty when it was written).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, SupportsFloat, SupportsIndex

from npt import _html
from npt._html import Shown
from npt.errors import InvalidArgument, LinkDown
from npt.studies.policies import Policy, Progress, Send, Verdict
from npt.studies.policies import policy as as_policy
from npt.units import PAGE_SIZE, as_count, as_rate, format_size

__all__ = ["UNITS", "Course", "Link", "PrecopyResult", "Round", "as_course", "as_link", "precopy"]

_SECOND = 10**9  # ns
_MOST_RAM = 1 << 63
_PERCENT = 100

UNITS = {"bytes_sent": "B", "bytes_resent": "B", "downtime_ns": "ns", "total_ns": "ns", "stall_ns": "ns"}
"""Of what ``PrecopyResult.row`` has."""


@dataclass(frozen=True)
class Round:
    """One send.

    Attributes
    ----------
    number : int
        From 1.
    kind : str
        ``live``; ``stop``: the guest is stopped; ``post``: it runs at the target already.
    n_bytes : int
        Of memory that were sent.
    wire : int
        Bytes that this took on the wire.
    ns : int
        How long it took.
    dirtied : int
        Bytes that were dirty behind it.
    throttle : int
        Per cent by which the guest was slowed down meanwhile.
    """

    number: int
    kind: str
    n_bytes: int
    wire: int
    ns: int
    dirtied: int
    throttle: int


@dataclass(frozen=True, repr=False)
class PrecopyResult(Shown):
    """A migration.

    Attributes
    ----------
    policy : str
        As text that ``policy`` reads.
    rounds : sequence of Round
        All sends.
    live_sends : int
        Live ones, the first full copy included.
    bytes_sent : int
        On the wire, the last send included.
    downtime, total_time : float
        Seconds; for which the guest stood still (with post-copy: until it ran at the target), and of everything.
    downtime_ns, total_ns : int
        The same, exact.
    converged : bool
        The guest has moved, and its downtime is within the target.
    cancelled : bool
        It has not moved.
    faults, stall_ns : int
        Post-copy: pages that were fetched on demand, and for how long the guest waited for them.
    """

    policy: str
    rounds: Sequence[Round]
    live_sends: int
    bytes_sent: int
    downtime_ns: int
    total_ns: int
    converged: bool
    cancelled: bool = False
    faults: int = 0
    stall_ns: int = 0

    def __repr__(self) -> str:
        end = "cancelled" if self.cancelled else "converged" if self.converged else "did not converge"
        return (
            f"<PrecopyResult {self.policy}: {self.live_sends} live sends, {format_size(self.bytes_sent)}, "
            f"{self.downtime_ns / 1e6:,.3f} ms down, {end}>"
        )

    def _shown(self) -> Iterable[str]:
        rows = (
            (one.number, one.kind, format_size(one.n_bytes), f"{one.ns / 1e6:,.3f}", format_size(one.dirtied))
            for one in self.rounds
        )
        yield _html.table("sends", ("", "kind", "memory", "ms", "dirty behind it"), rows, len(self.rounds))

    @property
    def bytes_resent(self) -> int:
        """Bytes of memory that were sent behind the first copy."""
        return sum(one.n_bytes for one in self.rounds[1:])

    @property
    def downtime(self) -> float:
        """Seconds for which the guest stood still."""
        return self.downtime_ns / _SECOND

    @property
    def total_time(self) -> float:
        """Seconds of everything."""
        return self.total_ns / _SECOND

    def row(self) -> dict[str, Any]:
        """Measures as plain values, for a result table."""
        row = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "rounds"}
        return {**row, "bytes_resent": self.bytes_resent}


@dataclass(frozen=True)
class Link:
    """What memory is sent over.

    Attributes
    ----------
    bandwidths : sequence of Fraction
        Bytes a second on the wire, for each send; the last for all that follow.
    latency : int
        ns that each send takes besides.
    compression : Fraction
        Bytes of memory that one byte on the wire stands for.
    """

    bandwidths: Sequence[Fraction]
    latency: int
    compression: Fraction

    @property
    def said(self) -> float | str:
        """The bandwidth for a result table: a number, or several as text."""
        each = [float(one) for one in self.bandwidths]
        return each[0] if len(each) == 1 else ",".join(map(repr, each))

    def wire(self, n_bytes: int) -> int:
        """Bytes on the wire for so many of memory."""
        return -int(-n_bytes // self.compression)

    def ns(self, wire: int, send: int) -> int:
        """How long these take in a send, the first of which is 1."""
        bandwidth = self.bandwidths[min(send, len(self.bandwidths)) - 1]
        if not bandwidth:
            raise LinkDown(f"send {send}: the bandwidth went to nothing; the guest is still at the source")
        return self.latency - int(-wire * _SECOND // bandwidth)


def as_link(bandwidth: Any, latency: Any, compression: Any) -> Link:
    """A link, checked. In a list of bandwidths there may be 0: there the link is down."""
    ns = as_rate(latency, "latency", positive=False) * _SECOND
    if isinstance(bandwidth, (list, tuple)):
        bandwidths = tuple(as_rate(one, "bandwidth", positive=False) for one in bandwidth)
        if not bandwidths:
            raise InvalidArgument("bandwidth is an empty list; give it at least one")
    else:
        bandwidths = (as_rate(bandwidth, "bandwidth", positive=True),)
    return Link(bandwidths, round(ns), as_rate(compression, "compression", positive=True))


def precopy(
    ram: SupportsIndex,
    bandwidth: SupportsFloat | Sequence[SupportsFloat],
    dirty_rate: SupportsFloat,
    *,
    policy: str | Policy,
    downtime: SupportsFloat = 0.3,
    max_rounds: SupportsIndex = 1000,
    latency: SupportsFloat = 0,
    compression: SupportsFloat = 1,
    zero: SupportsIndex = 0,
) -> PrecopyResult:
    """Migrate a guest in the closed model.

    Parameters
    ----------
    ram
        Bytes of memory.
    bandwidth, dirty_rate
        Bytes a second; an int is taken exactly. Of bandwidths there may be a list: one for each send, the last for all that
        follow, 0 for a link that is down.
    policy
        ``"qemu"``, ``"qemu:auto_converge=yes"``, or a ``Policy``.
    downtime
        Seconds that the policy aims at, if it aims.
    max_rounds
        Live sends after which the rest is sent, whatever the policy says.
    latency
        Seconds that each send takes besides.
    compression
        Bytes of memory that one byte on the wire stands for.
    zero
        Bytes of pages that are all zero at first: the first copy does not send them.

    Returns
    -------
    PrecopyResult

    Raises
    ------
    InvalidArgument
        An unknown policy, a bandwidth that is not positive, a negative or infinite rate.
    LinkDown
        The bandwidth was nothing for a send.

    Examples
    --------
    >>> MiB = 1 << 20
    >>> moved = precopy(4096 * MiB, 1000 * MiB, 400 * MiB, policy="freebsd")
    >>> moved.live_sends, round(moved.bytes_sent / MiB, 4), moved.downtime
    (4, 6756.7616, 0.1048576)
    """
    size = as_count(ram, "ram", least=1, end=_MOST_RAM)
    zeros = as_count(zero, "zero", end=size + 1)
    rate = as_rate(dirty_rate, "dirty_rate", positive=False)
    return _migrate(as_course(policy, bandwidth, downtime, max_rounds, latency, compression), size, rate, size - zeros)


class Course:
    """How a migration goes, whoever sends: sends until the policy says otherwise, and what they come to.

    Parameters
    ----------
    link, policy
        What is asked how long a send takes, and after each what to do. Attributes, too.
    target
        Downtime aimed at, in ns.
    most
        Live sends after which it is stopped.
    """

    def __init__(self, link: Link, policy: Policy, target: int, most: int) -> None:
        self.link, self.policy, self._target, self._most = link, policy, target, most
        self._sends: list[Send] = []
        self._rounds: list[Round] = []
        self._elapsed = 0

    @property
    def left(self) -> int:
        """Bytes that were dirty behind the last live send."""
        return self._sends[-1].dirtied

    def last_ns(self, n_bytes: int) -> int:
        """How long so many bytes of memory take behind all live sends."""
        return self.link.ns(self.link.wire(n_bytes), len(self._sends) + 1)

    def live(self, n_bytes: int, during: Callable[[int, int, int | None], int]) -> Verdict:
        """A live send; ``during(ns, throttle, limit)`` says how many bytes are dirty behind it."""
        throttle, limit = self.policy.throttle(self._sends), self.policy.limit(self._sends)
        wire = self.link.wire(n_bytes)
        ns = self.link.ns(wire, len(self._sends) + 1)
        dirtied = during(ns, throttle, limit)
        self._elapsed += ns
        self._sends.append(Send(n_bytes, wire, ns, dirtied))
        self._rounds.append(Round(len(self._sends), "live", n_bytes, wire, ns, dirtied, throttle))
        verdict = self.policy.verdict(Progress(self._sends, self._elapsed, self._target))
        return Verdict.STOP if verdict is Verdict.GO_ON and len(self._sends) >= self._most else verdict

    def stop(self, n_bytes: int) -> PrecopyResult:
        """The rest is sent while the guest stands still."""
        return self._result(self._last("stop", n_bytes))

    def post(self, n_bytes: int, faults: int, stall: int) -> PrecopyResult:
        """The rest is sent while the guest runs at the target, and waits for pages."""
        self._last("post", n_bytes)
        return self._result(self.link.latency, faults=faults, stall=stall)

    def cancel(self) -> PrecopyResult:
        """The guest stays where it is."""
        return self._result(0, cancelled=True)

    def _last(self, kind: str, n_bytes: int) -> int:
        wire, number = self.link.wire(n_bytes), len(self._rounds) + 1
        ns = self.link.ns(wire, number)
        self._rounds.append(Round(number, kind, n_bytes, wire, ns, 0, 0))
        return ns

    def _result(self, downtime: int, *, cancelled: bool = False, faults: int = 0, stall: int = 0) -> PrecopyResult:
        return PrecopyResult(
            str(self.policy), tuple(self._rounds), len(self._sends), sum(one.wire for one in self._rounds), downtime,
            sum(one.ns for one in self._rounds), not cancelled and downtime <= self._target, cancelled, faults, stall,
        )  # fmt: skip


def as_course(
    policy: str | Policy, bandwidth: Any, downtime: Any, max_rounds: SupportsIndex, latency: Any, compression: Any
) -> Course:  # fmt: skip
    """A course that has not begun, from what a caller gave, checked."""
    link = as_link(bandwidth, latency, compression)
    target = round(as_rate(downtime, "downtime", positive=False) * _SECOND)
    most = as_count(max_rounds, "max_rounds", least=1, end=_MOST_RAM)
    return Course(link, as_policy(policy), target, most)


def _migrate(course: Course, ram: int, rate: Fraction, n_bytes: int) -> PrecopyResult:
    """The closed model; ``n_bytes`` are sent first."""

    def dirtied(ns: int, throttle: int, limit: int | None) -> int:
        slowed = rate * (_PERCENT - throttle) / _PERCENT
        return min(ram, int((slowed if limit is None else min(slowed, Fraction(limit))) * ns // _SECOND))

    while (verdict := course.live(n_bytes, dirtied)) is Verdict.GO_ON:
        n_bytes = course.left
    if verdict is Verdict.CANCEL:
        return course.cancel()
    if verdict is Verdict.STOP:
        return course.stop(course.left)
    return course.post(course.left, *_waits(course, ram, rate))


def _waits(course: Course, ram: int, rate: Fraction) -> tuple[int, int]:
    """Pages that a guest at the target waits for, and how long in all.

    It touches pages at its dirty rate, spread evenly over its memory; on average half of the rest is missing still. For each
    page that is missing it waits for a latency and the page's own time.
    """
    touched = rate * course.last_ns(course.left) / _SECOND / PAGE_SIZE
    faults = min(int(touched * course.left // (2 * ram)), -(-course.left // PAGE_SIZE))
    return faults, faults * course.last_ns(PAGE_SIZE)
