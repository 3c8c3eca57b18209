"""``Oracle``: a slow, obvious model of the whole contract, to be used in place of the module ``npt``.

It is written from the described behaviour and shares no code with the engine: ints, dicts, lists, and a bytearray for each
page that was touched. Read it to learn the contract, before the engine. ``arguments`` says what may be asked; ``objects`` and
``memory`` where pages come from; ``guest`` what a space is; ``space``, ``dirty``, ``client``, ``page``, ``vcpu``, ``segment``
and ``vm`` what can be done with it; ``entries`` what that looks like to hardware.

It is of one thread: calls come from one, and invalidate callbacks call back into it. So nobody is ever kicked, and no kick
times out.

What is left open by the contract, and may differ from an implementation's answer: PFNs of RAM (no frame is ever used again, and
every object is one span), the counters but ``faults``, ``Reservoir.buffer`` (zeros), and the memory of the machine, which is
never too small. Entries of directories and ``table.read_table`` are not modelled; instead ``VmSpace.walk`` tells what an
independent hardware walk would come to.

Examples
--------
>>> from npt import Prot
>>> from npt.testing.oracle import Oracle
>>> oracle = Oracle()
>>> reservoir = oracle.Reservoir(1 << 20)
>>> space = oracle.VmSpace(1 << 30, reservoir=reservoir, track_dirty=True)
>>> space.map(reservoir.allocate(0x4000), 0x10000, 0x4000, Prot.RW)
>>> space.client().write(0x11000, b"x")
>>> hex(space.pte(0x11000)), space.track_dirty(0x10000, 0x4000).tolist()
('0x100001333', [2])
"""

from npt.testing.oracle.client import VmClient
from npt.testing.oracle.entries import Walk
from npt.testing.oracle.guest import Mapping
from npt.testing.oracle.memory import Reservoir, ReservoirUsage
from npt.testing.oracle.objects import MmioObject, RamObject, Span, VmObject
from npt.testing.oracle.page import VmPage, VmPages
from npt.testing.oracle.segment import Segment
from npt.testing.oracle.space import Counters, VmSpace
from npt.testing.oracle.vcpu import Vcpu, VcpuExit
from npt.testing.oracle.vm import Vm

__all__ = ["Oracle"]


class Oracle:
    """The classes of the contract, as attributes."""

    Reservoir = Reservoir
    ReservoirUsage = ReservoirUsage
    Span = Span
    VmObject = VmObject
    RamObject = RamObject
    MmioObject = MmioObject
    VmSpace = VmSpace
    Mapping = Mapping
    Counters = Counters
    Walk = Walk
    VmClient = VmClient
    VmPage = VmPage
    VmPages = VmPages
    Vcpu = Vcpu
    VcpuExit = VcpuExit
    Vm = Vm
    Segment = Segment
