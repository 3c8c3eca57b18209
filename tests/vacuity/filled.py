"""Whether an expression has an element for certain.

Nothing of what is looked at is run, but for what it imports from ``npt``, from numpy and from Python's own library.
"""

import ast
import importlib
import operator
from collections.abc import Callable
from typing import Any

from tests.vacuity.names import DEEP, Row, Term, resolve
from tests.vacuity.sources import Function, Scope, inside, name_of

__all__ = ["filled", "number"]

_ALL = {
    "zip",
    "product",
    "enumerate",
    "sorted",
    "reversed",
    "list",
    "tuple",
    "set",
    "frozenset",
    "cycle",
    "iter",
    "array",
    "asarray",
}
_ALL |= {"deque", "bytes", "bytearray", "str"}
_SAME = {"items", "keys", "values", "tolist", "copy", "encode", "ravel", "astype", "permutation", "split"}  # methods
_NUMBERS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.Mod: operator.mod, ast.BitOr: operator.or_,
}  # fmt: skip


def filled(term: Term, deep: int = 0) -> bool:
    """Whether a loop over an expression is certain to be gone through."""
    behind = resolve(term, deep + 1)
    return deep <= DEEP and bool(behind) and all(_filled(one, deep + 1) for one in behind or ())


def _filled(one: Term | Row, deep: int) -> bool:
    if isinstance(one, Row):
        return bool(one.columns)
    expr, scope = one

    def also(each: ast.expr) -> bool:
        return filled(Term(each, scope), deep + 1)

    match expr:
        case ast.List(elts=elts) | ast.Tuple(elts=elts) | ast.Set(elts=elts):
            return any(not isinstance(each, ast.Starred) or also(each.value) for each in elts)
        case ast.Dict(keys=keys, values=values):
            return any(key is not None or also(value) for key, value in zip(keys, values, strict=True))
        case ast.Constant(value=str() | bytes() as text):
            return bool(text)
        case ast.BinOp(left=left, op=ast.Add() | ast.BitOr(), right=right):
            return also(left) or also(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return any(also(a) and _positive(Term(b, scope), deep) for a, b in ((left, right), (right, left)))
        case ast.ListComp(generators=loops) | ast.SetComp(generators=loops) | ast.GeneratorExp(generators=loops):
            return all(not loop.ifs and also(loop.iter) for loop in loops)
        case ast.DictComp(generators=loops):
            return all(not loop.ifs and also(loop.iter) for loop in loops)
        case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper)):
            return also(value) and (lower is None) and (upper is None or _positive(Term(upper, scope), deep))
        case ast.Call(func=func, args=args, keywords=keywords):
            return _call(name_of(func), func, args, keywords, scope, deep)
    return _has_elements(_loaded(one))


def _one_more(end: ast.expr) -> bool:
    """``n + 1``: up to a count, itself included."""
    return (
        isinstance(end, ast.BinOp)
        and isinstance(end.op, ast.Add)
        and any(isinstance(each, ast.Constant) and each.value for each in (end.left, end.right))
    )


def _several(term: Term, deep: int) -> bool:
    """Whether there are two, as pairs of neighbours need."""
    match term.expr:
        case ast.List(elts=elts) | ast.Tuple(elts=elts):
            return sum(not isinstance(each, ast.Starred) for each in elts) > 1
        case ast.Call(func=ast.Name(id="range"), args=[end]):
            return (number(Term(end, term.scope), deep) or 0) > 1
        case ast.ListComp(generators=[ast.comprehension(iter=each, ifs=[])]):
            return all(
                isinstance(one, Term) and _several(one, deep) for one in resolve(Term(each, term.scope), deep) or [Row(())]
            )
    return False


def _has_elements(value: object) -> bool:
    try:
        return len(list(value)) > 0  # type: ignore[call-overload]
    except TypeError:
        return False


def _call(name: str, func: ast.expr, args: list[ast.expr], keywords: list[ast.keyword], scope: Scope, deep: int) -> bool:
    def also(each: ast.expr) -> bool:
        return filled(Term(each.value if isinstance(each, ast.Starred) else each, scope), deep + 1)

    if isinstance(func, ast.Attribute) and name in _SAME:
        return also(func.value)
    if name in ("range", "arange"):
        numbers = [number(Term(each, scope), deep + 1) for each in args]
        ends = [each for each in numbers if each is not None]
        if len(ends) == len(numbers):
            return bool(range(*ends))
        return numbers[0] == 0 and _one_more(args[1]) if len(args) > 1 else _one_more(args[0])
    if name in ("ones", "zeros", "full", "empty") and args:
        return _positive(Term(args[0], scope), deep)
    if name in ("count", "repeat", "enumerate") and (isinstance(func, ast.Attribute) or name != "enumerate"):
        return True  # itertools.count, threading.enumerate
    if name in ("chain", "dict") and (args or keywords):
        return any(map(also, args)) or any(each.arg for each in keywords)
    if name in ("permutations", "combinations", "combinations_with_replacement", "map", "islice") and args:
        return also(args[1] if name == "map" else args[0])
    if name == "pairwise":
        return all(
            isinstance(one, Term) and _several(one, deep + 1) for one in resolve(Term(args[0], scope), deep) or [Row(())]
        )
    if name in _ALL:
        return bool(args) and all(map(also, args if name in ("zip", "product") else args[:1]))
    function, there = _function(name, func, scope)
    return function is not None and _gives(function, Scope(there.source, function, there), deep + 1)


def _function(name: str, func: ast.expr, scope: Scope) -> tuple[Function | None, Scope]:
    source = scope.source
    if isinstance(func, ast.Attribute):
        module, there = source.imports.get(name_of(func.value), ("", ""))
        other = source.sources.by_name.get(f"{module}.{there}") or source.sources.by_name.get(module)
        return (other.functions.get(name), other.scope) if other else (None, scope)
    if name in source.functions:
        return source.functions[name], source.scope
    elsewhere = source.sources.elsewhere(source, name)
    return (elsewhere[0].functions.get(elsewhere[1]), elsewhere[0].scope) if elsewhere else (None, scope)


def _gives(function: Function, scope: Scope, deep: int) -> bool:
    """Whether what a function returns, or yields, has an element for certain."""
    yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in inside(function))
    if yields:
        return _yields(function.body, scope, deep) or any(map(_counts, inside(function)))
    returns = [node.value for node in inside(function) if isinstance(node, ast.Return)]
    return bool(returns) and all(value is not None and filled(Term(value, scope), deep) for value in returns)


def _counts(node: ast.AST) -> bool:
    """``assert n > 80``: who yields knows how often, and fails if that was too seldom."""
    match node:
        case ast.Assert(test=ast.Compare(left=ast.Name(), ops=[ast.Gt()], comparators=[ast.Constant()])):
            return True
    return False


def _yields(body: list[ast.stmt], scope: Scope, deep: int) -> bool:
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Yield()):
                return True
            case ast.Expr(value=ast.YieldFrom(value=value)) if filled(Term(value, scope), deep):
                return True
            case ast.For(iter=each, body=inner) if filled(Term(each, scope), deep) and _yields(inner, scope, deep):
                return True
            case ast.While(test=ast.Constant(), body=inner) if _yields(inner, scope, deep):
                return True
            case ast.With(body=inner) | ast.Try(body=inner) if _yields(inner, scope, deep):
                return True
    return False


def number(term: Term, deep: int = 0) -> int | None:
    """The integer that an expression is, if it can be told."""
    expr, scope = term
    if deep > DEEP:
        return None
    match expr:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value_of = number(Term(operand, scope), deep + 1)
            return None if value_of is None else -value_of
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _NUMBERS:
            one, other = number(Term(left, scope), deep + 1), number(Term(right, scope), deep + 1)
            if one is None or other is None or (isinstance(op, ast.LShift) and other > 100):
                return None
            return _NUMBERS[type(op)](one, other) if other or not isinstance(op, ast.FloorDiv | ast.Mod) else None
        case ast.Call(func=ast.Name(id="len"), args=[value]) if filled(Term(value, scope), deep + 1):
            return 1
        case ast.Call(func=ast.Attribute(attr="draw"), args=[ast.Call(func=ast.Attribute(attr="integers"), args=[least, *_])]):
            return number(Term(least, scope), deep + 1)
    behind = resolve(term, deep + 1)
    found = {_final_number(one, term, deep + 1) for one in behind or ()}
    return min(found - {None}, default=None, key=lambda n: n or 0) if None not in found else None


def _final_number(one: Term | Row, asked: Term, deep: int) -> int | None:
    if isinstance(one, Row):
        return None
    if one != asked:
        return number(one, deep)
    value = _loaded(one)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _loaded(term: Term) -> Any:
    """What a name from another package stands for."""
    expr, scope = term
    match expr:
        case ast.Attribute(value=value, attr=attr):
            return getattr(_loaded(Term(value, scope)), attr, None)
        case ast.Name(id=name) if name in scope.source.imports:
            module, there = scope.source.imports[name]
            if module.split(".")[0] in ("npt", "numpy", "string", "signal", "sys", "os", "math"):
                loaded = importlib.import_module(module)
                return getattr(loaded, there, None) if there else loaded
    return None


def _positive(term: Term, deep: int) -> bool:
    return (number(term, deep) or 0) > 0
