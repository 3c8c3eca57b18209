"""``VmSpace.map``: it builds tables, so it is linear in them and not in pages."""

from benchmarks.figures import Figure, longer
from benchmarks.guest import Guest


def bench_map(figure: Figure, guest: Guest) -> None:
    def check(_: None) -> None:
        assert guest.space.table.tables_in_use(1) >= guest.n_pages // 512
        guest.check_gone(_)

    populate = longer(
        "populate", lambda: guest.space.populate(0, guest.size), prepare=guest.mapped,
        at_most=0.05 if guest.size >= 64 << 30 else None,
    )  # fmt: skip
    figure.take("map", guest.map, guest.fill(), populate, n=guest.n_pages, prepare=guest.unmapped, check=check)
