"""``npt bench``."""

import sys

import click

from npt.cli import show
from npt.cli.options import FORMATS, Number, Size, formats_option, results_options, seed_option, threads_option
from npt.cli.output import Output
from npt.studies.results import Results
from npt.studies.throughput import SHARES, SIZES, largest_guest, throughput
from npt.units import format_size

__all__ = ["command"]


@click.command("bench")
@click.option("--size", "sizes", type=Size(), multiple=True, help="Size of a guest, like 1GiB; repeatable.  [64MiB 1GiB 4GiB]")
@click.option(
    "--dirty",
    "shares",
    type=Number(0, 1),
    multiple=True,
    help="Share of dirty pages; repeatable.  [0 0.01 0.1 1]",
)
@formats_option
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Timed rounds.")
@seed_option("Of the pages that are dirty.")
@threads_option
@results_options
def command(
    sizes: tuple[int, ...], shares: tuple[float, ...], formats: tuple[str, ...], repeat: int, seed: int, threads: int | None,
    out: Output,
) -> None:  # fmt: skip
    """Map, populate, harvest and unmap guests; tell the speed as a share of what this machine's memory can do.

    \b
    Examples:
      npt bench --size 64MiB --repeat 3
      npt bench --size 64MiB --dirty 0.05 --format ept --json bench.json
    """
    with out.progress() as watch:
        results = throughput(
            [FORMATS[name] for name in dict.fromkeys(formats)] or list(FORMATS.values()),
            sizes=list(dict.fromkeys(sizes)) or _default_sizes(out.quiet),
            shares=list(dict.fromkeys(shares)) or SHARES,
            repeat=repeat,
            seed=seed,
            threads=threads,
            progress=watch,
        )
    if out.shows:
        _show(results)
    out.save(results)


def _default_sizes(quiet: bool) -> list[int]:
    """The sizes that are measured unless others are asked for, as far as they fit this machine."""
    most = largest_guest()
    sizes = [size for size in SIZES if most is None or size <= most]
    for size in () if quiet else SIZES[len(sizes) :]:
        print(f"left out: {format_size(size)}, which this machine's memory cannot hold now", file=sys.stderr)
    return sizes or [SIZES[0]]


def _show(results: Results) -> None:
    """What each operation took, beside the limit of the memory."""
    table = show.table(
        "format|guest|operation|dirty", "ns/page|(median)|Mpages/s|of the limit", "one call over the whole guest, tables warm"
    )
    before = None
    for row in results.rows:
        guest = row["format"], row["size"]
        if before not in (None, guest):
            table.add_section()
        table.add_row(
            *((row["format"], format_size(row["size"])) if guest != before else ("", "")),
            row["operation"],
            "" if row["share"] is None else f"{row['share']:.4g}",
            f"{row['ns_per_page']:.3f}",
            f"{row['ns_per_page_median']:.3f}",
            f"{row['pages_per_s'] / 1e6:,.0f}",
            f"{row['of_limit']:.2f} of {row['limit']}",
        )
        before = guest
    show.out(table)
    meta = results.meta
    vectors = meta["vectors"]
    show.note(
        f"{meta['cpu']}, {meta['cpus']} CPUs; npt {meta['versions']['npt-engine']}, numpy {meta['versions']['numpy']}, "
        f"numba {meta['versions']['numba']}; kernels for {vectors['cpu']}, {vectors['vector_bits']}-bit vectors; "
        f"at most {meta['threads']} threads; least of {meta['repeat']} rounds, seed {meta['seed']}"
    )
