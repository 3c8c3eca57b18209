"""``npt dirty-log``."""

import click

from npt.cli.options import FORMATS, Size, format_option, results_options, threads_option
from npt.cli.output import Output
from npt.studies.dirtylog import BACKINGS, dirty_log, dirty_log_text

__all__ = ["command"]


def _as_processors(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Numbers with commas between them."""
    if value is None:
        return None
    try:
        return tuple(int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of processors like 0,1") from None


@click.command("dirty-log")
@format_option
@click.option("-i", "--iterations", type=click.IntRange(min=2), default=2, show_default=True, help="Rounds of write and get.")
@click.option("-p", "--offset", type=Size(zero=True), default="0", show_default=True, help="Where the memory starts.")
@click.option("-g", "--no-manual-protect", is_flag=True, help="Getting the log clears it; no clear step.")
@click.option("-b", "--bytes", "vcpu_bytes", type=Size(), default="1GiB", show_default=True, help="Memory of each vCPU.")
@click.option("-v", "--vcpus", type=click.IntRange(1, 1024), default=1, show_default=True, help="Each in a thread of its own.")
@click.option("-o", "--overlap", is_flag=True, help="Each vCPU goes over the memory of all.")
@click.option(
    "-s",
    "--backing",
    type=click.Choice(list(BACKINGS)),
    default="anonymous",
    show_default=True,
    help="none: memory without bytes, quick to make.",
)
@click.option("-x", "--slots", type=click.IntRange(min=1), default=1, show_default=True, help="Mappings of equal size.")
@click.option("-w", "--write-percent", type=click.IntRange(0, 100), default=100, show_default=True, help="The rest are reads.")
@click.option("-a", "--random-access", is_flag=True, help="To random pages.")
@click.option("-r", "--seed", type=click.IntRange(0, (1 << 64) - 1), default=1, show_default=True, help="Of what is random.")
@click.option("-e", "--run-while-disabling", is_flag=True, help="vCPUs go on while logging is disabled.")
@click.option("-c", "--pin", callback=_as_processors, help="A processor for each vCPU, and one for the rest, like 0,1.")
@click.option(
    "--fault-around", type=click.IntRange(min=1), default=512, show_default=True, help="Pages asked for at once to populate."
)
@threads_option
@results_options
def command(
    format_name: str, iterations: int, offset: int, no_manual_protect: bool, vcpu_bytes: int, vcpus: int, overlap: bool,
    backing: str, slots: int, write_percent: int, random_access: bool, seed: int, run_while_disabling: bool,
    pin: tuple[int, ...] | None, fault_around: int, threads: int | None, out: Output,
) -> None:  # fmt: skip
    """Time the phases of dirty logging beside vCPUs that write, with the knobs and the printout of KVM's dirty_log_perf_test.

    \b
    Examples:
      npt dirty-log -b 64MiB -v 2 -i 3
      npt dirty-log -b 256MiB -s none -w 20 -a -r 7 --json log.json
    """
    with out.progress() as watch:
        results = dirty_log(
            format=FORMATS[format_name],
            iterations=iterations,
            offset=offset,
            manual_protect=not no_manual_protect,
            vcpu_bytes=vcpu_bytes,
            vcpus=vcpus,
            overlap=overlap,
            backing=backing,
            slots=slots,
            write_percent=write_percent,
            random_access=random_access,
            seed=seed,
            run_while_disabling=run_while_disabling,
            pin=pin,
            fault_around=fault_around,
            threads=threads,
            progress=watch,
        )
    if out.shows:
        click.echo(dirty_log_text(results), nl=False)
    out.save(results)
