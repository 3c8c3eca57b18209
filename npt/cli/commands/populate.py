"""``npt populate``."""

import click

from npt.cli import show
from npt.cli.options import FORMATS, Size, formats_option, results_options, seed_option, threads_option
from npt.cli.output import Output
from npt.studies.population import SIZES, WAYS, population
from npt.studies.results import Results
from npt.studies.shapes import SHAPES
from npt.units import format_size

__all__ = ["command"]


@click.command("populate")
@click.option("--size", "sizes", type=Size(), multiple=True, help="Size of a guest, like 1GiB; repeatable.  [64MiB 1GiB 4GiB]")
@click.option("--way", "ways", type=click.Choice(list(WAYS)), multiple=True, help="How it is populated; repeatable.  [all]")
@click.option("--shape", "shapes", type=click.Choice(list(SHAPES)), multiple=True, help="Of its mappings; repeatable.  [all]")
@click.option("--mapping", type=Size(), default="8MiB", show_default=True, help="Each of many mappings.")
@click.option("--piece", type=Size(), default="2MiB", show_default=True, help="Each range, for the way 'range'.")
@click.option("--touches", type=click.IntRange(min=1), default=10_000, show_default=True, help="First touches timed singly.")
@formats_option
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Timed rounds.")
@seed_option("Of scattered mappings, and of the order of touches.")
@threads_option
@results_options
def command(
    sizes: tuple[int, ...], ways: tuple[str, ...], shapes: tuple[str, ...], mapping: int, piece: int, touches: int,
    formats: tuple[str, ...], repeat: int, seed: int, threads: int | None, out: Output,
) -> None:  # fmt: skip
    """Populate guests at once, by ranges, by look-ups and on demand; tell throughput, tables and what a first touch takes.

    \b
    Examples:
      npt populate --size 16MiB --format ept --repeat 2
      npt populate --size 64MiB --way eager --way on-demand --shape one --touches 1000 --csv populate.csv
    """
    with out.progress() as watch:
        results = population(
            [FORMATS[name] for name in dict.fromkeys(formats)] or list(FORMATS.values()),
            sizes=list(dict.fromkeys(sizes)) or SIZES,
            ways=list(dict.fromkeys(ways)) or tuple(WAYS),
            shapes=list(dict.fromkeys(shapes)) or tuple(SHAPES),
            mapping=mapping,
            piece=piece,
            touches=touches,
            repeat=repeat,
            seed=seed,
            threads=threads,
            progress=watch,
        )
    if out.shows:
        _show(results)
    out.save(results)


def _show(results: Results) -> None:
    """Each way beside the limit of the memory, and the touches behind it."""
    table = show.table(
        "format|guest|shape|way", "ns/page|Mpages/s|of the limit|tables|touch, ns: 50 %|99 %|most", "a guest made resident"
    )
    before = None
    for row in results.rows:
        guest = row["format"], row["size"], row["shape"]
        if before not in (None, guest):
            table.add_section()
        table.add_row(
            *((row["format"], format_size(row["size"]), row["shape"]) if guest != before else ("", "", "")),
            row["way"],
            f"{row['ns_per_page']:.3f}",
            f"{row['pages_per_s'] / 1e6:,.2f}",
            f"{row['of_limit']:.3f} of {row['limit']}",
            format_size(row["table_bytes"]),
            *(f"{row[key]:,}" for key in ("touch_ns_median", "touch_ns_99", "touch_ns_most")),
        )
        before = guest
    show.out(table)
    show.note(
        f"least of {results.meta['repeat']} rounds, at most {results.meta['threads']} threads, seed {results.meta['seed']}"
    )
