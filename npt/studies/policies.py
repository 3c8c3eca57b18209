"""When to stop sending live: the rules of hypervisors, as functions of what was sent so far.

A policy is asked after each live send, the first full copy included. It has no state: what it says follows from the sends, the
bytes that are dirty now and the time, so the closed model and the engine ask the same rule.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from npt.errors import InvalidArgument
from npt.studies.parameters import check, flag, form, from_words, real, whole
from npt.units import PAGE_SHIFT

__all__ = [
    "POLICIES",
    "CloudHypervisor",
    "FreeBsd",
    "Policy",
    "PostCopy",
    "Progress",
    "Propolis",
    "Qemu",
    "Send",
    "Verdict",
    "Xen",
    "policy",
]

_SECOND = 10**9  # ns
_PERCENT = 100
_MOST = 2**63


class Verdict(Enum):
    """What is to be done after a live send."""

    GO_ON = "go on"  # send what is dirty now, live
    STOP = "stop"  # stop the guest and send the rest
    SWITCH = "switch"  # stop the guest, let it run at the target, send the rest then
    CANCEL = "cancel"  # the guest stays where it is


class Send(NamedTuple):
    """A live send.

    Attributes
    ----------
    n_bytes : int
        Of memory that were sent.
    wire : int
        Bytes that this took on the wire.
    ns : int
        How long it took.
    dirtied : int
        Bytes of memory that were dirty at its end.
    """

    n_bytes: int
    wire: int
    ns: int
    dirtied: int


class Progress(NamedTuple):
    """What a policy knows.

    Attributes
    ----------
    sends : sequence of Send
        All live sends, the last one last.
    elapsed : int
        ns since the first began.
    downtime : int
        Target, in ns.
    """

    sends: Sequence[Send]
    elapsed: int
    downtime: int

    @property
    def left(self) -> int:
        """Bytes of memory that are dirty now."""
        return self.sends[-1].dirtied

    @property
    def fits(self) -> bool:
        """Whether what is left can be sent within the downtime, at the bandwidth of the last send that sent anything."""
        sent = next((send for send in reversed(self.sends) if send.n_bytes), self.sends[0])
        return self.left * sent.ns <= self.downtime * sent.n_bytes


@dataclass(frozen=True)
class Policy(ABC):
    """A rule for when to stop; its options are checked when it is made."""

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check(self)

    def __str__(self) -> str:
        said = [(one, getattr(self, one.name)) for one in fields(self)]
        options = ",".join(f"{form(one).key}={value}" for one, value in said if value != one.default)
        return f"{self.name}:{options}" if options else self.name

    @abstractmethod
    def verdict(self, progress: Progress) -> Verdict:
        """What is to be done now."""

    def throttle(self, sends: Sequence[Send]) -> int:
        """Per cent by which the guest is slowed down after these sends."""
        return 0

    def limit(self, sends: Sequence[Send]) -> int | None:
        """Bytes a second that the guest may dirty after these sends; None for any number."""
        return None


@dataclass(frozen=True)
class Propolis(Policy):
    """One live pass over all memory, then the rest.

    Source: propolis, Oxide's VMM on illumos bhyve: RAM is pushed once before the guest is paused, what is dirty then after it.
    """

    name: ClassVar[str] = "propolis"

    def verdict(self, progress: Progress) -> Verdict:
        """Stop, whatever is left."""
        return Verdict.STOP


@dataclass(frozen=True)
class FreeBsd(Policy):
    """A fixed number of live sends.

    Source: FreeBSD reviews D30954 and D34722, live migration of bhyve: all memory first, then what was modified, four rounds
    in all.

    Attributes
    ----------
    rounds : int
        Live sends, the full copy included.
    """

    name: ClassVar[str] = "freebsd"
    rounds: int = field(default=4, kw_only=True, metadata=whole("rounds", 1, _MOST))

    def verdict(self, progress: Progress) -> Verdict:
        """Stop after so many, even if nothing is dirty before."""
        return Verdict.STOP if len(progress.sends) >= self.rounds else Verdict.GO_ON


@dataclass(frozen=True)
class Xen(Policy):
    """Until fewer than 50 pages are dirty, or five sends are done.

    Source: Xen, ``simple_precopy_policy`` of libxenguest (``xg_sr_save.c``).

    Attributes
    ----------
    pages : int
        It stops below so many.
    sends : int
        It stops after so many.
    """

    name: ClassVar[str] = "xen"
    pages: int = field(default=50, kw_only=True, metadata=whole("pages", 0, _MOST))
    sends: int = field(default=5, kw_only=True, metadata=whole("sends", 1, _MOST))

    def verdict(self, progress: Progress) -> Verdict:
        """Stop if little is left, or enough was tried."""
        few = -(-progress.left >> PAGE_SHIFT) < self.pages
        return Verdict.STOP if few or len(progress.sends) >= self.sends else Verdict.GO_ON


@dataclass(frozen=True)
class Qemu(Policy):
    """Until what is left can be sent within the downtime; the guest can be made slower on the way.

    A send *dirtied much* if more than ``trigger`` per cent of what was sent is dirty behind it. Each second such send (they
    need not follow each other) ``auto_converge`` slows the guest down by ``initial`` per cent, and by ``increment`` more each
    further time, up to ``most``; ``dirty_limit`` keeps it below so many bytes a second from the first time on.

    Source: QEMU, ``migration/ram.c`` (what triggers the throttle) and ``migration/options.c`` (20, 10, 99 and 50 per cent,
    300 ms; which of them exclude each other); docs/devel/migration/dirty-limit.rst. QEMU looks once a second at most, here it
    looks after each send.

    Attributes
    ----------
    auto_converge : bool
        Slow the guest down.
    initial, increment, most, trigger : int
        Per cent.
    dirty_limit : int
        Bytes a second; 0 for no limit.
    """

    name: ClassVar[str] = "qemu"
    auto_converge: bool = field(default=False, kw_only=True, metadata=flag("auto_converge"))
    initial: int = field(default=20, kw_only=True, metadata=whole("initial", 1, 99))
    increment: int = field(default=10, kw_only=True, metadata=whole("increment", 1, 99))
    most: int = field(default=99, kw_only=True, metadata=whole("most", 1, 99))
    trigger: int = field(default=50, kw_only=True, metadata=whole("trigger", 1, 100))
    dirty_limit: int = field(default=0, kw_only=True, metadata=whole("dirty_limit", 0, _MOST))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.auto_converge and self.dirty_limit:
            raise InvalidArgument("auto_converge and dirty_limit exclude each other, as they do in QEMU")
        if self.initial > self.most:
            raise InvalidArgument(f"initial {self.initial} is more than most, {self.most}")

    def verdict(self, progress: Progress) -> Verdict:
        """Stop if what is left fits."""
        return Verdict.STOP if progress.fits else Verdict.GO_ON

    def throttle(self, sends: Sequence[Send]) -> int:
        """Per cent, from how often much was dirtied."""
        times = self._n_triggers(sends) if self.auto_converge else 0
        return min(self.initial + (times - 1) * self.increment, self.most) if times else 0

    def limit(self, sends: Sequence[Send]) -> int | None:
        """The limit, once much was dirtied twice."""
        return self.dirty_limit if self.dirty_limit and self._n_triggers(sends) else None

    def _n_triggers(self, sends: Sequence[Send]) -> int:
        return sum(_PERCENT * send.dirtied > self.trigger * send.wire for send in sends) // 2


@dataclass(frozen=True)
class CloudHypervisor(Policy):
    """Until what is left can be sent within the downtime, at the last transfer's bandwidth; or the time is up.

    Source: Cloud Hypervisor, docs/live_migration.md and ``is_precopy_converged``: 300 ms, 3600 s, then ``cancel`` or
    ``ignore``.

    Attributes
    ----------
    timeout : float
        Seconds.
    ignore : bool
        When the time is up, go on with the rest; else the migration is cancelled.
    """

    name: ClassVar[str] = "cloud-hypervisor"
    timeout: float = field(default=3600.0, kw_only=True, metadata=real("timeout", 0, _MOST))
    ignore: bool = field(default=False, kw_only=True, metadata=flag("ignore"))

    def verdict(self, progress: Progress) -> Verdict:
        """Stop if nothing is left, or what is left fits; then look at the clock."""
        if progress.fits:
            return Verdict.STOP
        if progress.elapsed < self.timeout * _SECOND:
            return Verdict.GO_ON
        return Verdict.STOP if self.ignore else Verdict.CANCEL


@dataclass(frozen=True)
class PostCopy(Policy):
    """Some live sends, then the guest runs at the target, and fetches what it misses.

    Source: QEMU, docs/devel/migration/postcopy.rst: the switch can be asked for at any time after the start.

    Attributes
    ----------
    rounds : int
        Live sends before the switch.
    """

    name: ClassVar[str] = "post-copy"
    rounds: int = field(default=1, kw_only=True, metadata=whole("rounds", 1, _MOST))

    def verdict(self, progress: Progress) -> Verdict:
        """Switch after so many."""
        return Verdict.SWITCH if len(progress.sends) >= self.rounds else Verdict.GO_ON


POLICIES: Mapping[str, type[Policy]] = MappingProxyType(
    {one.name: one for one in (Propolis, FreeBsd, Xen, Qemu, CloudHypervisor, PostCopy)}
)


def policy(text: str | Policy) -> Policy:
    """Make a policy from words.

    Parameters
    ----------
    text
        A name in ``POLICIES``, alone or with options: ``"qemu:auto_converge=yes,initial=30"``. A policy is returned as it is.

    Raises
    ------
    InvalidArgument
        There is no such policy or option, or an option is not as it must be.

    Examples
    --------
    >>> policy("freebsd:rounds=2")
    FreeBsd(rounds=2)
    >>> str(policy("qemu:auto_converge=yes"))
    'qemu:auto_converge=True'
    """
    if isinstance(text, Policy):
        return text
    if not isinstance(text, str):
        raise TypeError(f"a policy is made from a str, not from {type(text).__name__}")
    name, colon, options = text.partition(":")
    kind = POLICIES.get(name)
    if kind is None:
        raise InvalidArgument(f"{name!r} is no policy; there are {', '.join(POLICIES)}")
    try:
        forms = {form(one).key: (one.name, form(one)) for one in fields(kind)}
        return kind(**from_words(forms, options.split(",") if colon else [], "option"))
    except InvalidArgument as error:
        raise InvalidArgument(f"{text}: {error.strerror}") from None
