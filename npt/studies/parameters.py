"""Parameters of writers: what each may be, checked when a writer is made, and read from text."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from npt.errors import InvalidArgument
from npt.units import PAGE_SIZE, as_flag, as_int, as_number, parse_size

__all__ = ["Form", "check", "flag", "form", "from_words", "real", "whole"]

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Form:
    """What a parameter may be.

    Attributes
    ----------
    key : str
        Its name in text.
    kind : type
        ``int``, ``float`` or ``bool``.
    least, most : int
        Its range, both included.
    """

    key: str
    kind: type
    least: int
    most: int

    def typed(self, value: Any, name: str) -> Any:
        """The value, if it is of our kind; a float may still be another number."""
        if self.kind is int:
            return as_int(value, name)
        if self.kind is bool:
            return as_flag(value, name)
        return as_number(value, name)

    def check(self, value: Any, name: str) -> None:
        """Refuse what is out of range; nan is."""
        if not self.least <= value <= self.most:
            raise InvalidArgument(f"{name} must be from {self.least} to {self.most}, not {value}")

    def parse(self, text: str) -> Any:
        """The value that a text says."""
        try:
            return _WORDS[text.lower()] if self.kind is bool else int(text, 0) if self.kind is int else float(text)
        except (KeyError, ValueError):
            what = {int: "an integer", float: "a number", bool: "true or false"}[self.kind]
            raise InvalidArgument(f"{self.key} must be {what}, not {text!r}") from None


def whole(key: str, least: int, most: int) -> Mapping[str, Form]:
    """Metadata of a field that is an integer."""
    return {"form": Form(key, int, least, most)}


def real(key: str, least: int, most: int) -> Mapping[str, Form]:
    """Metadata of a field that is a float."""
    return {"form": Form(key, float, least, most)}


def flag(key: str) -> Mapping[str, Form]:
    """Metadata of a field that is a bool."""
    return {"form": Form(key, bool, 0, 1)}


def form(field: Any) -> Form:
    """What a field may be."""
    made: Form = field.metadata["form"]
    return made


def check(made: Any) -> None:
    """Check all fields of a frozen dataclass, types first, and keep them as plain ints, floats and bools."""
    typed = {}
    for field in fields(made):
        value = getattr(made, field.name)
        if value is not None or field.default is not None:
            typed[field.name] = form(field), form(field).typed(value, field.name)
    for name, (rule, value) in typed.items():
        rule.check(value, name)
        object.__setattr__(made, name, rule.kind(value))


def from_words(forms: Mapping[str, tuple[str, Form]], words: list[str], kind: str = "parameter") -> dict[str, Any]:
    """Arguments by name, from words like ``seed=3``; ``forms`` has names and forms by key.

    Where there is a parameter ``pages``, there may be a ``size`` instead; not so with other kinds.
    """
    keys = [*(["size"] if kind == "parameter" and "pages" in forms else []), *forms]
    made: dict[str, Any] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not (key and equals and value):
            raise InvalidArgument(f"{word!r} is not of the form name=value")
        if key not in keys:
            raise InvalidArgument(f"{key!r} is no {kind} of it; {'these are: ' + ', '.join(keys) if keys else 'it has none'}")
        name, rule = forms["pages" if key == "size" else key]
        if name in made:
            raise InvalidArgument(f"{key} is said twice" if key not in ("size", "pages") else "pages or size are said twice")
        made[name] = _pages(value) if key == "size" else rule.parse(value)
    return made


def _pages(text: str) -> int:
    """Pages of a size."""
    pages, rest = divmod(parse_size(text), PAGE_SIZE)
    if rest:
        raise InvalidArgument(f"size {text!r} is not a number of whole pages of {PAGE_SIZE} bytes")
    return pages
