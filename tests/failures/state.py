"""All that a call can change in a guest, as plain values: those of one guest compare with those of another."""

from npt import StaleHandle, VmClient, VmPage, VmPages, VmSpace
from npt.space.vm import Vm
from npt.testing.inside.memory import references
from tests.failures.guest import DEVICE, FAR, PAGE, SIZE, VM_AT, BareGuest, Guest, VmGuest

__all__ = ["GROWING", "State", "state_of"]

State = dict[str, object]
GROWING = frozenset(("generation", "told", "faults"))  # a second call adds to them

_WINDOWS = ((0, 16), (FAR, 4), (DEVICE, 2), (VM_AT, 8), (SIZE - PAGE, 1))  # first byte, pages


def state_of(guest: Guest) -> State:
    """Everything, part by part."""
    usage = guest.reservoir.usage  # whatever still leaves, is settled by this
    state: State = {
        "usage": (usage, guest.reservoir.free_spans),
        "refs": {name: (len(obj._callers), sorted(references(obj).values())) for name, obj in guest.objects.items()},
        "bytes": guest.reservoir.buffer.tobytes(),
        "holds": _holds(guest),
        "told": tuple(guest.calls),
        "into": (guest.into.tobytes(), guest.loads.tobytes()),
        "turns": [vcpu._turn for vcpu in (guest.vcpu, guest.cached)],
    }
    names = {id(obj): name for name, obj in guest.objects.items()}
    for space in guest.spaces.values():
        for part, value in _space(space, names).items():
            state[part] = (*state.get(part, ()), value)  # type: ignore[misc]
    if isinstance(guest, BareGuest):
        state["lonely"] = guest.lonely._ledger is None
    if isinstance(guest, VmGuest):
        state["vm"] = _vm(guest.vm)
        state["refs of memseg"] = len(guest.memseg._callers), sorted(references(guest.memseg).values())
    return state


def _space(space: VmSpace, names: dict[int, str]) -> State:
    core, exclusion = space._core, space._core.exclusion
    state: State = {
        "ends": (exclusion.destroyed, exclusion.dying, exclusion.closing, exclusion.switching),
        "clients": [_client(gate.client, gate.state, gate.callback is not None) for gate in exclusion.gates],  # type: ignore[arg-type]
        "tracking": core.tracking,
        "owed": (sorted(core.untold), exclusion.late),
        "generation": exclusion.generation,
        "faults": exclusion.counters().faults,
        "mappings": [(m.gpa, m.length, names.get(id(m.obj)), m.offset, m.prot) for m in core.mappings.all()],
        "tables": [core.table.tables_in_use(level) for level in (4, 3, 2, 1)],
        "resident": core.table.resident,
        "reservoir": core.reservoir is None,
    }
    if not core.destroyed:
        state["entries"] = [space.ptes(gpa, n * PAGE).tobytes() for gpa, n in _WINDOWS]
    return state


def _client(client: VmClient, state: int, has_callback: bool) -> object:
    return state, has_callback, sorted(page._gpa for page in client._pages), client._count(), client.gate.inside is None


def _holds(guest: Guest) -> object:
    places = {id(page): name for name, page in guest.pages.items()}
    pages = {name: _page(page, places) for name, page in guest.pages.items()}
    return pages, {name: _batch(batch) for name, batch in guest.batches.items()}


def _page(page: VmPage, places: dict[int, str]) -> object:
    chained = [places.get(id(other)) for other in (page._next, page._before)]
    return page._client is None, page._writes, page._object is None, chained


def _batch(batch: VmPages) -> object:
    try:
        batch._holder()
    except StaleHandle:
        return None
    return str(batch._writes), len(batch._forgotten)


def _vm(vm: Vm) -> object:
    n_open = sum(not segment.closed for segment in vm._segments)
    return vm._destroyed, sorted(vm._memsegs), sorted(vm._vcpus), n_open
