"""``npt sweep``."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click

from npt.cli import show
from npt.cli.options import FORMATS, Duration, Number, Rate, Size, check_target, results_options, seed_option
from npt.cli.output import STDOUT, Output
from npt.errors import InvalidArgument
from npt.studies.dirtylog import BACKINGS
from npt.studies.executors import EXECUTORS, executor
from npt.studies.policies import policy
from npt.studies.population import WAYS
from npt.studies.results import Results
from npt.studies.shapes import SHAPES
from npt.studies.sweep import sweep
from npt.studies.tasks import TASKS
from npt.studies.tracking import MECHANISMS

__all__ = ["command"]


class _PolicyName(click.ParamType):  # type: ignore[type-arg]
    """A policy, checked, as the text that it is."""

    name = "policy"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        try:
            policy(value)
        except InvalidArgument as error:
            self.fail(str(error.strerror), param, ctx)
        return value


_TYPES: "Mapping[str, click.ParamType[Any]]" = {  # of parameters, by name
    **dict.fromkeys(("ram", "size", "vcpu_bytes", "mapping", "piece"), Size()),
    **dict.fromkeys(("format", "target_format"), click.Choice(list(FORMATS))),
    **dict.fromkeys(("downtime", "latency"), Duration(zero=True)),
    "backing": click.Choice(list(BACKINGS)),
    "bandwidth": Rate(),
    "dirty_rate": Rate(zero=True),
    "mechanism": click.Choice(list(MECHANISMS)),
    "policy": _PolicyName(),
    "shape": click.Choice(list(SHAPES)),
    "way": click.Choice(list(WAYS)),
    "window": Duration(),
}
_PLAIN: "Mapping[Any, click.ParamType[Any]]" = {  # of others, by what they are annotated with; text is itself
    bool: click.BOOL, int: click.INT, int | None: click.INT, float: Number(), str: click.STRING,
}  # fmt: skip
_OPTION = re.compile(r"\w+=.*")  # what follows a comma in a policy or writer with options
_SHOWN = {
    "precopy": ("live_sends", "bytes_sent", "downtime_ns", "total_ns", "converged"),
    "migrate": ("live_sends", "bytes_sent", "bytes_resent", "downtime_ns", "proven"),
    "dirty": ("faults", "pte_writes", "flushes", "false_dirty", "missed"),
    "dirty-log": ("phase", "iteration", "ns", "pages"),
    "populate": ("ns_per_page", "of_limit", "table_bytes", "touch_ns_median"),
}
_MOST_ROWS = 100  # of a table


def _values(text: str) -> list[str]:
    """Values with commas between them; one may have options, with commas of their own."""
    values: list[str] = []
    for piece in text.split(","):
        if values and ":" in values[-1] and _OPTION.fullmatch(piece):
            values[-1] += f",{piece}"
        else:
            values.append(piece)
    return values


def _parsed(context: click.Context, task: Callable[..., Any], words: Sequence[str], option: str) -> dict[str, list[Any]]:
    """Values by name, from words like ``policy=xen,qemu``."""
    known = dict(inspect.signature(task).parameters)
    found: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = (part.strip() for part in word.partition("="))
        if not (name and equals):
            raise click.BadParameter(f"{word!r} is not of the form NAME=VALUE,VALUE", context, param_hint=option)
        if name not in known:
            raise click.BadParameter(
                f"{name!r} is no parameter of the task; these are: {', '.join(known)}", context, param_hint=option
            )
        if name in found:
            raise click.BadParameter(f"{name} is said twice", context, param_hint=option)
        if not text:
            raise click.BadParameter(f"{name} has no values", context, param_hint=option)
        try:
            found[name] = [_type_of(known[name])(value, ctx=context) for value in _values(text)]
        except click.BadParameter as error:
            error.param_hint = f"{option} {name}"
            raise
    return found


def _parameters(
    context: click.Context, task: Callable[..., Any], axes: Sequence[str], fixed: Sequence[str]
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:  # fmt: skip
    """What varies, and what is the same at all points."""
    varied, same = _parsed(context, task, axes, "--axis"), _parsed(context, task, fixed, "--set")
    for name, values in same.items():
        if name in varied:
            raise click.BadParameter(f"{name} is an axis, too", context, param_hint="--set")
        if len(values) > 1:
            raise click.BadParameter(f"{name} has {len(values)} values; give it to --axis", context, param_hint="--set")
    return varied, same


def _type_of(parameter: inspect.Parameter) -> "click.ParamType[Any]":
    if parameter.name == "zero" and parameter.annotation is int:  # bytes in one task, a share of pages in another
        return Size(zero=True)
    return _TYPES.get(parameter.name) or _PLAIN[parameter.annotation]


@click.command("sweep")
@click.argument("task", metavar="TASK", type=click.Choice(list(TASKS)))
@click.option("--axis", "axes", multiple=True, required=True, help="NAME=VALUE,VALUE: values of a parameter; repeatable.")
@click.option("--set", "fixed", multiple=True, help="NAME=VALUE: a parameter that is the same at all points; repeatable.")
@click.option(
    "--executor", "kind", type=click.Choice(EXECUTORS), default="none", show_default=True, help="Where it runs; none: here."
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Threads or processes.")
@click.option("--scheduler", help="Address of a Dask scheduler, like tcp://host:8786, to run it there.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=check_target,
    help="Keep each point here when it is done; the same command goes on from there.",
)
@seed_option("What the seeds of the points are made of.")
@results_options
@click.pass_context
def command(
    context: click.Context, task: str, axes: Sequence[str], fixed: Sequence[str], kind: str, workers: int,
    scheduler: str | None, save: Path | None, seed: int, out: Output,
) -> None:  # fmt: skip
    """Run a study at every point of a grid, here, in threads, in processes or on a Dask cluster.

    TASK is precopy, migrate, dirty, dirty-log or populate: a study as a function of plain parameters. One that it does not know
    is answered with those that it does. Points have seeds by their place, and come out in the same order wherever they run. A
    point that fails is a row with its error, and the command then ends with 1.

    \b
    Examples:
      npt sweep precopy --axis policy=qemu,xen:sends=3,pages=9 --axis dirty_rate=100MiB,1GiB --set ram=8GiB
      npt sweep migrate --axis history=sqlite,sort --axis policy=xen,freebsd --executor processes --csv sweep.csv
      npt sweep precopy --axis ram=1GiB,2GiB --axis dirty_rate=0,1GiB --executor dask --save sweep.jsonl
    """
    _check_places(context, kind, scheduler, save, out)
    varied, same = _parameters(context, TASKS[task], axes, fixed)
    with executor(kind, workers, scheduler) as pool, out.progress() as watch:
        try:
            results = sweep(
                TASKS[task],
                {**same, **varied},  # rows have both
                executor=pool,
                seed=seed,
                save=save,
                progress=partial(watch, task),
            )
        except KeyboardInterrupt:
            if save is not None:
                click.echo(f"the points that are done are in {save}; the same command goes on from there", err=True)
            raise
    if out.shows:
        _show(results, list(varied), task)
    out.save(results)
    failed = [row for row in results.rows if row["error"] is not None]
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(results.rows)} rows are errors; the first: {failed[0]['error']}")


def _check_places(
    context: click.Context, kind: str, scheduler: str | None, save: Path | None, out: Output
) -> None:  # fmt: skip
    """One place to run at, and a file of its own for the points."""
    if scheduler is not None and kind in ("threads", "processes"):
        raise click.UsageError(f"a sweep runs in {kind} or where --scheduler says, not in both")
    if save == STDOUT:
        raise click.BadParameter("nobody goes on from standard output", context, param_hint="--save")
    if save is not None and save in (out.json_file, out.csv_file):
        raise click.BadParameter(f"{save} is the file for the rows, too", context, param_hint="--save")


def _show(results: Results, axes: Sequence[str], task: str) -> None:
    """Axes and some of the measures."""
    measures = [name for name in _SHOWN[task] if name in results.columns and name not in axes]
    table = show.table("|".join(axes), "|".join([*measures, "error"]), task)
    for row in islice(results.rows, _MOST_ROWS):
        table.add_row(*(_cell(row[name]) for name in (*axes, *measures, "error")))
    show.out(table)
    more = len(results.rows) - _MOST_ROWS
    if more > 0:
        show.note(f"and {more:,} more rows; --csv and --json have all of them, and all columns")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
