"""Kernels as their steps: a second, plain Python copy of the kernel files, made from the same source.

Theory of operation
-------------------
A kernel file is read, parsed and run as a module of its own, with other modules behind its imports: decorators that leave
functions as they are, and atomic operations each of which is a scheduling point. Reading or storing an element of a shared
array without an atomic operation (``leaves[leaf] = entry``) is made a point, too, by rewriting the syntax tree: that is how
the names in ``STEPPED`` are used in kernels. ``x[i] |= bits`` is two points, as it is two accesses.

While scenarios run, the chosen kernels give way to functions that call the twin in threads of the scenario, and the real
kernel anywhere else. The library always calls kernels as ``kernels.walk.look_up(...)``, so that this is all there is to it.

Guarantees: no line of a kernel is written twice; the kernels are back in place afterwards, whatever happens.
Relies on:  kernel files giving the same results under ``NUMBA_DISABLE_JIT=1``, which tests show.
"""

import ast
import builtins
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import npt
from npt.testing.points import here, touch, touch_at

__all__ = ["DEFAULT", "Twins"]

Edits = Mapping[str, Sequence[tuple[str, str]]]

DEFAULT = (
    "words.*", "guest.access", "tlb.access", "walk.find_many", "walk.find_resident", "walk.install_many", "walk.look_up",
    "walk.look_up_many", "dirty.harvest", "dirty.harvest_still", "dirty.mark", "dirty.mark_leaf", "dirty.mark_leaves",
    "tables.clear", "tables.unlink", "tables.release_tables", "tables.relink", "leaves.populate", "leaves.populate_selected",
)  # fmt: skip
"""The kernels that touch what threads share; those that do not exist are passed over."""

STEPPED = {"leaves", "line", "memory", "words"}  # arrays whose elements are steps, by their names in kernels
STEPPED_TUPLES = {"levels"}  # tuples of such arrays

_FOLDER = Path(npt.__file__).parent / "kernels"
_NO_TWIN = {"__init__", "atomics", "jit"}
_READS = {"atomic_load", "load_at", "mask64", "any64"}
_IN_TWO = {"clear8": 8}  # read and then written, so many elements: somebody may come in between
_COUNTS = {"mask64": 64, "any64": 64, "fill64": 64, "publish": 1} | _IN_TWO
_LOAD, _STORE = "__load_element", "__store_element"


class Twins:
    """Kernels that appear as their steps in scenarios.

    Parameters
    ----------
    kernels
        Their names: ``"walk.look_up"``, or ``"walk.*"`` for all of a file. By default those that touch what threads share;
        an empty tuple for none.
    edits
        By kernel file: replacements ``(old, new)`` of text, to plant faults. Each ``old`` is there exactly once; ``new`` may
        use all atomic operations. Two accesses are apart only if they are points: write ``atomic_store(levels[0], leaf,
        entry)`` or ``levels[0][leaf] = entry``, not a helper that hides the array's name.

    Raises
    ------
    ValueError
        There is no such kernel or file, or a text to be replaced is not there exactly once.

    Examples
    --------
    >>> twins = Twins(["words.load"])
    >>> sorted(twins.functions)
    ['words.load']
    """

    def __init__(self, kernels: Iterable[str] | None = None, edits: Edits | None = None) -> None:
        names = DEFAULT if kernels is None else tuple(kernels)
        planted = tuple(sorted((file, tuple(pairs)) for file, pairs in (edits or {}).items()))
        self.functions: dict[str, Callable[..., Any]] = {}
        if names or planted:
            modules = _load(planted)
            for name in names:
                self.functions |= _find(modules, name, must=kernels is not None)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Have the twins in the kernels' places."""
        before: list[tuple[ModuleType, str, Any]] = []
        try:
            for name, twin in self.functions.items():
                file, _, function = name.partition(".")
                module = import_module(f"npt.kernels.{file}")
                real = getattr(module, function)
                before.append((module, function, real))
                setattr(module, function, _either(twin, real))
            yield
        finally:
            for module, function, real in reversed(before):
                setattr(module, function, real)


def _either(twin: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    """The twin in threads of the scenario under way, else the kernel."""

    def call(*arguments: Any) -> Any:
        return (real if here() is None else twin)(*arguments)

    return call


def _find(modules: Mapping[str, ModuleType], name: str, *, must: bool) -> dict[str, Callable[..., Any]]:
    """Kernels by name, or all of a file."""
    file, _, function = name.partition(".")
    known = vars(modules[file]) if file in modules else {}
    wanted = [one for one in known if getattr(known[one], "is_kernel_of", None) == file and function in (one, "*")]
    if must and not wanted:
        raise ValueError(f"there is no kernel {name}")
    return {f"{file}.{one}": known[one] for one in wanted}


# -- loading ------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def _load(edits: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]) -> dict[str, ModuleType]:
    """All kernel files as twins, by name."""
    files = {path.stem: path for path in sorted(_FOLDER.glob("*.py")) if path.stem not in _NO_TWIN}
    planted = dict(edits)
    if unknown := planted.keys() - files.keys():
        raise ValueError(f"there is no kernel file {', '.join(sorted(unknown))}")
    loader = _Loader(files, planted)
    return {name: loader.module(name) for name in files}


class _Loader:
    """Makes twin modules, and stands behind their imports."""

    def __init__(self, files: Mapping[str, Path], edits: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        self._files, self._edits = files, edits
        self._modules: dict[str, ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}
        atomics = self._run("atomics", ast.parse(_text(_FOLDER / "atomics.py")), jit=_jit("atomics", disabled=True))
        self._modules["atomics"] = atomics
        self._steps = {name for name in vars(atomics) if name.startswith("atomic_") or name in _COUNTS}
        for name in self._steps:
            make = _in_two_steps if name in _IN_TWO else _stepped
            setattr(atomics, name, make(name, getattr(atomics, name)))
        for name in [name for name in vars(atomics) if name.endswith("_at")]:
            setattr(atomics, name, _stepped_at(name, getattr(atomics, name)))

    def module(self, name: str) -> ModuleType:
        """The twin of a kernel file."""
        if name not in self._modules:
            tree = ast.parse(_edited(name, _text(self._files[name]), self._edits.get(name, ())))
            tree = ast.fix_missing_locations(_Steps(self._steps).visit(tree))
            self._modules[name] = self._run(name, tree, jit=_jit(name, disabled=False))
        return self._modules[name]

    def _run(self, name: str, tree: ast.Module, *, jit: ModuleType) -> ModuleType:
        module = ModuleType(f"npt.testing.twins.{name}")
        scope = {"__builtins__": self._builtins, "__jit": jit, _LOAD: _load_element, _STORE: _store_element}
        if "atomics" in self._modules:  # so that edits may use all of them
            scope |= {one: getattr(self._modules["atomics"], one) for one in self._steps}
        vars(module).update(scope)
        exec(compile(tree, f"<twin of npt/kernels/{name}.py>", "exec"), vars(module))
        return module

    def _import(self, name: str, scope: Any = None, local: Any = None, wanted: Sequence[str] = (), level: int = 0) -> Any:
        room, _, file = name.rpartition(".")
        if room == "npt.kernels" and wanted:
            if file == "jit":
                return scope["__jit"]
            return self._modules["atomics"] if file == "atomics" else self.module(file)
        return __import__(name, scope, local, wanted, level)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _edited(name: str, text: str, edits: Sequence[tuple[str, str]]) -> str:
    for old, new in edits:
        if text.count(old) != 1:
            raise ValueError(f"kernels/{name}.py has this {text.count(old)} times, not once: {old!r}")
        text = text.replace(old, new)
    return text


def _jit(file: str, *, disabled: bool) -> ModuleType:
    """What a twin finds behind ``npt.kernels.jit``."""

    def kernel(signature: str, *, nogil: bool = True) -> Callable[[Callable[..., Any]], Any]:
        def decorate(function: Callable[..., Any]) -> Any:
            @functools.wraps(function)
            def call(*arguments: Any) -> Any:
                with np.errstate(over="ignore"):
                    result = function(*arguments)
                return int(result) if isinstance(result, np.integer) else result

            call.is_kernel_of = file  # type: ignore[attr-defined]
            return call

        return decorate

    module = ModuleType("npt.testing.twins.jit")
    vars(module).update(DISABLED=disabled, kernel=kernel, inline=lambda function: function)
    return module


# -- steps --------------------------------------------------------------------------------------------------------------


def _stepped(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """An operation of ``atomics.py`` with a point before it; the last argument is the array's name."""
    verb, writes, count = name.removeprefix("atomic_"), name not in _READS, _COUNTS.get(name, 1)

    def operation(array: Any, index: Any, *arguments: Any) -> Any:
        touch(verb, array, index, arguments[-1], writes, count)
        return plain(array, index, *arguments[:-1])

    return operation


def _in_two_steps(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The same for one that is not atomic: its elements are read at one point and written at another."""
    count = _IN_TWO[name]

    def operation(array: Any, index: Any, *arguments: Any) -> Any:
        first = int(index)
        touch("read", array, index, arguments[-1], False, count)
        changed = array[first : first + count].copy()
        plain(changed, 0, *arguments[:-1])
        touch("write", array, index, arguments[-1], True, count)
        array[first : first + count] = changed

    return operation


def _stepped_at(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The same for an operation on the word at an address, which has no name."""
    verb, writes = name.removesuffix("_at"), name not in _READS

    def operation(address: Any, *arguments: Any) -> Any:
        touch_at(verb, address, writes)
        return plain(address, *arguments)

    return operation


def _load_element(array: Any, index: Any, name: Any) -> Any:
    touch("read", array, index, name, False)
    return array[index]


def _store_element(array: Any, index: Any, name: Any, value: Any) -> None:
    touch("write", array, index, name, True)
    array[index] = value


class _Steps(ast.NodeTransformer):
    """Gives atomic operations the names of their arrays, and makes points of plain accesses."""

    def __init__(self, operations: set[str]) -> None:
        self._operations = operations

    def visit_Call(self, node: ast.Call) -> ast.AST:
        named = isinstance(node.func, ast.Name) and node.func.id in self._operations
        name = _name_of(node.args[0]) if named else None
        self.generic_visit(node)
        if name is not None:
            node.args.append(name)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        plain = _is_stepped(node) and isinstance(node.ctx, ast.Load)
        name = _name_of(node.value)
        self.generic_visit(node)
        return _call(_LOAD, node.value, node.slice, name) if plain else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        (target, *others) = node.targets
        plain = not others and isinstance(target, ast.Subscript) and _is_stepped(target)
        self.generic_visit(node)
        if plain and isinstance(target, ast.Subscript):
            return ast.Expr(_call(_STORE, target.value, target.slice, _name_of(target.value), node.value))
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        target = node.target
        plain = isinstance(target, ast.Subscript) and _is_stepped(target)
        self.generic_visit(node)
        if plain and isinstance(target, ast.Subscript):
            place = target.value, target.slice, _name_of(target.value)
            return ast.Expr(_call(_STORE, *place, ast.BinOp(_call(_LOAD, *place), node.op, node.value)))
        return node


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), list(arguments), [])


def _is_stepped(node: ast.Subscript) -> bool:
    """Whether it is an element of an array that threads share."""
    array = node.value
    if isinstance(array, ast.Subscript):
        return isinstance(array.value, ast.Name) and array.value.id in STEPPED_TUPLES
    return isinstance(array, ast.Name) and array.id in STEPPED


def _name_of(array: ast.expr) -> ast.expr:
    """Expression of what an array is called in labels."""
    if isinstance(array, ast.Subscript) and isinstance(array.value, ast.Name):
        return ast.Tuple([ast.Constant(array.value.id), array.slice], ast.Load())
    return ast.Constant(ast.unparse(array))
