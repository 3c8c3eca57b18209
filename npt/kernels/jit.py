"""The only place that knows numba's flags and its cache.

Theory of operation
-------------------
A kernel declares its one signature and is compiled for it on its first call, never at import. Python integers convert to
``uint64`` on the way in, so no call can make a second version of a kernel by accident.

Compiled kernels are kept in a directory whose name is a hash of everything the machine code depends on and that numba does
not look at: all files of this package (numba stamps only the kernel's own), the versions, the bounds checks. An edit
anywhere thus makes a new directory; nothing in it can be stale. Since a kernel has one signature, two processes that fill
the directory at once write the same thing.

Kernels are compiled without numba's reference counting: arrays are borrowed from the caller for the length of the call, and
no kernel makes one. With it, each array that goes to an inlined function costs two locked instructions, which made a walk
fifteen times slower than its loads.

Loading a kernel needs none of numba's library of compilable Python, which numba brings in all the same before it looks into
the cache: more than all the kernels of a first guest take. Here only a kernel that is compiled waits for it.

Guarantees: importing a kernel file compiles nothing and never fails for want of a writable directory; a damaged or
            unwritable cache costs a compilation, not an error.
Relies on:  the package's files do not change while they are being imported.
"""

import functools
import hashlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import llvmlite
import numba
import numpy as np
from llvmlite import binding, ir
from numba import config
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target

from npt import _collector

__all__ = [
    "DISABLED",
    "KERNELS",
    "Origins",
    "Target",
    "cache_directory",
    "entry_point",
    "inline",
    "kernel",
    "origins",
    "target",
    "warm_up",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

DISABLED = bool(config.DISABLE_JIT)
_ENTRY_POINT = "npt_entry_point"
_FIRST_CALL = "_compile_for_args"  # of a dispatcher; there until the kernel is compiled
_COMPILING = threading.RLock()
KERNELS: dict[str, tuple[Any, str]] = {}  # name -> (dispatcher, signature)


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's file cache, whose troubles are never the caller's."""

    lost = False  # whether a kernel could not be saved

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return self._load_overload(sig, target_context)  # the public form brings in numba's library first
        except Exception:  # damaged, half-written, unreadable: whatever it is, compiling anew mends it
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # a damaged index is read before it is written: begin a new one
            self._save_anew(sig, data)

    def _save_anew(self, sig: Any, data: Any) -> None:
        try:
            self.flush()
            super().save_overload(sig, data)
        except Exception:  # a full disk or a directory that went away: the kernel in memory works all the same
            self.lost = True


def _fingerprint() -> str:
    """Hash of what compiled kernels depend on."""
    digest = hashlib.sha256()
    versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    digest.update(repr((versions, bool(config.BOUNDSCHECK), config.OPT, config.CPU_NAME, config.CPU_FEATURES)).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:20]


def _candidates() -> list[Path]:
    """Where the cache may live, best first."""
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR)]
    if sys.platform == "win32":
        user = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        user = "~/Library/Caches"
    else:
        user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [Path(__file__).parent / "__pycache__", Path(user).expanduser() / "npt"]


def _find_directory() -> Path | None:
    """The first candidate that can be written to, or none."""
    if DISABLED:
        return None
    try:
        name = f"npt-{_fingerprint()}"
        candidates = _candidates()
    except (OSError, RuntimeError):  # no readable sources (a zip file), no home directory
        return None
    for parent in candidates:
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=parent / name).close()
        except OSError:
            continue
        return parent / name
    return None


_DIRECTORY = _find_directory()


def cache_directory() -> Path | None:
    """Directory of the compiled kernels; None where there is none to write to."""
    return _DIRECTORY


def _cache(function: Callable[..., Any]) -> _Cache | None:
    """A cache for one kernel in our directory, told to numba for just as long as it takes to find it."""
    if _DIRECTORY is None:
        return None
    ours = {"CACHE_DIR": str(_DIRECTORY), "CACHE_LOCATOR_CLASSES": ""}
    before = {name: getattr(config, name, "") for name in ours}
    try:
        vars(config).update(ours)
        cache = _Cache(function)
        ours_in_truth = Path(cache.cache_path).is_relative_to(_DIRECTORY)  # numba goes elsewhere when it has gone away
        return cache if ours_in_truth else None
    except (OSError, RuntimeError):
        return None
    finally:
        vars(config).update(before)


_FLAGS = {"_nrt": False}


def kernel(signature: str, *, nogil: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Make a function a kernel: compiled on its first call for ``signature`` alone, without the GIL unless told, cached.

    Callers pass Python integers and arrays; inside, all integers are of the types that the signature says. ``nogil=False``
    is for what takes less time than letting the GIL go.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if DISABLED:
            return _interpreted(function)
        dispatcher: Any = numba.njit(nogil=nogil, **_FLAGS)(function)
        cache = _cache(function)
        if cache is not None:
            dispatcher._cache = cache

        def first_call(*arguments: Any) -> Any:
            entry_point = _compile(dispatcher, signature)
            _check_types(dispatcher, arguments)
            return entry_point

        setattr(dispatcher, _FIRST_CALL, first_call)  # numba asks it for code when none fits, and calls what it returns
        KERNELS[f"{function.__module__}.{function.__name__}"] = dispatcher, signature
        return dispatcher

    return decorate


def entry_point(kernel: Any) -> Any:
    """What is called fastest: the compiled code behind a kernel, without a look at the types of its arguments.

    Only integers may be passed. A kernel in plain Python is its own entry point.
    """
    for dispatcher, signature in KERNELS.values():
        if dispatcher is kernel:
            return _compile(dispatcher, signature)
    return kernel


def _interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel as plain Python: words wrap without a warning, and counts come out as Python integers."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        with np.errstate(over="ignore"):
            result = function(*arguments)
        return int(result) if isinstance(result, np.integer) else result

    return call


def _compile(dispatcher: Any, signature: str) -> Any:
    """Compile a kernel for its one signature, if nobody has; return its entry point.

    In a thread of its own: an interrupt goes to the main thread, and numba does not survive one while it compiles. Without
    the collector, because the caller may have locks.
    """
    if _FIRST_CALL in vars(dispatcher):
        failures: list[BaseException] = []
        thread = threading.Thread(target=_compile_here, args=(dispatcher, signature, failures), name="npt compiles")
        with _collector.paused():
            thread.start()
            thread.join()
        for failure in failures:
            raise failure
    return vars(dispatcher)[_ENTRY_POINT]


def _compile_here(dispatcher: Any, signature: str, failures: list[BaseException]) -> None:
    try:
        with _COMPILING:
            if _FIRST_CALL in vars(dispatcher):
                dispatcher.compile(signature)
                dispatcher.disable_compile()
                (overload,) = dispatcher.overloads.values()
                vars(dispatcher)[_ENTRY_POINT] = overload.entry_point
                del vars(dispatcher)[_FIRST_CALL]
    except BaseException as error:
        failures.append(error)


def _check_types(dispatcher: Any, arguments: tuple[Any, ...]) -> None:
    """What numba does on every call but the one that compiles: refuse arguments that do not convert."""
    (wanted,) = dispatcher.signatures
    given = tuple(dispatcher.typeof_pyval(argument) for argument in arguments)
    for one, other in zip(given, wanted, strict=True):
        if dispatcher.typingctx.can_convert(one, other) is None:
            raise TypeError(f"{dispatcher.__name__} wants {other}, not {one}")


def inline(function: _Function) -> _Function:
    """Make a function a piece of kernels: always inlined, never called from Python."""
    if DISABLED:
        return function
    return numba.njit(forceinline=True, **_FLAGS)(function)  # type: ignore[no-any-return]


def _leave_lock() -> None:
    with suppress(RuntimeError):  # an interrupt ended the wait for it
        _COMPILING.release()


if hasattr(os, "register_at_fork"):  # a fork waits for the kernel that is being compiled: numba's locks would stay locked
    os.register_at_fork(before=_COMPILING.acquire, after_in_parent=_leave_lock, after_in_child=_leave_lock)


def warm_up(progress: Callable[[int, int], object] | None = None) -> int:
    """Compile every kernel that has been imported, or load it from the cache; return how many there are.

    ``progress`` is called with the number of those that are ready and of all, at first and after each.
    """
    for done, (dispatcher, signature) in enumerate(KERNELS.values()):
        if progress is not None:
            progress(done, len(KERNELS))
        _compile(dispatcher, signature)
    if progress is not None:
        progress(len(KERNELS), len(KERNELS))
    return len(KERNELS)


class Origins(NamedTuple):
    """Where the kernels of this process came from: how many of each kind."""

    compiled: int
    cached: int
    lost: int  # of those that were compiled: not saved, so that the next process compiles them again


def origins() -> Origins:
    """How many kernels were compiled, and how many came from the cache, until now."""
    ready = [dispatcher for dispatcher, _ in KERNELS.values() if dispatcher.overloads]
    made = [dispatcher for dispatcher in ready if not dispatcher.stats.cache_hits]
    return Origins(len(made), len(ready) - len(made), sum(getattr(one._cache, "lost", True) for one in made))


class Target(NamedTuple):
    """The machine that kernels are compiled for."""

    cpu: str
    vector_bits: int | None  # of one register; None where that is not known


_REGISTERS = {"zmm": 512, "ymm": 256, "xmm": 128}  # of x86


def target() -> Target:
    """What kernels are compiled for, by what a vector of eight words becomes."""
    vector, module = ir.VectorType(ir.IntType(64), 8), ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [vector.as_pointer()]), "twice")
    builder = ir.IRBuilder(function.append_basic_block())
    words = builder.load(function.args[0], align=8, typ=vector)
    builder.store(builder.add(words, words), function.args[0], align=8)
    builder.ret_void()
    codegen = cpu_target.target_context.codegen()
    used = re.findall("[xyz]mm", codegen._tm.emit_assembly(binding.parse_assembly(str(module))))
    return Target(codegen.magic_tuple()[1], max((_REGISTERS[register] for register in used), default=None))
