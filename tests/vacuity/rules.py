"""Tests that may pass by looking at nothing."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from tests.vacuity.asserting import Asserting
from tests.vacuity.filled import filled, number
from tests.vacuity.names import Term, resolve
from tests.vacuity.sources import Function, Scope, Source, Sources, inside, name_of

__all__ = ["Finding", "findings"]

_PEELED = {
    "enumerate",
    "sorted",
    "reversed",
    "list",
    "tuple",
    "set",
    "zip",
    "product",
    "len",
    "range",
    "dict",
    "pairwise",
    "islice",
}
_BROAD = {"AssertionError", "Exception", "BaseException"}


class Finding(NamedTuple):
    """A test, or a function of tests, and what is wrong with it."""

    module: str
    function: str
    line: int
    what: str


def findings(sources: Sources) -> list[Finding]:
    """All that is vacuous in a folder of tests."""
    asserting = Asserting(sources)
    found = []
    for source in sources.by_name.values():
        for name, scope in source.scopes.items():
            found += _Body(source, name, scope, asserting).findings()
    return found


class _Body:
    """A function that is looked at."""

    def __init__(self, source: Source, name: str, scope: Scope, asserting: Asserting) -> None:
        assert isinstance(scope.node, Function)
        self.source, self.name, self.scope, self.node = source, name, scope, scope.node
        self._asserting = asserting
        self._found: list[Finding] = []

    def findings(self) -> list[Finding]:
        """What is wrong with it."""
        sure = self._walk(self.node.body)
        if self._is_test and not sure and not self._found and "done" not in {arg.arg for arg in self.node.args.args}:
            some = any(map(self._fails, inside(self.node)))
            self._add(self.node, "each assertion stands under an if" if some else "asserts nothing")
        return self._found

    @property
    def _is_test(self) -> bool:
        return self.node.name.startswith("test_")

    @property
    def _is_drawn(self) -> bool:
        """Hypothesis draws what there is to see: now nothing, now much."""
        return any(isinstance(mark, ast.Call) and name_of(mark.func) == "given" for mark in self.node.decorator_list)

    def _add(self, node: ast.AST, what: str) -> None:
        self._found.append(Finding(self.source.name, self.name, getattr(node, "lineno", 0), what))

    def _walk(self, body: list[ast.stmt]) -> bool:
        """Look at statements; whether one of them is certain to assert something."""
        return max([self._statement(statement) for statement in body], default=False)  # all are looked at

    def _statement(self, node: ast.stmt) -> bool:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return False
            case ast.For(iter=each, body=body):
                inner = self._walk(body)
                if self._is_drawn or filled(Term(each, self.scope)):
                    return inner or self._some(each)
                self._loop(node, each, f"loop over {ast.unparse(each)}")
                return self._some(each)
            case ast.While(test=test, body=body):
                inner = self._walk(body)
                if isinstance(test, ast.Constant) or self._begins_true(test):
                    return inner
                self._loop(node, test, f"while {ast.unparse(test)}")
                return self._some(test)
            case ast.If(test=test, body=body, orelse=orelse):
                both = [self._walk(body), self._walk(orelse)]
                return self._some(test) or all(both)
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
                return self._try(body, handlers) | self._walk(orelse) | self._walk(finalbody)
            case ast.With(items=items, body=body):
                self._suppressed(items, body)
                return any(map(self._some, items)) | self._walk(body)
            case ast.Match(cases=cases):
                return min([self._walk(case.body) for case in cases])
            case ast.Assert():
                self._shape(node)
                return True
        return self._fails(node) or self._some(node)

    def _fails(self, node: ast.AST) -> bool:
        return self._asserting.is_one(node, self.source)

    def _begins_true(self, test: ast.expr) -> bool:
        match test:
            case ast.Compare(left=left, ops=[ast.Lt()], comparators=[right]):
                first, end = (number(Term(each, self.scope)) for each in (left, right))
                return first is not None and end is not None and first < end
        behind = resolve(Term(test, self.scope)) if isinstance(test, ast.Name) else None
        return any(
            isinstance(one, Term) and isinstance(one.expr, ast.Constant) and one.expr.value is True for one in behind or ()
        )

    def _some(self, node: ast.AST) -> bool:
        """Whether an expression has a call that asserts."""
        return self._fails(node) or any(map(self._fails, inside(node)))

    def _try(self, body: list[ast.stmt], handlers: list[ast.ExceptHandler]) -> bool:
        inner = self._walk(body)
        handled = [self._walk(handler.body) for handler in handlers]
        asserts = any(isinstance(node, ast.Assert) for statement in body for node in (statement, *inside(statement)))
        for handler in handlers:
            names = (
                {"Exception"}
                if handler.type is None
                else {name_of(n) for n in ast.walk(handler.type) if isinstance(n, ast.expr)}
            )
            uses = any(isinstance(node, ast.Name) and node.id == handler.name for node in inside(handler))
            if asserts and names & _BROAD and not uses and not any(isinstance(n, ast.Raise) for n in inside(handler)):
                self._add(handler, "swallows what is asserted")
        return inner or (bool(handlers) and all(handled))

    def _suppressed(self, items: list[ast.withitem], body: list[ast.stmt]) -> None:
        for item in items:
            match item.context_expr:
                case ast.Call(func=func, args=args) if name_of(func) == "suppress" and {*map(name_of, args)} & _BROAD:
                    if any(isinstance(node, ast.Assert) for statement in body for node in (statement, *inside(statement))):
                        self._add(item.context_expr, "swallows what is asserted")

    # -- loops ------------------------------------------------------------------------------------------------------

    def _loop(self, node: ast.For | ast.While, each: ast.expr, what: str) -> None:
        within = set(inside(node))
        if self._is_drawn or not any(self._fails(one) if self._is_test else isinstance(one, ast.Assert) for one in within):
            return
        called = [one for one in inside(self.node) if isinstance(one, Function) and any(_calls(one, inner) for inner in within)]
        changed = {text for inner in (*within, *(node for one in called for node in inside(one))) for text in _changed(inner)}
        changed |= _looked_at(each)
        if not self._is_test and any(text.startswith("self.") for text in changed - _looked_at(each)):
            return
        if not self._counted(changed, within):
            self._add(node, what)

    def _counted(self, wanted: set[str], apart: set[ast.AST]) -> bool:
        """Whether something else, here or around here, says more of one of these than that there is nothing.

        A function that is no test may also give the count, or keep it in an object: its callers are to look at it.
        """
        scope: Scope | None = self.scope
        while scope and isinstance(scope.node, Function):
            for node in inside(scope.node):
                if isinstance(node, ast.Assert) and node not in apart:
                    said = [part for part in _proofs(node.test) if _mentions(part, wanted, scope)]
                    if said and not self._unproven(node, scope, apart):
                        return True
            scope = scope.outer
        returned = [node.value for node in inside(self.node) if isinstance(node, ast.Return) and node.value is not None]
        return not self._is_test and any(_mentions(value, wanted, self.scope) for value in returned)

    def _unproven(self, node: ast.Assert, scope: Scope, apart: set[ast.AST]) -> list[ast.expr]:
        """What an assertion goes over and may be empty for all that is said elsewhere."""
        apart = apart | {node}
        found = []
        for ways in _nothings(node.test, scope):
            left = [[each for each in way if not self._proven(each, scope, apart)] for way in ways]
            if all(left):
                found.append(left[0][0])
        return found

    def _proven(self, each: ast.expr, scope: Scope, apart: set[ast.AST]) -> bool:
        return filled(Term(each, scope)) or self._counted(_looked_at(each), apart)

    def _shape(self, node: ast.Assert) -> None:
        """``all`` of nothing, ``any`` of nothing, no strays among nothing."""
        for each in [] if self._is_drawn else self._unproven(node, self.scope, set()):
            self._add(node, f"assert over {ast.unparse(each)}")


def _calls(function: Function, node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.name


def _changed(node: ast.AST) -> Iterator[str]:
    """Names that a statement of a loop counts with."""
    match node:
        case ast.AugAssign(target=target) | ast.Assign(targets=[target]) | ast.NamedExpr(target=target):
            while isinstance(target, ast.Subscript):
                target = target.value
            yield ast.unparse(target)
        case ast.Call(func=ast.Attribute(value=value, attr="append" | "add" | "update" | "extend" | "setdefault")):
            yield ast.unparse(value)


def _looked_at(each: ast.expr) -> set[str]:
    """What an iterable is made of, as text."""
    match each:
        case ast.Call(func=func, args=args) if name_of(func) in _PEELED:
            return {text for arg in args for text in _looked_at(arg)}
        case ast.Call(func=ast.Attribute(value=value, attr="items" | "values" | "keys" | "tolist")):
            return {ast.unparse(each)} | _looked_at(value)
        case ast.Call(func=ast.Attribute(value=value, attr="windows")):
            return {ast.unparse(each), f"{ast.unparse(value)}.n_windows"}
        case ast.Compare(left=left, comparators=others):
            return {text for part in (left, *others) for text in _looked_at(part)}
        case ast.IfExp(body=one, orelse=other):
            return _looked_at(one) | _looked_at(other)
        case ast.Starred(value=value) | ast.Subscript(value=value):
            return {ast.unparse(each)} | _looked_at(value)
    return {ast.unparse(each)}


def _proofs(test: ast.expr) -> Iterator[ast.expr]:
    """Parts of what is asserted that say more than that there is nothing."""
    match test:
        case ast.BoolOp(op=ast.And(), values=values):
            for value in values:
                yield from _proofs(value)
        case ast.UnaryOp(op=ast.Not()):
            return
        case ast.Compare(ops=[ast.Eq()], comparators=[right]) if _empty(right):
            return
        case ast.Compare(left=left, ops=[ast.LtE()]) if not isinstance(left, ast.Constant | ast.Call):
            return
        case _:
            yield test


def _mentions(node: ast.expr, wanted: set[str], scope: Scope) -> bool:
    """Whether something is part of an expression, or of what a name in it was made from."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name | ast.Attribute | ast.Call | ast.Subscript) and ast.unparse(part) in wanted:
            return True
        if isinstance(part, ast.Name):
            made = [each for way in _parts(part, scope) for each in way]
            if any(ast.unparse(each) in wanted for each in made):
                return True
    return False


def _empty(node: ast.expr) -> bool:
    match node:
        case ast.List(elts=[]) | ast.Tuple(elts=[]) | ast.Dict(keys=[]) | ast.Constant(value=0 | "" | b""):
            return True
        case ast.Call(func=ast.Name(id="set" | "list" | "dict" | "tuple" | "Counter" | "frozenset"), args=[]):
            return True
    return False


def _nothings(test: ast.expr, scope: Scope) -> Iterator[list[list[ast.expr]]]:
    """Iterables in an assertion that holds if they have no element: ways to see that they have, each of several to be seen."""
    match test:
        case ast.BoolOp(op=ast.And(), values=values):
            for value in values:
                yield from _nothings(value, scope)
        case ast.Call(func=ast.Name(id="all"), args=[inner]) | ast.Compare(left=ast.Name() as inner, ops=[ast.LtE()]):
            yield from ([way] for way in _parts(inner, scope, strict=True))
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call(func=ast.Name(id="any"), args=[inner])):
            yield from ([way] for way in _parts(inner, scope))
        case ast.UnaryOp(op=ast.Not(), operand=inner) | ast.Compare(left=inner, ops=[ast.LtE()]):
            yield from ([way] for way in _parts(inner, scope))
        case ast.Compare(left=inner, ops=[ast.Eq()], comparators=[right]) if _empty(right):
            yield from ([way] for way in _parts(inner, scope))
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            both = [way for side in (left, right) for way in _parts(side, scope, strict=True)]
            if len(both) == 2:
                yield [*both, [left], [right]]


def _parts(inner: ast.expr, scope: Scope, *, strict: bool = False) -> Iterator[list[ast.expr]]:
    """The iterables of a comprehension, or of the one behind a name; where no stray is wanted, its conditions do not matter."""
    behind = resolve(Term(inner, scope)) if isinstance(inner, ast.Name) else None
    if behind and len(behind) == 1 and isinstance(behind[0], Term):
        inner = behind[0].expr
    match inner:
        case ast.ListComp(generators=loops) | ast.SetComp(generators=loops) | ast.GeneratorExp(generators=loops):
            yield [_with_conditions(loop) if strict and loop.ifs else loop.iter for loop in loops]
        case ast.DictComp(generators=loops):
            yield [_with_conditions(loop) if strict and loop.ifs else loop.iter for loop in loops]
        case ast.Call(func=ast.Name(id="map" | "filter"), args=[_, *each]):
            yield each
        case ast.Call(func=ast.Name(id="set" | "list" | "sorted" | "len" | "sum" | "tuple"), args=[each]):
            yield from _parts(each, scope, strict=strict)


def _with_conditions(loop: ast.comprehension) -> ast.expr:
    return ast.ListComp(ast.Name("..."), [loop])
