"""One signature for each kernel, whoever calls it first and with whatever integers."""

import gc
import inspect
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npt
from npt import kernels
from npt._types import U64Array
from npt.kernels import dirty, jit
from tests.kernels.fresh import run

pytestmark = pytest.mark.skipif(jit.DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")

kernels.load_all()
NAMES = sorted(name for name in jit.KERNELS if name.startswith("npt."))
WORDS, BYTES = 512, 512 * 4096


def _argument(declared: Any, integer: Any) -> Any:
    """Something harmless of a declared type: zeroes, with no rows where there are rows."""
    if hasattr(declared, "count"):
        return tuple(_argument(declared.dtype, integer) for _ in range(declared.count))
    if not hasattr(declared, "ndim"):
        return False if str(declared) == "bool" else integer(0)
    if declared.ndim == 2:
        return np.zeros((0, 4), str(declared.dtype))
    return np.zeros(BYTES if str(declared.dtype) == "uint8" else WORDS, str(declared.dtype))


def test_warm_up__compiles_all_and_says_how_many() -> None:
    """Each kernel then has exactly one signature."""
    assert npt.warm_up() == len(jit.KERNELS)
    assert {name: len(dispatcher.signatures) for name, (dispatcher, _) in jit.KERNELS.items()} == dict.fromkeys(jit.KERNELS, 1)


def test_warm_up__tells_how_far_it_is() -> None:
    """At first, and after each kernel."""
    said: list[tuple[int, int]] = []
    n = npt.warm_up(lambda done, total: said.append((done, total)))
    assert said == [(done, n) for done in range(n + 1)]


def test_origins__count_each_kernel_once() -> None:
    """Whether it was compiled or loaded: afterwards all of them are ready."""
    n = npt.warm_up()
    compiled, cached, lost = jit.origins()
    assert compiled + cached == n
    assert lost <= compiled


def test_load_all__knows_every_kernel_file() -> None:
    """A file with kernels that ``load_all`` forgets would not be warmed up, and would not be tested here."""
    files = Path(inspect.getfile(kernels)).parent.glob("*.py")
    assert len(NAMES) > 20
    with_kernels = {f.stem for f in files if "\n@kernel(" in f.read_text(encoding="utf-8")}
    assert {name.split(".")[2] for name in NAMES} == with_kernels


@pytest.mark.parametrize("integer", [int, np.uint64, np.int64, np.uint32, np.intp], ids=lambda kind: str(kind.__name__))
@pytest.mark.parametrize("name", NAMES)
def test_kernel__any_integers_one_signature(name: str, integer: Any) -> None:
    """No call makes a second version."""
    npt.warm_up()
    dispatcher, _ = jit.KERNELS[name]
    before = list(dispatcher.signatures)
    arguments = [_argument(declared, integer) for declared in before[0]]
    if name.endswith("find_resident"):  # takes an address, and believes it
        root, context = np.zeros(512, np.uint64), np.zeros(kernels.walk.CONTEXT_WORDS, np.uint64)
        context[3] = root.ctypes.data
        arguments[0] = context.ctypes.data
    dispatcher(*arguments)
    assert dispatcher.signatures == before


@pytest.mark.parametrize("name", NAMES)
def test_kernel__releases_the_gil(name: str) -> None:
    """Threads share the work; one walk alone takes less time than letting the GIL go."""
    assert jit.KERNELS[name][0].targetoptions["nogil"] is (name != "npt.kernels.walk.find_resident")


@pytest.mark.parametrize(
    "words",
    [np.zeros(8), np.zeros(8, np.int64), np.zeros(8, np.uint32), np.zeros(16, np.uint64)[::2], np.zeros((2, 4), np.uint64)],
    ids=["float", "signed", "short", "strided", "2-d"],
)
def test_kernel__other_arrays_are_refused(words: Any) -> None:
    """An array that the signature does not name is a TypeError, not a reinterpretation."""
    npt.warm_up()
    with pytest.raises(TypeError):
        dirty.mark_leaf(words, np.zeros(1, np.uint8), 0, 0, 1)


def _store_one(words: U64Array) -> None:
    words[np.uint64(0)] = np.uint64(1)


def test_kernel__other_arrays_are_refused_at_the_first_call() -> None:
    """The call that compiles checks its arguments as all others do."""
    function = jit.kernel("void(u8[::1])")(_store_one)
    try:
        numbers = np.zeros(4)
        with pytest.raises(TypeError):
            function(numbers)
        assert not numbers.any()
    finally:
        jit.KERNELS.pop(f"{__name__}._store_one")


def test_kernel__first_call_from_many_threads() -> None:
    """All of them get its result; one compiles."""
    function, n = jit.kernel("void(u8[::1])")(_store_one), 8
    barrier, words = threading.Barrier(n), [np.zeros(1, np.uint64) for _ in range(n)]
    failures: list[BaseException] = []

    def call(own: U64Array) -> None:
        barrier.wait()
        try:
            function(own)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(own,)) for own in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jit.KERNELS.pop(f"{__name__}._store_one")
    assert failures == []
    assert [int(own[0]) for own in words] == [1] * n


FORK = """
import json, os, signal, threading, warnings
import numpy as np
from npt.kernels import jit, walk, words
warnings.simplefilter("ignore", DeprecationWarning)  # of later Pythons: the other thread is the subject
dispatcher, compiling = jit.KERNELS["npt.kernels.walk.translate"][0], threading.Event()
real = dispatcher.compile
busy = []
def compile_it(signature):
    busy.append(signature)
    compiling.set()
    made = real(signature)
    busy.clear()
    return made
dispatcher.compile = compile_it
other = threading.Thread(target=jit.entry_point, args=(walk.translate,))
other.start()
compiling.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(99 if busy else int(words.load(np.full(1, 7, np.uint64), 0)))
_, status = os.waitpid(child, 0)
other.join()
print(json.dumps([os.waitstatus_to_exitcode(status), len(dispatcher.signatures)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork__while_another_thread_compiles() -> None:
    """The fork waits for it, so that the child finds numba whole and its locks free, and compiles what it needs."""
    assert run(FORK, NUMBA_CACHE_DIR="/dev/null/cache") == [7, 1]


def test_kernels__unknown_name() -> None:
    """A module that is not there is an AttributeError, as of any module."""
    with pytest.raises(AttributeError):
        kernels.nothing  # noqa: B018


class Garbage:
    """A ring that only the collector can break; it notes in which thread that happened."""

    def __init__(self, threads: list[str]) -> None:
        self.ring, self.threads = self, threads

    def __del__(self) -> None:
        self.threads.append(threading.current_thread().name)


def test_compile__runs_no_finalizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a kernel may have a lock that a finalizer in the compiling thread would wait for."""

    @jit.kernel("u8(u8)")
    def one_more(x: np.uint64) -> np.uint64:
        return x + np.uint64(1)

    dispatcher, _ = jit.KERNELS.pop(f"{__name__}.one_more")
    threads: list[str] = []
    real = dispatcher.compile

    def compile_with_garbage(signature: str) -> Any:
        Garbage(threads)
        assert [[] for _ in range(100_000)]  # the collector comes by, if it is on
        return real(signature)

    monkeypatch.setattr(dispatcher, "compile", compile_with_garbage)
    assert dispatcher(1) == 2
    gc.collect()
    assert threads == [threading.current_thread().name]
    assert gc.isenabled()
