"""``npt warm-up``."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import click

import npt
from npt.cli import show
from npt.cli.options import results_options
from npt.cli.output import Output
from npt.kernels import jit
from npt.studies.results import Results, provenance

__all__ = ["command"]


@click.command("warm-up")
@results_options
def command(out: Output) -> None:
    """Compile all kernels now, so that no later call has to.

    They are kept on disk, each as soon as it is compiled: after an interrupt the next run goes on where this one was.

    \b
    Examples:
      npt warm-up
    """
    if jit.DISABLED:
        raise click.ClickException("NUMBA_DISABLE_JIT is set: kernels run as plain Python, and none is compiled")
    directory = jit.cache_directory()
    if directory is None:
        raise click.ClickException(
            "compiled kernels can be kept nowhere: set NUMBA_CACHE_DIR to a directory that can be written to"
        )
    start = time.perf_counter()
    with out.progress() as watch:
        n_kernels = npt.warm_up(partial(watch, "kernels"))
    row = {
        "kernels": n_kernels,
        **jit.origins()._asdict(),
        "seconds": time.perf_counter() - start,
        "directory": str(directory),
        **jit.target()._asdict(),
    }
    if out.shows:
        _show(row)
    out.save(Results([row], provenance()))
    if row["lost"]:
        raise click.ClickException(f"{row['lost']} kernels could not be saved in {directory}: is it full?")


def _show(row: Mapping[str, Any]) -> None:
    """How many kernels there are, where they came from, and where they are kept."""
    bits = "" if row["vector_bits"] is None else f", vectors of {row['vector_bits']} bits"
    show.facts(
        {
            "kernels": f"{row['kernels']:,}",
            "compiled now": f"{row['compiled']:,}",
            "found in the cache": f"{row['cached']:,}",
            "time": f"{row['seconds']:.1f} s",
            "compiled for": f"{row['cpu']}{bits}",
            "kept in": row["directory"],
        }
    )
