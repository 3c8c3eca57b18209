"""What a mutant is: a fault in the text of one or several files, and the tests that must notice it."""

import ast
import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interleavings.fault import Fault

__all__ = ["ROOT", "Edit", "Mutant", "Stale", "of_fault"]

ROOT = Path(__file__).parents[2]
_KERNELS = "npt/kernels/"

Edit = tuple[str, str, str]  # file, text that is there exactly once, text instead


class Stale(Exception):
    """A mutant whose text is not there exactly once, or that makes no Python: the code has changed, the mutant must follow."""


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes
    ----------
    name : str
        What the command line calls it, and the table.
    sentence : str
        What it is.
    edits : tuple of (file, old text, new text)
        Where it is planted; files by their place in the checkout.
    tests : tuple of str
        That are meant to notice it: files, or tests of files, as pytest takes them.
    only : str
        Which of these, as pytest's ``-k`` takes it; empty for all.
    interpreted : bool
        Kernels run as plain Python: for faults that machine code has no part in.
    hangs : bool
        It shows by a test that does not end.
    """

    name: str
    sentence: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    only: str = ""
    interpreted: bool = False
    hangs: bool = False

    @property
    def of_kernels(self) -> bool:
        """Whether it changes what is compiled."""
        return any(file.startswith(_KERNELS) for file, _, _ in self.edits)

    @property
    def unharmed(self) -> "Mutant":
        """The same tests, and no fault: they must pass."""
        return Mutant(" ".join((*self.tests, self.only)).strip(), "", (), self.tests, self.only, self.interpreted)

    def planted(self, root: Path = ROOT) -> dict[str, str]:
        """Text of each file that it changes.

        Raises
        ------
        Stale
            It does not fit the files, or what comes of it is no Python.
        """
        texts: dict[str, str] = {}
        for file, old, new in self.edits:
            text = texts.get(file) or (root / file).read_text()
            if text.count(old) != 1:
                raise Stale(f"stale mutant {self.name!r}: {file} has this {text.count(old)} times, not once: {old!r}")
            texts[file] = text.replace(old, new)
        for file, text in texts.items():
            _check(self.name, file, text)
        return texts


def _check(name: str, file: str, text: str) -> None:
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise Stale(f"stale mutant {name!r}: {file} is no Python any more, line {error.lineno}: {error.msg}") from None


def of_fault(fault: Fault, root: Path = ROOT) -> Mutant:
    """A fault of the scheduler's list, planted in the files; the scenario that finds it must do so under some schedule."""
    edits = [(f"{_KERNELS}{file}.py", old, new) for file, old, new in fault.kernels]
    for function in dict.fromkeys(vars(owner)[name] for owner, name, _, _ in fault.python):
        of_it = [(old, new) for owner, name, old, new in fault.python if vars(owner)[name] is function]
        edits.append(_in_file(function, of_it, root))
    test = f"tests/interleavings/test_scenarios.py::test_scenario__holds_under_every_schedule[{fault.variant}]"
    return Mutant(f"order: {fault.name}", fault.sentence, tuple(edits), (test,))


def _in_file(function: Any, edits: list[tuple[str, str]], root: Path) -> Edit:
    """Edits of a function's own text, indented as that is in its file."""
    lines = inspect.getsource(function)
    file = Path(inspect.getsourcefile(function) or "").relative_to(root)
    text = textwrap.dedent(lines)
    margin = lines[: lines.index(text[0])]
    for old, new in edits:
        if text.count(old) != 1:
            raise Stale(f"{file} has this {text.count(old)} times, not once: {old!r}")
        text = text.replace(old, new)
    return file.as_posix(), lines, textwrap.indent(text, margin)
