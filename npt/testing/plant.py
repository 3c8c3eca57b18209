"""Faults planted in Python functions, for tests that show that tests find them."""

import ast
import inspect
import itertools
import linecache
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType
from typing import Any

__all__ = ["plant"]

_numbers = itertools.count(1)


@contextmanager
def plant(target: Any, old: str, new: str) -> Iterator[None]:
    """Have a function or method with another text in place for the length of a ``with`` block.

    Its source is edited and compiled anew, decorators and all, with its own globals and what it closes over.

    Parameters
    ----------
    target
        A function of a module, or a method, property, class or static method of a class there, as ``Class.name``. For
        kernels there is ``Twins(edits=...)``.
    old, new
        What to replace in the source, which must be there exactly once, as it is written; and by what.

    Raises
    ------
    ValueError
        ``old`` is not there exactly once, or the target is not found under its name.

    Notes
    -----
    Names with two underscores in front are not mangled. What others have imported by name stays as it is; a module's
    function is best planted where it is called through its module.

    Examples
    --------
    >>> import textwrap
    >>> with plant(textwrap.shorten, "' '.join", "'-'.join"):
    ...     textwrap.shorten("a b c", 10)
    'a-b-c'
    >>> textwrap.shorten("a b c", 10)
    'a b c'
    """
    function = _function_of(target)
    owner, name = _place_of(function)
    before = vars(owner)[name]
    after = _recompiled(function, owner, old, new)
    setattr(owner, name, after)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _function_of(target: Any) -> FunctionType:
    """The function in a method, property or wrapper."""
    if isinstance(target, property):
        target = target.fget
    target = inspect.unwrap(getattr(target, "__func__", target))
    if not isinstance(target, FunctionType) or target.__module__.startswith("npt.kernels."):
        raise ValueError(f"{target!r} is no Python function; for kernels there is Twins(edits=...)")
    return target


def _place_of(function: FunctionType) -> tuple[Any, str]:
    """Module or class that has a function, and its name there."""
    *path, name = function.__qualname__.split(".")
    owner: Any = sys.modules.get(function.__module__)
    for part in path:
        owner = getattr(owner, part, None)
    if owner is None or name not in vars(owner):
        raise ValueError(f"{function.__module__} has no {function.__qualname__}")
    return owner, name


def _recompiled(function: FunctionType, owner: Any, old: str, new: str) -> Any:
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(old) != 1:
        raise ValueError(f"{function.__module__}.{function.__qualname__} has this {source.count(old)} times, not once: {old!r}")
    source = source.replace(old, new)
    file = f"<planted {function.__qualname__} {next(_numbers)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    if isinstance(owner, type):
        cells.setdefault("__class__", CellType(owner))  # for super() that the edit brought in
    factory = FunctionType(_factory(source, file, function.__name__, list(cells)), function.__globals__)
    made = factory(*(cell.cell_contents for cell in cells.values()))
    inner = getattr(made, "fget", None) or getattr(made, "__func__", made)
    inner = inspect.unwrap(inner)
    inner.__qualname__, inner.__module__ = function.__qualname__, function.__module__
    return made


def _factory(source: str, file: str, name: str, closed_over: list[str]) -> CodeType:
    """Code of a function that takes what is closed over and returns what the source defines."""
    tree = ast.parse(source, file)
    parameters = ast.arguments([], [ast.arg(one) for one in closed_over], None, [], [], None, [])
    body: list[ast.stmt] = [*tree.body, ast.Return(ast.Name(name, ast.Load()))]
    factory = ast.FunctionDef("planted", parameters, body, [], None)
    module = ast.fix_missing_locations(ast.Module([factory], []))
    (code,) = (one for one in compile(module, file, "exec").co_consts if isinstance(one, CodeType))
    return code
