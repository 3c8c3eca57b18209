"""Python files by what they define: functions, and what they import of each other."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["Function", "Scope", "Source", "Sources", "inside", "name_of"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Scope:
    """A module or function, with what is around it."""

    source: "Source"
    node: ast.AST
    outer: "Scope | None" = None


def inside(node: ast.AST) -> list[ast.AST]:
    """What is in a function, lambdas too, but not what is in other functions inside it; kept with the node."""
    if (known := vars(node).get("inside")) is not None:
        return known  # type: ignore[no-any-return]
    found: list[ast.AST] = []
    vars(node)["inside"] = found
    left = [node]
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
        self.bindings: dict[ast.AST, Any] = {}  # by function: what ``tests.vacuity.names`` has found out

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Names from elsewhere: of which module, and their names there."""
        found: dict[str, tuple[str, str]] = {}
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
