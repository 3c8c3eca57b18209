"""``npt compare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from npt.cli import show
from npt.cli.options import Number, reading, results_options
from npt.cli.output import Output
from npt.studies.comparison import compare
from npt.studies.results import Results

__all__ = ["command"]

_FILE = click.Path(exists=False, dir_okay=False, path_type=Path)


@click.command("compare")
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@click.option("--by", multiple=True, help="Column that tells cases apart; repeatable.  [those that the files name]")
@click.option("--measure", "measures", multiple=True, help="Column to compare; repeatable.  [all with numbers]")
@click.option("--at-most", type=Number(0), help="End with 1 if a ratio is above this, or a case is in one file only.")
@results_options
def command(
    a: Path, b: Path, by: Sequence[str], measures: Sequence[str], at_most: float | None, out: Output
) -> None:  # fmt: skip
    """Set two result files side by side, case by case: how many times as large the second's measures are.

    Files are what --json or --csv of any command wrote; a CSV does not say which columns tell cases apart, so --by has to.

    \b
    Examples:
      npt bench --size 64MiB --json before.json
      npt compare before.json before.json --measure ns_per_page
      npt compare before.json before.json --measure ns_per_page --at-most 1.1 --csv ratios.csv
    """
    with reading():
        loaded = [Results.load(path) for path in (a, b)]
    results = compare(*loaded, by=by or None, measures=measures or None)
    if out.shows:
        _show(results)
    out.save(results)
    if at_most is not None:
        wrong = [row for row in results.rows if row["ratio"] is None or not row["ratio"] <= at_most]
        if wrong:
            raise click.ClickException(f"{len(wrong)} of {len(results.rows)} ratios are above {at_most:g}, or are none")


def _show(results: Results) -> None:
    by = results.meta["by"]
    varied = [name for name in by if len({repr(row[name]) for row in results.rows}) > 1]
    table = show.table("|".join([*varied, "measure", "unit"]), "A|B|B / A|quartiles|rows")
    for row in results.rows:
        table.add_row(
            *(str("" if row[name] is None else row[name]) for name in (*varied, "measure", "unit")),
            _number(row["a"]),
            _number(row["b"]),
            _number(row["ratio"]),
            "" if row["ratio"] is None else f"{_number(row['ratio_q1'])} to {_number(row['ratio_q3'])}",
            f"{row['n_a']}, {row['n_b']}",
        )
    show.out(table)
    matched, only_a, only_b = (results.meta[name] for name in ("matched", "only_a", "only_b"))
    show.note(f"{matched} cases in both, {only_a} in A only, {only_b} in B only; told apart by {', '.join(by)}")


def _number(value: Any) -> str:
    return "none" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
