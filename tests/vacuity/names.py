"""What may stand behind a name, and behind parts of literals."""

import ast
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from tests.vacuity.sources import Function, Scope, inside, name_of

__all__ = ["DEEP", "Row", "Term", "Terms", "elements", "resolve"]

DEEP = 12  # names behind names
_SHRINK = {"clear", "pop", "popitem", "popleft", "remove", "discard"}


class Term(NamedTuple):
    """An expression, and where it stands."""

    expr: ast.expr
    scope: "Scope"


class Row(NamedTuple):
    """What is taken apart into several names."""

    columns: tuple[list["Term | Row"] | None, ...]


Terms = list[Term | Row]
Part = Callable[[int], Terms | None]


def behind(scope: Scope, name: str, deep: int) -> Terms | None:
    """What a name may stand for; None if that is not known."""
    found = _known(scope).get(name)
    if found is not None:
        return _join(part(deep) for part in found)
    return behind(scope.outer, name, deep) if scope.outer else None


def _known(scope: Scope) -> dict[str, list[Part]]:
    """All that gives a name of a scope its value."""
    known: dict[ast.AST, dict[str, list[Part]]] = scope.source.bindings
    if scope.node not in known:
        known[scope.node] = found = _bindings(scope)
        for node in inside(scope.node):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in _SHRINK and name in found:
                    found[name].append(_unknown)
    return known[scope.node]


def _unknown(deep: int) -> None:
    return None


def _bindings(scope: Scope) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    if isinstance(scope.node, Function):
        _parameters(scope, scope.node, found)
    for node in inside(scope.node):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    _bind(found, target, partial(resolve, Term(value, scope)))
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                _bind(found, target, partial(resolve, Term(value, scope)))
            case ast.AugAssign(target=ast.Name(id=name), op=op) if not isinstance(op, ast.Add | ast.BitOr):
                found.setdefault(name, []).append(_unknown)
            case ast.For(target=target, iter=each) | ast.comprehension(target=target, iter=each):
                _bind(found, target, partial(elements, Term(each, scope)))
            case ast.withitem(optional_vars=ast.expr() as target):
                _bind(found, target, _unknown)
    return found


def _bind(found: dict[str, list[Part]], target: ast.expr, part: Part) -> None:
    """A target gets a value, or each of several its part of it."""
    match target:
        case ast.Name(id=name):
            found.setdefault(name, []).append(part)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            for place, one in enumerate(targets):
                _bind(found, one, _unknown if isinstance(one, ast.Starred) else partial(_column, part, place))
        case ast.Starred(value=value):
            _bind(found, value, _unknown)


def _column(part: Part, place: int, deep: int) -> Terms | None:
    """Of what is taken apart, one place."""
    found: Terms = []
    for row in part(deep) or [Row(())]:
        if isinstance(row, Row):
            column = row.columns[place] if place < len(row.columns) else None
        elif isinstance(row.expr, ast.Tuple | ast.List) and place < len(row.expr.elts):
            column = resolve(Term(row.expr.elts[place], row.scope), deep)
        else:
            column = None
        if column is None:
            return None
        found += column
    return found


def _parameters(scope: Scope, function: Function, found: dict[str, list[Part]]) -> None:
    """A test's parameters have the values that stand over it; of others nothing is known."""
    arguments = function.args
    for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if each is not None:
            found[each.arg] = [_unknown]
    assert scope.outer is not None
    for mark in function.decorator_list:
        match mark:
            case ast.Call(func=func, args=[names, values, *_]) if name_of(func) == "parametrize":
                target = _names(names)
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        found.pop(name.id, None)
                _bind(found, target, partial(elements, Term(values, scope.outer)))


def _names(names: ast.expr) -> ast.expr:
    """The names that stand in a ``parametrize``, as a target."""
    match names:
        case ast.Constant(value=str(text)) if "," not in text:
            return ast.Name(text.strip())
        case ast.Constant(value=str(text)):
            return ast.Tuple([ast.Name(one.strip()) for one in text.split(",")])
        case ast.Tuple(elts=elts) | ast.List(elts=elts):
            return ast.Tuple([ast.Name(str(one.value)) for one in elts if isinstance(one, ast.Constant)])
    return ast.Tuple([])


def resolve(term: Term, deep: int = 0) -> Terms | None:
    """What an expression may be: names, and elements of literals, replaced by what stands behind them."""
    expr, scope = term
    if deep > DEEP:
        return None
    match expr:
        case ast.Name(id=name):
            found = behind(scope, name, deep + 1)
            if found is not None:
                return found
            there = scope.source.sources.elsewhere(scope.source, name)
            if there is not None and there[1]:
                return resolve(Term(ast.Name(there[1]), there[0].scope), deep + 1)
            return [term]
        case ast.IfExp(body=one, orelse=other):
            return _join(resolve(Term(each, scope), deep + 1) for each in (one, other))
        case ast.NamedExpr(value=value):
            return resolve(Term(value, scope), deep + 1)
        case ast.Subscript(value=value, slice=at) if not isinstance(at, ast.Slice):
            return _items(Term(value, scope), at, deep)
    return [term]


def _join(parts: Iterable[Terms | None]) -> Terms | None:
    found: Terms = []
    for part in parts:
        if part is None:
            return None
        found += part
    return found


def _items(term: Term, at: ast.expr, deep: int) -> Terms | None:
    """What stands in a literal at a place, or at any, if the place is not known."""
    place = at.value if isinstance(at, ast.Constant) else None
    found: list[Terms | None] = []
    for one in resolve(term, deep + 1) or [Row(())]:
        match one:
            case Term(ast.Dict(values=values), scope):
                found += [resolve(Term(value, scope), deep + 1) for value in values]
            case Term(ast.List(elts=elts) | ast.Tuple(elts=elts), scope):
                chosen = elts[place : place + 1] if isinstance(place, int) and place >= 0 else elts
                found += [resolve(Term(each, scope), deep + 1) for each in chosen]
            case _:
                return None
    return _join(found)


def elements(term: Term, deep: int = 0) -> Terms | None:
    """What a loop over an expression may see; None if that is not known."""
    found: list[Terms | None] = []
    for one in resolve(term, deep + 1) or [Row(())]:
        match one:
            case Term(ast.List(elts=elts) | ast.Tuple(elts=elts) | ast.Set(elts=elts), scope):
                for each in elts:
                    inner = Term(each.value if isinstance(each, ast.Starred) else each, scope)
                    found.append(elements(inner, deep + 1) if isinstance(each, ast.Starred) else _param(inner, deep + 1))
            case Term(ast.Call(func=ast.Attribute(value=value, attr="items")), scope):
                found.append(_rows(Term(value, scope), deep + 1))
            case Term(ast.Call(func=ast.Attribute(value=value, attr="values")), scope):
                found.append(_items(Term(value, scope), ast.Name("?"), deep + 1))
            case Term(ast.Call(func=func, args=args), scope) if name_of(func) in ("zip", "product"):
                found.append([Row(tuple(elements(Term(each, scope), deep + 1) for each in args))])
            case Term(ast.Call(func=func, args=[value, *_]), scope) if name_of(func) == "enumerate":
                found.append([Row((None, elements(Term(value, scope), deep + 1)))])
            case _:
                return None
    return _join(found)


def _param(term: Term, deep: int) -> Terms | None:
    """``pytest.param`` stands for what is in it."""
    match term:
        case Term(ast.Call(func=func, args=args), scope) if name_of(func) == "param":
            inner = args[0] if len(args) == 1 else ast.Tuple(args)
            return resolve(Term(inner, scope), deep)
    return resolve(term, deep)


def _rows(term: Term, deep: int) -> Terms | None:
    found: Terms = []
    for one in resolve(term, deep) or [Row(())]:
        match one:
            case Term(ast.Dict(keys=keys, values=values), scope):
                found += [Row((None, resolve(Term(value, scope), deep + 1))) for key, value in zip(keys, values, strict=True)]
            case _:
                return None
    return found
