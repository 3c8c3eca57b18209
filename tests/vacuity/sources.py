"""Python files by what they define: which expressions may stand behind a name, and whether one has an element for certain.

Nothing of what is looked at is run, but for what it imports from ``npt``, from numpy and from Python's own library.
"""

import ast
import importlib
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Function", "Scope", "Sources", "Term", "filled", "inside", "name_of", "number"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_DEEP = 12  # names behind names

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
    "dict",
    "cycle",
    "iter",
    "max",
}
_ALL |= {"array", "pairwise", "deque", "bytes", "bytearray", "asarray", "len", "repr", "str", "Counter", "shuffle"}
_SAME = {
    "items",
    "keys",
    "values",
    "tolist",
    "copy",
    "encode",
    "ravel",
    "astype",
    "permutation",
}  # methods: as many as there were
_SHRINK = {"clear", "pop", "popitem", "popleft", "remove", "discard"}
_NUMBERS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.Mod: operator.mod, ast.BitOr: operator.or_,
}  # fmt: skip


class Term(NamedTuple):
    """An expression, and where it stands."""

    expr: ast.expr
    scope: "Scope"


class Row(NamedTuple):
    """What is taken apart into several names."""

    columns: tuple[list["Term | Row"] | None, ...]


Terms = list[Term | Row]


@dataclass(frozen=True)
class Scope:
    """A module or function, with what is around it."""

    source: "Source"
    node: ast.AST
    outer: "Scope | None" = None

    def behind(self, name: str, deep: int = 0) -> Terms | None:
        """What a name may stand for; None if that is not known."""
        found = self.source.bindings(self).get(name)
        if found is not None:
            terms: Terms = []
            for part in found:
                one = part(deep)
                if one is None:
                    return None
                terms += one
            return terms
        return self.outer.behind(name, deep) if self.outer else None


Part = Callable[[int], "Terms | None"]


@cache
def inside(node: ast.AST) -> list[ast.AST]:
    """What is in a function, lambdas too, but not what is in other functions inside it."""
    found, left = [], [node]
    while left:
        one = left.pop()
        for field in one._fields:
            value = getattr(one, field)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, ast.AST) and field not in ("ctx", "op", "ops"):
                    found.append(child)
                    if not isinstance(child, _SCOPES):
                        left.append(child)
    return found


def name_of(call: ast.expr) -> str:
    """The last name of what is called."""
    return call.attr if isinstance(call, ast.Attribute) else call.id if isinstance(call, ast.Name) else ""


class Source:
    """A file."""

    def __init__(self, sources: "Sources", name: str, path: Path) -> None:
        self.sources, self.name, self.path = sources, name, path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.scope = Scope(self, self.tree)
        self._bindings: dict[ast.AST, dict[str, list[Part]]] = {}

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Names from elsewhere: of which module, and their names there."""
        found = {}
        for node in [node for scope in (self.scope, *self.scopes.values()) for node in inside(scope.node)]:
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
            if isinstance(node, ast.Import):
                found |= {
                    alias.asname or alias.name: (alias.name, "")
                    for alias in node.names
                    if alias.asname or "." not in alias.name
                }
        return found

    @cached_property
    def scopes(self) -> dict[str, Scope]:
        """All functions, whatever they are inside of, by their names."""
        return dict(_functions(self.scope, ""))

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Those of the module itself."""
        return {node.name: node for node in self.tree.body if isinstance(node, Function)}

    @cached_property
    def near(self) -> set[str]:
        """Modules of the tests that it imports from, those that these do, and what stands beside it for all."""
        known = self.sources.by_name
        found = {name for module, there in self.imports.values() for name in (module, f"{module}.{there}")} & set(known)
        found |= {name for name in known if name.endswith(".conftest") and self.name.startswith(name.removesuffix("conftest"))}
        return found | {module for one in found for module, _ in known[one].imports.values()} & set(known)

    def bindings(self, scope: Scope) -> dict[str, list[Part]]:
        """All that gives a name of a scope its value."""
        if scope.node not in self._bindings:
            self._bindings[scope.node] = found = _bindings(scope)
            for node in inside(scope.node):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in _SHRINK and name in found:
                        found[name].append(_unknown)
        return self._bindings[scope.node]


def _functions(scope: Scope, path: str) -> Iterator[tuple[str, Scope]]:
    for node in inside(scope.node):
        if isinstance(node, _SCOPES):
            # what a class defines is not seen by name in its methods
            inner = Scope(scope.source, node, scope.outer if isinstance(scope.node, ast.ClassDef) else scope)
            if isinstance(node, Function):
                yield path + node.name, inner
            yield from _functions(inner, f"{path}{node.name}.")


class Sources:
    """All files of a folder, as modules of a package of its name."""

    def __init__(self, root: Path) -> None:
        self.by_name: dict[str, Source] = {}
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.by_name[name] = Source(self, name, path)

    def elsewhere(self, source: Source, name: str) -> tuple[Source, str] | None:
        """The file that a name was imported from, if it is one of these."""
        module, there = source.imports.get(name, ("", ""))
        return (self.by_name[module], there) if module in self.by_name else None


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
                    _bind(found, target, lambda deep, value=value: resolve(Term(value, scope), deep))  # type: ignore[misc]
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                _bind(found, target, lambda deep, value=value: resolve(Term(value, scope), deep))  # type: ignore[misc]
            case ast.AugAssign(target=ast.Name(id=name), op=op) if not isinstance(op, ast.Add | ast.BitOr):
                found.setdefault(name, []).append(_unknown)
            case ast.For(target=target, iter=each) | ast.comprehension(target=target, iter=each):
                _bind(found, target, lambda deep, each=each: elements(Term(each, scope), deep))  # type: ignore[misc]
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
                _bind(
                    found, one, _unknown if isinstance(one, ast.Starred) else lambda deep, k=place: _column(part(deep), k, deep)
                )  # type: ignore[misc]
        case ast.Starred(value=value):
            _bind(found, value, _unknown)


def _column(rows: Terms | None, place: int, deep: int) -> Terms | None:
    found: Terms = []
    for row in rows or [Row(())]:
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
                _bind(found, target, lambda deep, values=values: elements(Term(values, scope.outer), deep))  # type: ignore[arg-type,misc]


def _names(names: ast.expr) -> ast.expr:
    """The names that stand in a ``parametrize``, as a target."""
    match names:
        case ast.Constant(value=str(text)) if "," not in text:
            return ast.Name(text.strip())
        case ast.Constant(value=str(text)):
            return ast.Tuple([ast.Name(one.strip()) for one in text.split(",")])
        case ast.Tuple(elts=elts) | ast.List(elts=elts):
            return ast.Tuple([ast.Name(one.value) for one in elts if isinstance(one, ast.Constant)])
    return ast.Tuple([])


def resolve(term: Term, deep: int = 0) -> Terms | None:
    """What an expression may be: names, and elements of literals, replaced by what stands behind them."""
    expr, scope = term
    if deep > _DEEP:
        return None
    match expr:
        case ast.Name(id=name):
            behind = scope.behind(name, deep + 1)
            if behind is not None:
                return behind
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
    place = number(Term(at, term.scope), deep + 1)
    found: list[Terms | None] = []
    for one in resolve(term, deep + 1) or [Row(())]:
        match one:
            case Term(ast.Dict(values=values), scope):
                found += [resolve(Term(value, scope), deep + 1) for value in values]
            case Term(ast.List(elts=elts) | ast.Tuple(elts=elts), scope):
                chosen = elts[place : place + 1] if place is not None and place >= 0 else elts
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


def number(term: Term, deep: int = 0) -> int | None:
    """The integer that an expression is, if it can be told."""
    expr, scope = term
    if deep > _DEEP:
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


def filled(term: Term, deep: int = 0) -> bool:
    """Whether a loop over an expression is certain to be gone through."""
    behind = resolve(term, deep + 1)
    return deep <= _DEEP and bool(behind) and all(_filled(one, deep + 1) for one in behind or ())


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
        case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=step)):
            return also(value) and (lower is None) and (upper is None or _positive(Term(upper, scope), deep))
        case ast.Call(func=func, args=args, keywords=keywords):
            return _call(name_of(func), func, args, keywords, scope, deep)
    return _has_elements(_loaded(one))


def _one_more(end: ast.expr) -> bool:
    """``n + 1``: up to a count, itself included."""
    return (
        isinstance(end, ast.BinOp)
        and isinstance(end.op, ast.Add)
        and any(isinstance(each, ast.Constant) for each in (end.left, end.right))
    )


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
    if isinstance(func, ast.Attribute) and name == "split":
        return True
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
    there = source.sources.elsewhere(source, name)
    return (there[0].functions.get(there[1]), there[0].scope) if there else (None, scope)


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
