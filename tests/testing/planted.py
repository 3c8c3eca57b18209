"""For every invariant the ways in which it is broken on purpose, in the order of the list."""

from tests.testing import planted_clients, planted_mappings, planted_memory, planted_tables
from tests.testing.planting import Plant

__all__ = ["PLANTS", "Plant"]

PLANTS: dict[str, list[Plant]] = {
    **planted_tables.PLANTS,
    **planted_mappings.PLANTS,
    **planted_clients.PLANTS,
    **planted_memory.PLANTS,
}
