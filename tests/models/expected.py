"""What spin says of each model in each variant, and why.

A row is one variant: the file, the macros that pick it, and the verdict. ``NOTHING`` means that spin searched every state
and found nothing; the other verdicts are the first words of what it prints when it finds something.
"""

from typing import NamedTuple

__all__ = ["ASSERTION", "CYCLE", "NOTHING", "STUCK", "VARIANTS", "Variant"]

NOTHING = "nothing"
ASSERTION = "assertion violated"  # a state that must not be
STUCK = "invalid end state"  # somebody waits for ever: a deadlock
CYCLE = "acceptance cycle"  # a run that goes on for ever without what must come: starvation


class Variant(NamedTuple):
    """One way to build a model."""

    model: str
    macros: tuple[str, ...]
    verdict: str
    why: str

    @property
    def name(self) -> str:
        """For people, and for pytest."""
        return "-".join((self.model.removesuffix(".pml"), *self.macros))

    @property
    def is_about_progress(self) -> bool:
        """Whether it says that something comes in the end, which takes a search for cycles under weak fairness."""
        return self.model == "live3.pml"


VARIANTS = (
    Variant("hold2.pml", ("FIX=0", "WAITGEN=0"), ASSERTION, "a whole harvest between reading and publishing: no flush"),
    Variant("hold2.pml", ("FIX=0", "WAITGEN=1"), ASSERTION, "waiting by generation does not help who was not seen"),
    Variant("hold2.pml", ("FIX=1", "WAITGEN=0"), NOTHING, "who is not seen on CPU reads the new generation, and flushes"),
    Variant("hold2.pml", ("FIX=1", "WAITGEN=1"), NOTHING, "nor need the kick wait for who entered after it: this is ours"),
    Variant("orphan.pml", (), ASSERTION, "the space went while the look-up waited for the end of HOLD"),
    Variant("orphan.pml", ("RECHECK=1",), NOTHING, "tested after the wait, under the lock that orphaning takes"),
    Variant("destroywin.pml", (), STUCK, "a client joined while destroy waited with its lock dropped: it waits for ever"),
    Variant("destroywin.pml", ("FLAG=1",), NOTHING, "a space that is dying takes nobody in"),
    Variant("live3.pml", ("V=0",), CYCLE, "the vCPU is on CPU whenever the kick looks, each time anew"),
    Variant("live3.pml", ("V=1",), NOTHING, "waits while it is inside from before the epoch: this is ours"),
    Variant("live3.pml", ("V=2",), NOTHING, "waits for an acknowledgement that only an exit gives"),
    Variant("tablefree.pml", ("RES=0", "UNLINK=0", "ALWAYS=0"), ASSERTION, "no kick: it is inside the table"),
    Variant("tablefree.pml", ("RES=0", "UNLINK=0", "ALWAYS=1"), ASSERTION, "it came in after the kick, nothing was unlinked"),
    Variant("tablefree.pml", ("RES=0", "UNLINK=1", "ALWAYS=0"), ASSERTION, "no kick: it had read the entry before"),
    Variant("tablefree.pml", ("RES=0", "UNLINK=1", "ALWAYS=1"), NOTHING, "unlinked, then kicked: this is ours"),
    Variant("tablefree.pml", ("RES=1", "UNLINK=0", "ALWAYS=0"), ASSERTION, "it came back in after the kick"),
    Variant("tablefree.pml", ("RES=1", "UNLINK=0", "ALWAYS=1"), ASSERTION, "the same: kicking always is not enough"),
    Variant("tablefree.pml", ("RES=1", "UNLINK=1", "ALWAYS=0"), NOTHING, "a resident page makes the kick come anyway"),
    Variant("tablefree.pml", ("RES=1", "UNLINK=1", "ALWAYS=1"), NOTHING, "this is ours"),
)  # fmt: skip
