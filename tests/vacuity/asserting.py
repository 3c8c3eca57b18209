"""Which functions fail a test."""

import ast

from tests.vacuity.sources import Source, Sources, inside, name_of

__all__ = ["Asserting"]

_ASSERTING = {"raises", "warns", "deprecated_call", "fail", "explore", "replay", "run_state_machine_as_test", "check_call"}
_PUBLIC = {"check", "conform", "fuzz", "main"}  # of npt.testing


class Asserting:
    """Which functions of the tests fail a test, themselves or through others that they call."""

    def __init__(self, sources: Sources) -> None:
        self._known: dict[str, set[str]] = {name: set() for name in sources.by_name}
        calls = {
            (source, name): {called for node in inside(scope.node) for called in _asserts(node)}
            for source in sources.by_name.values()
            for name, scope in source.scopes.items()
        }
        yes: dict[str, set[str]] = {name: set() for name in sources.by_name}
        grown = True
        while grown:
            self._known = {source.name: _reached(source, yes) for source in sources.by_name.values()}
            grown = False
            for (source, name), called in calls.items():
                if name not in yes[source.name] and called & self._known[source.name]:
                    yes[source.name].add(name)
                    grown = True

    def is_one(self, node: ast.AST, source: Source) -> bool:
        """Whether something fails a test if it is wrong."""
        return not self._known[source.name].isdisjoint(_asserts(node))


def _asserts(node: ast.AST) -> set[str]:
    """What may make something fail a test: the names of what it calls or hands on, or that it asserts itself."""
    match node:
        case ast.Assert() | ast.Raise(exc=None) | ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
            return {"assert"}
        case ast.Call(func=func, args=args, keywords=keywords):
            name = name_of(func)
            if name.startswith(("assert_", "check_")) or any(each.arg == "check" for each in keywords):
                return {"assert"}
            return {name, *map(name_of, args), *(name_of(word.value) for word in keywords)} - {""}
    return set()


def _reached(source: Source, yes: dict[str, set[str]]) -> set[str]:
    """Names by which a module may call functions: its own, imported ones, and methods of what it may have imported."""
    found = {"assert", *_ASSERTING, *map(_called_as, yes[source.name])}
    found |= {_called_as(name) for module in source.near for name in yes[module] if "." in name}
    for name, (module, there) in source.imports.items():
        ours = yes.get(module, set())
        if there in ours or f"{there}.__init__" in ours or (module.startswith("npt.testing") and there in _PUBLIC):
            found.add(name)
        found |= yes.get(f"{module}.{there}", set())  # a module of tests
    return found


def _called_as(name: str) -> str:
    return name.removesuffix(".__init__").split(".")[-1]
