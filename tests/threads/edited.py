"""A kernel compiled from edited source, to see what a test is good for."""

import importlib.util
import inspect
import tempfile
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np

from npt._types import U64Array
from npt.kernels import jit

__all__ = ["edited"]


@jit.inline
def _store(array: U64Array, index: np.uint64, value: np.uint64) -> bool:
    """What is no compare-and-swap."""
    array[index] = value
    return True


def edited(module: ModuleType, *pieces: str) -> ModuleType:
    """A kernel module with a piece of its source replaced, old by new, or several; it is not cached, nobody else learns of it.

    ``_store(array, index, value)``, a plain store that is always true, may be used in the new piece.
    """
    assert pieces
    source = inspect.getsource(module)
    for piece, other in zip(pieces[::2], pieces[1::2], strict=True):
        assert source.count(piece) == 1
        source = source.replace(piece, other)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "edited.py"
        file.write_text(source)
        spec = importlib.util.spec_from_file_location("edited", file)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        made._store = _store  # type: ignore[attr-defined]
        known = dict(jit.KERNELS)
        with mock.patch.object(jit, "_DIRECTORY", None), mock.patch.dict(jit.KERNELS):
            spec.loader.exec_module(made)
            for name in set(jit.KERNELS) - set(known):
                jit.entry_point(jit.KERNELS[name][0])
        assert known == jit.KERNELS
    return made
