"""How phases and mixes are read from words.

A text is phases with ``|`` between them; a phase is one writer, or a mix: two or more writers, each with ``*`` and its share,
and ``+`` (the same pages) or ``&`` (disjoint pages) between them. A writer is a pattern or a history, or a text in parentheses;
that may have parameters of a mix behind it. ``+`` and ``&`` count only behind a share: ``zipf:exponent=1e+0`` has none.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from npt.errors import InvalidArgument
from npt.studies.mixes import Mix, Phases
from npt.studies.parameters import Form, from_words
from npt.studies.window import Writer

__all__ = ["Reader"]

_MOST = 1 << 64  # the mix itself knows better
_OF_A_MIX: Mapping[str, tuple[str, Form]] = {
    "windows": ("n_windows", Form("windows", int, 1, _MOST)),
    "accesses": ("accesses", Form("accesses", int, 1, _MOST)),
    "seed": ("seed", Form("seed", int, 0, _MOST)),
}
_DEEPEST = 32  # parentheses in each other
_MARKS = re.compile(r"[()|*+&]")


class Reader:
    """One text that is being read.

    Parameters
    ----------
    text
        Of a writer.
    simple
        Makes a writer of words without parts, and of the seed that it has unless the words say another.
    """

    def __init__(self, text: str, simple: Callable[[str, int], Writer]) -> None:
        self._text, self._simple, self._seeds = text, simple, 0

    def read(self) -> Writer:
        """The writer that the text says.

        Raises
        ------
        InvalidArgument
            The text is not of the form, or one of its parts is not.
        """
        return self._phases(self._text, {})

    def _phases(self, text: str, said: Mapping[str, Any]) -> Writer:
        pieces = [piece for piece, _ in self._split(text, "|")]
        if len(pieces) == 1:
            return self._phase(text, said)
        if said:
            raise self._wrong(f"({text}): phases have no parameters of their own; a mix has")
        return Phases([self._phase(piece, {}) for piece in pieces])

    def _phase(self, text: str, said: Mapping[str, Any]) -> Writer:
        if len(self._split(text, "*")) == 1:
            if said:
                raise self._wrong(f"({text}): a single writer's parameters stand behind its name; those are of a mix")
            return self._single(text)
        return self._mix(text, said)

    def _mix(self, text: str, said: Mapping[str, Any]) -> Mix:
        pieces = self._split(text, "+&", behind="*")
        signs = {sign for _, sign in pieces[:-1]}
        if len(signs) > 1:
            raise self._wrong(f"{text!r} has both + and &; put one of the mixes in parentheses")
        if not signs:
            raise self._wrong(f"{text!r} is a mix of one writer; it needs two or more")
        parts = [self._part(piece) for piece, _ in pieces]
        mix = Mix(
            [one for one, _ in parts],
            [share for _, share in parts],
            disjoint=signs == {"&"},
            **{"seed": self._seeds, **said},
        )
        self._seeds += 1
        return mix

    def _part(self, text: str) -> tuple[Writer, float]:
        pieces = [piece for piece, _ in self._split(text, "*")]
        if len(pieces) != 2:
            raise self._wrong(f"{text!r} must have one share, like {pieces[0].strip() or 'zipf'}*0.3")
        try:
            share = float(pieces[1])
        except ValueError:
            raise self._wrong(f"a share must be a number, not {pieces[1]!r}") from None
        return self._single(pieces[0]), share

    def _single(self, text: str) -> Writer:
        text = text if text == self._text else text.strip()
        if text.startswith("("):
            return self._in_parentheses(text)
        made = self._simple(text, self._seeds)
        if made.row()["seed"] is not None:
            self._seeds += 1
        return made

    def _in_parentheses(self, text: str) -> Writer:
        end = self._matching(text)
        behind = text[end + 1 :].strip()
        if behind and not behind.startswith(":"):
            raise self._wrong(f"{behind!r} cannot stand behind parentheses; a mix's parameters are like :windows=100,seed=3")
        try:
            said = from_words(_OF_A_MIX, behind[1:].split(",") if behind else [])
        except InvalidArgument as error:
            raise self._wrong(str(error.strerror)) from None
        return self._phases(text[1:end], said)

    def _matching(self, text: str) -> int:
        """Place of the parenthesis that closes the first one."""
        depth = 0
        for mark in re.finditer(r"[()]", text):
            depth += 1 if mark[0] == "(" else -1
            if not depth:
                return mark.start()
        raise self._unbalanced()

    def _split(self, text: str, at: str, *, behind: str = "") -> list[tuple[str, str]]:
        """Pieces between some marks that are in no parentheses, each with the mark that ends it.

        With ``behind``, a mark counts only if that one is in the piece before it.
        """
        pieces, start, depth, due = [], 0, 0, not behind
        for mark in _MARKS.finditer(text):
            depth += {"(": 1, ")": -1}.get(mark[0], 0)
            if depth < 0:
                raise self._unbalanced()
            if depth > _DEEPEST:
                raise InvalidArgument(f"there are more than {_DEEPEST} parentheses in each other")
            if depth == 0 and mark[0] in at and due:
                pieces.append((text[start : mark.start()], mark[0]))
                start, due = mark.end(), not behind
            elif depth == 0 and mark[0] == behind:
                due = True
        if depth:
            raise self._unbalanced()
        return [*pieces, (text[start:], "")]

    def _unbalanced(self) -> InvalidArgument:
        return self._wrong("the parentheses do not match")

    def _wrong(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"{self._text}: {what}" if self._text not in what else what)
