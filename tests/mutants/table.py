"""The table of mutants: which test noticed each."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutants.running import KILLED, Verdict

__all__ = ["TABLE", "Row", "as_text", "rows"]

TABLE = Path(__file__).with_name("TABLE.md")

Row = tuple[str, str, str, str]  # mutant, what it is, the test that noticed it, verdict

_HEAD = """# Mutants

Faults that were planted one at a time, and the test that noticed each. Made by `python -m tests.mutants`.

"""
_COLUMNS = ("mutant", "what is wrong", "noticed by", "verdict")


def as_text(sentences: dict[str, str], verdicts: Sequence[Verdict]) -> str:
    """The table as a page."""
    n_killed = sum(one.verdict == KILLED for one in verdicts)
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    lines += [_line([one.mutant, sentences[one.mutant], f"`{one.test}`" if one.test else "", one.verdict]) for one in verdicts]
    return f"{_HEAD}{n_killed} of {len(verdicts)} killed.\n\n" + "\n".join(lines) + "\n"


def rows(text: str) -> list[Row]:
    """What a page of the form says."""
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [_cells(line) for line in lines]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cells(line: str) -> Row:
    mutant, sentence, test, verdict = (
        cell.strip().replace("\0", "|") for cell in line.replace("\\|", "\0").strip("| ").split(" | ")
    )
    return mutant, sentence, test.strip("`"), verdict
