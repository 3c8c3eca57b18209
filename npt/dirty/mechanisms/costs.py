"""``Costs``: nanoseconds an event, which turn counts into a predicted stall of the guest."""

import math
from dataclasses import dataclass, fields
from types import MappingProxyType

from npt.dirty.mechanisms.base import Events
from npt.errors import InvalidArgument
from npt.units import as_number

__all__ = ["COSTS", "Costs"]


@dataclass(frozen=True)
class Costs:
    """What each event costs the guest, in nanoseconds.

    Attributes
    ----------
    faults, log_full_exits, ring_full_exits, pte_reads, pte_writes, shoot_downs, flushes : float
        Of one event each; what is done beside the running guest costs it 0.
    source : str
        Where the figures are from.

    Raises
    ------
    InvalidArgument
        A cost that is negative or not finite.
    """

    faults: float = 0.0
    log_full_exits: float = 0.0
    ring_full_exits: float = 0.0
    pte_reads: float = 0.0
    pte_writes: float = 0.0
    shoot_downs: float = 0.0
    flushes: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        for name in Events._fields:
            as_number(getattr(self, name), name)
        if not isinstance(self.source, str):
            raise TypeError(f"source must be a str, not {type(self.source).__name__}")
        for name in Events._fields:
            cost = as_number(getattr(self, name), name)
            if not 0 <= cost < math.inf:
                raise InvalidArgument(f"{name} cannot cost {cost} ns")
            object.__setattr__(self, name, cost)

    def stall_ns(self, events: Events) -> float:
        """Nanoseconds that these events keep the guest from running.

        Parameters
        ----------
        events
            Counts, as a mechanism has them.

        Returns
        -------
        float
            The sum of counts times costs.
        """
        if not isinstance(events, Events):
            raise TypeError(f"events must be Events, not {type(events).__name__}")
        return math.fsum(n * getattr(self, name) for name, n in events._asdict().items())

    def tells(self, events: Events) -> bool:
        """Whether any event that happened has a cost here; else a stall of 0 says nothing."""
        return any(n and getattr(self, name) for name, n in events._asdict().items())


assert tuple(field.name for field in fields(Costs)) == (*Events._fields, "source")

COSTS = MappingProxyType(
    {
        "kvm-x86": Costs(
            faults=201_000 / 105,
            log_full_exits=23_165_000 / 16_668,
            ring_full_exits=5_126_000 / 1_561,
            shoot_downs=23_165_000 / 16_668,
            source=(
                "Time out of the guest by exit reason, SystemTap example kvm_service_time, KVM on Intel, "
                "https://sourceware.org/systemtap/examples/virtualization/kvm_service_time.txt. The list has none of our "
                "events; these stand in for them: for a fault the EPT misconfiguration, KVM's way to emulated devices (reason "
                "49: 105 exits, 201 us); for a ring-full exit the I/O exit, which may go to user space (30: 1561, 5126 us); "
                "for a log-full exit and a shoot-down the external interrupt (1: 16668, 23165 us). Entries are read and "
                "written beside the guest, or within those exits. What refilling a TLB costs is not told there: 0."
            ),
        ),
        "kvm-arm64": Costs(
            faults=926_000_000 / 524_288,
            source=(
                "Jing Zhang, ARM64: Guest performance improvement during dirty logging, January 2022, "
                "http://mail.spinics.net/lists/kvm/msg264015.html: KVM's dirty_log_perf_test on an Ampere Altra at 3 GHz "
                "(-b 2G -m 2 -i 2 -s anonymous_hugetlb_2mb). One vCPU takes 926 ms to dirty 2 GiB, 524288 pages, while they "
                "are logged. An upper bound of a fault: the guest's own work is in it, and splitting blocks of 2 MiB. No other "
                "event is told there: 0."
            ),
        ),
    }
)
"""Two examples, from what others measured and published; see the ``source`` of each."""
