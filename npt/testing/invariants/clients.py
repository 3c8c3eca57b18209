"""What always holds of a space's clients, its locks and its end."""

from collections.abc import Iterator

from npt.space.gate import State
from npt.testing.inside.clients import is_locked
from npt.testing.inside.space import Inside
from npt.testing.invariants.listing import invariant

__all__: list[str] = []


@invariant("locks are free", "Nobody has the space lock or a client's.", always=False)
def _locks(inside: Inside) -> Iterator[str]:
    if is_locked(inside.lock):
        yield f"the space lock is taken: {inside.lock!r}"
    for gate in inside.gates:
        if is_locked(gate.gate.lock):
            yield f"the lock of {gate} is taken: {gate.gate.lock!r}"


@invariant("look-ups are let in", "HOLD is on no client.", always=False)
def _let_in(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        if gate.state & State.HOLD:
            yield f"{gate} is kept out"


@invariant("HOLD is under the space lock", "A client is kept out only while somebody has the space lock.", always=True)
def _hold_under_lock(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        if gate.state & State.HOLD and not is_locked(inside.lock):
            yield f"{gate} is kept out, and nobody has the space lock"


@invariant("who is on CPU is known", "A client is on CPU exactly when somebody is inside, in a known thread.", always=False)
def _on_cpu(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        if bool(gate.on_cpu) != (gate.occupant is not None) or bool(gate.on_cpu) != (gate.thread is not None):
            yield f"{gate}: on CPU is {gate.on_cpu:#x}, inside is {gate.occupant!r}, in {gate.thread!r}"


@invariant("kicks are for those inside", "A client is asked to leave only while it is on CPU.", always=False)
def _kicks(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        if gate.kicked and not gate.on_cpu:
            yield f"{gate} is asked to leave ({gate.kicked:#x}) and is not on CPU"


@invariant("time runs forward", "Generation and epoch begin with 1, and nobody entered at a later one.", always=True)
def _time(inside: Inside) -> Iterator[str]:
    if inside.generation < 1 or inside.epoch < 1:
        yield f"generation {inside.generation:#x}, epoch {inside.epoch:#x}"
    for gate in inside.gates:
        if gate.entered > inside.epoch or gate.generation > inside.generation:
            yield (
                f"{gate} entered at epoch {gate.entered:#x}, generation {gate.generation:#x}; "
                f"now {inside.epoch:#x}, {inside.generation:#x}"
            )


@invariant("each client is known once", "A client has one gate, of this space, and the space lists it once.", always=False)
def _known_once(inside: Inside) -> Iterator[str]:
    if len({id(gate.gate) for gate in inside.gates}) != len(inside.gates):
        yield f"of {len(inside.gates):#x} gates some are listed twice"
    for gate in inside.gates:
        if gate.client.gate is not gate.gate or gate.gate.exclusion is not inside.core.exclusion:
            yield f"{gate} has another gate, or one of another space"


@invariant("destroyed clients are gone", "A client that was destroyed is not listed, and has no callback.", always=False)
def _destroyed_clients(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        if gate.state & State.DESTROY and not gate.state & State.ORPHANED:
            yield f"{gate} was destroyed and is still listed"
    for gate in (*inside.gates, *inside.strays):
        if gate.state & State.DESTROY and gate.gate.callback is not None:
            yield f"{gate} was destroyed and has a callback"


@invariant("who is not listed has nothing", "A client that the space does not list holds nothing, is not on CPU.", always=True)
def _strays(inside: Inside) -> Iterator[str]:
    for gate in inside.strays:
        if gate.pages or gate.batches or gate.on_cpu:
            yield f"{gate} is not listed; it has {len(gate.pages) + len(gate.batches):#x} holds, on CPU is {gate.on_cpu:#x}"


@invariant("orphans have no space", "A space that is gone has no mappings and is dying, and all clients know.", always=True)
def _orphans(inside: Inside) -> Iterator[str]:
    if not inside.destroyed:
        return
    if inside.mappings or not inside.dying:
        yield f"the space was destroyed with {len(inside.mappings):#x} mappings, and dying is {inside.dying}"
    for gate in inside.gates:
        if not gate.state & (State.ORPHANED | State.DESTROY):
            yield f"{gate} was not told that the space is gone"


@invariant("living spaces have no orphans", "While a space is there, no client of it is an orphan.", always=False)
def _no_orphans(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        if gate.state & State.ORPHANED and not inside.destroyed:
            yield f"{gate} is an orphan of a living space"


@invariant("the end is not half-way", "A space is dying only while a call ends it, or when it is gone.", always=False)
def _not_half_way(inside: Inside) -> Iterator[str]:
    if inside.dying and not inside.destroyed:
        yield "the space is dying, and no call is under way"
