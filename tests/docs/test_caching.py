"""Caching is on, never stale, never fatal: seen from fresh processes, as a user's are."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from npt.kernels.jit import DISABLED
from tests.kernels.compiled import Compiled, warm_up
from tests.kernels.fresh import ROOT, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1"),
]

BROKEN = "/dev/null/cache"  # under a file: it cannot be made, not even by root

# Kernels of two files at work; then what was compiled and what came from a cache.
WORK = """
import json
import numpy as np
from npt.kernels import dirty, jit, tables
words, none, one = np.full(512, 0x207, np.uint64), np.empty(0, np.uint64), np.zeros(1, np.uint64)
bitmap = np.zeros(8, np.uint64)
dirty.peek(words, one, one, 0, 512, none, 0x200, bitmap)
level = np.full(512, 0x7, np.uint64)
state = np.zeros(8, np.uint64)
free, marks = (np.zeros(1, np.uint32),) * 4, (np.full(1, 3, np.uint8),) * 4  # handed out: zeroed
tables.release_tables((level,) * 4, free, state, marks, np.array([(2 << 30, 0)], np.uint32))
dispatchers = [dispatcher for dispatcher, _ in jit.KERNELS.values()]
print(json.dumps({
    "bits": bitmap.tolist(), "level": level.tolist(), "state": state.tolist(),
    "hits": sum(sum(d.stats.cache_hits.values()) for d in dispatchers),
    "misses": sum(sum(d.stats.cache_misses.values()) for d in dispatchers),
    "directory": str(jit.cache_directory()),
}))
"""
RIGHT = {"bits": [2**64 - 1] * 8, "level": [0] * 512, "state": [0, 0, 0, 0, 0, 1, 0, 0]}
KERNELS = 2


def results(said: dict[str, Any]) -> dict[str, Any]:
    """What the kernels computed, without how they came to be."""
    return {name: said[name] for name in RIGHT}


def compiled(said: dict[str, Any]) -> tuple[int, int]:
    """How many kernels came from the cache, and how many did not."""
    return said["hits"], said["misses"]


def cache_files(directory: Path) -> dict[Path, int]:
    """Files of a cache and when they were last written."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*.nb[ic]")}


def copy_package(target: Path) -> Path:
    """A copy of the package, without caches; the directory to put on the path."""
    shutil.copytree(ROOT / "npt", target / "npt", ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture(scope="module", autouse=True)
def beside(request: pytest.FixtureRequest) -> None:
    """If a test wants every kernel, those are compiled beside the tests before it: each of them takes one processor."""
    if any("every_kernel" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("compiling")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the two kernels of ``WORK`` in it; copy it before spoiling it."""
    directory = tmp_path_factory.mktemp("filled")
    assert compiled(run(WORK, NUMBA_CACHE_DIR=str(directory))) == (0, KERNELS)
    return directory


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    """A copy of that cache."""
    shutil.copytree(filled, tmp_path / "cache")
    return tmp_path / "cache"


# -- nothing too early --------------------------------------------------------------------------------------------------


def test_import__of_npt_leaves_numba_out() -> None:
    """Nor does making a space or a reservoir need it."""
    code = "import json, sys, npt; print(json.dumps([name for name in ('numba', 'llvmlite') if name in sys.modules]))"
    assert run(code) == []


def test_import__of_every_kernel_file_compiles_nothing() -> None:
    """All dispatchers are without a signature, and nothing was looked for in the cache."""
    code = """
import json
from npt import kernels
kernels.load_all()
print(json.dumps({name: len(d.signatures) + len(d.stats.cache_hits) for name, (d, _) in kernels.jit.KERNELS.items()}))
"""
    said = run(code)
    assert len(said) > 15
    assert set(said.values()) == {0}


# -- on -----------------------------------------------------------------------------------------------------------------


def test_cache__second_process_compiles_nothing(cache: Path) -> None:
    """Both kernels come from the cache, and give the same."""
    said = run(WORK, NUMBA_CACHE_DIR=str(cache))
    assert compiled(said) == (KERNELS, 0)
    assert results(said) == RIGHT


def test_cache__second_process_writes_nothing(cache: Path) -> None:
    """Not one file is touched."""
    before = cache_files(cache)
    run(WORK, NUMBA_CACHE_DIR=str(cache))
    assert cache_files(cache) == before
    assert len(before) == 2 * KERNELS


def test_cache__is_where_the_user_wants_it(cache: Path) -> None:
    """``NUMBA_CACHE_DIR`` comes first."""
    assert Path(run(WORK, NUMBA_CACHE_DIR=str(cache))["directory"]).parent == cache


# What a first look at npt does.
STORY = """
import json, sys
import npt
with npt.Reservoir(1 << 21) as reservoir, reservoir.allocate(1 << 21) as ram, npt.VmSpace(1 << 21, track_dirty=True) as space:
    space.map(ram, 0, 1 << 21, npt.Prot.RW)
    populated = space.populate(0, 1 << 21)
    client = space.client()
    with client.hold(0x1000, npt.Prot.RW) as page:
        page.writable()[:] = 1
    dirty = space.track_dirty(0, 1 << 21)
from npt.kernels import jit
print(json.dumps({
    "did": [populated, int(dirty[0])], "origins": jit.origins(),
    "library": [name for name in ("numba.np.linalg", "numba.np.arraymath", "numba.typed.typeddict") if name in sys.modules],
}))
"""


def test_cache__first_guest_of_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    """All that it needs is found, without numba's library of compilable Python, which only a compilation needs."""
    first, second = (run(STORY, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first["did"] == second["did"] == [512, 2]
    compiled_first, cached_first, _ = first["origins"]
    assert compiled_first > 5
    assert cached_first == 0
    assert second["origins"] == [0, compiled_first, 0]
    assert len(first["library"]) == 3
    assert second["library"] == []


def test_cache__bounds_are_checked_by_kernels_from_it(tmp_path: Path) -> None:
    """An error that is raised in cached code is the same."""
    code = """
import json
import numpy as np
from npt.kernels import jit, words
try:
    said = int(words.load(np.zeros(4, np.uint64), 4))
except IndexError as error:
    said = str(error)
print(json.dumps([said, jit.origins().cached]))
"""
    settings = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert [run(code, settings=settings) for _ in range(2)] == [["index is out of bounds", 0], ["index is out of bounds", 1]]


def test_cache__other_arrays_are_refused_by_kernels_from_it(cache: Path) -> None:
    """At the call that loads the kernel, and at the next."""
    code = """
import json
import numpy as np
from npt.kernels import dirty, jit
words, one, said = np.zeros(512), np.zeros(1, np.uint64), []
for _ in range(2):
    try:
        dirty.peek(words, one, one, 0, 512, one[:0], 0x200, np.zeros(8, np.uint64))
    except TypeError:
        said.append(jit.origins().cached)
print(json.dumps(said))
"""
    assert run(code, NUMBA_CACHE_DIR=str(cache)) == [1, 1]


# -- never stale --------------------------------------------------------------------------------------------------------


def edit(file: Path, before: str, after: str) -> None:
    """Change one place of a file, and nothing that the file system tells about it."""
    stat, text = file.stat(), file.read_text(encoding="utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, after), encoding="utf-8")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# In files other than those of the kernels that work above.
EDITS = [
    pytest.param("atomics.py", 'icmp_unsigned("!=", builder.and_(entries, wanted)',
                 'icmp_unsigned("==", builder.and_(entries, wanted)', "bits", [0] * 8, id="an intrinsic"),
    pytest.param("atomics.py", "_GROUP = 64  # ", "_GROUP = 56  # ", "bits", [2**56 - 1] * 8, id="a constant"),
    pytest.param("leaves.py", "fill64(leaves, leaf + done, _ZERO, _ZERO)",
                 "fill64(leaves, leaf + done, _ONE , _ZERO)", "level", [1] * 512, id="an inlined function"),
]  # fmt: skip
AN_EDIT = EDITS[0].values


@pytest.mark.parametrize(("file", "before", "after", "name", "changed"), EDITS)
def test_cache__edited_helper_in_another_file(
    tmp_path: Path, file: str, before: str, after: str, name: str, changed: object
) -> None:
    """The kernel's own file is the same, and so are all times: the new code runs all the same."""
    package, cache = copy_package(tmp_path), str(tmp_path / "cache")
    assert results(run(WORK, package=package, NUMBA_CACHE_DIR=cache)) == RIGHT
    edit(package / "npt" / "kernels" / file, before, after)
    assert run(WORK, package=package, NUMBA_CACHE_DIR=cache)[name] == changed


def test_cache__edited_helper_with_the_users_own_locator(tmp_path: Path) -> None:
    """Numba lets users choose where caches live; that must not bring back old code either."""
    package = copy_package(tmp_path)
    file, before, after, name, changed = AN_EDIT
    assert results(run(WORK, package=package, NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator")) == RIGHT
    edit(package / "npt" / "kernels" / str(file), str(before), str(after))
    assert run(WORK, package=package, NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator")[str(name)] == changed


@pytest.mark.parametrize(
    ("variable", "value"), [("NUMBA_BOUNDSCHECK", "1"), ("NUMBA_CPU_NAME", "generic"), ("NUMBA_CPU_FEATURES", "")]
)
def test_cache__other_settings_are_other_code(cache: Path, variable: str, value: str) -> None:
    """Nothing that was compiled for other settings is loaded."""
    said = run(WORK, settings={variable: value, "NUMBA_CACHE_DIR": str(cache)})
    assert results(said) == RIGHT
    assert compiled(said) == (0, KERNELS)


# -- never fatal: nowhere to write ---------------------------------------------------------------------------------------


def test_cache__directory_that_cannot_be_made() -> None:
    """Kernels are compiled, and work."""
    said = run(WORK, NUMBA_CACHE_DIR=BROKEN)
    assert results(said) == RIGHT
    assert said["directory"] == "None"


def set_writable(directory: Path, writable: bool) -> None:
    """Permissions of a directory and of all in it."""
    for path in sorted([directory, *directory.rglob("*")], reverse=not writable):
        bits = 0o755 if path.is_dir() else 0o644
        path.chmod(bits if writable else bits & 0o555)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A copy of the package that cannot be written to; for processes that obey permissions."""
    if sys.platform != "linux":
        pytest.skip("knows how to bind root to permissions on Linux only")
    package = copy_package(tmp_path / "installed")
    set_writable(package, False)
    try:
        yield package
    finally:
        set_writable(package, True)


def test_cache__read_only_installation_without_a_home(read_only: Path) -> None:
    """Neither the package nor the user's directory can be written to: kernels are compiled, and work."""
    said = run(WORK, package=read_only, obedient=True, HOME="/dev/null", XDG_CACHE_HOME=BROKEN)
    assert results(said) == RIGHT
    assert said["directory"] == "None"


def test_cache__read_only_installation_with_a_home(read_only: Path, tmp_path: Path) -> None:
    """The user's own cache directory is the next best, and the second process finds everything there."""
    home, user = str(tmp_path), str(tmp_path / "user")
    said = [run(WORK, package=read_only, obedient=True, HOME=home, XDG_CACHE_HOME=user) for _ in range(2)]
    assert [compiled(one) for one in said] == [(0, KERNELS), (KERNELS, 0)]
    assert Path(said[0]["directory"]).is_relative_to(tmp_path / "user")


def test_cache__read_only_installation_with_an_empty_cache_in_it(read_only: Path, tmp_path: Path) -> None:
    """A directory that is there but cannot be written to is passed over for the user's own."""
    set_writable(read_only, True)
    run("from npt.kernels import jit; print('null')", package=read_only)
    assert list((read_only / "npt" / "kernels" / "__pycache__").glob("npt-*"))
    set_writable(read_only, False)
    said = run(WORK, package=read_only, obedient=True, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "user"))
    assert Path(said["directory"]).is_relative_to(tmp_path / "user")


@pytest.mark.skipif(sys.platform != "linux", reason="knows how to bind root to permissions on Linux only")
def test_cache__read_only_cache(cache: Path) -> None:
    """A filled cache that cannot be written to costs a compilation at most, never an error."""
    set_writable(cache, False)
    try:
        assert results(run(WORK, obedient=True, NUMBA_CACHE_DIR=str(cache))) == RIGHT
    finally:
        set_writable(cache, True)


def test_origins__of_kernels_that_are_kept_nowhere() -> None:
    """All of them will be compiled again."""
    code = f"{WORK}print(json.dumps(jit.origins()))"
    assert run(code, NUMBA_CACHE_DIR=BROKEN) == [KERNELS, 0, KERNELS]


def test_cache__directory_that_goes_away(tmp_path: Path) -> None:
    """Removed between the import and the first call."""
    code = WORK.replace("words = np.full", f"import shutil; shutil.rmtree({str(tmp_path)!r})\nwords = np.full", 1)
    assert results(run(code, NUMBA_CACHE_DIR=str(tmp_path))) == RIGHT


def test_cache__directory_that_goes_away_before_the_kernels_are_imported(tmp_path: Path) -> None:
    """Numba would then keep them beside their files, where nobody notices that another file was edited."""
    package = copy_package(tmp_path)
    code = "from npt.kernels import jit; d = jit.cache_directory(); d.rmdir(); d.write_text('in the way')\n" + WORK
    said = run(code, package=package, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert results(said) == RIGHT
    assert list(package.rglob("*.nb[ic]")) == []


def test_cache__no_home_directory_at_all(tmp_path: Path) -> None:
    """A user without one can import the kernels."""
    package = copy_package(tmp_path)
    code = f"import pathlib\npathlib.Path.expanduser = lambda self: (_ for _ in ()).throw(RuntimeError('no home'))\n{WORK}"
    assert results(run(code, package=package)) == RIGHT


# -- never fatal: damage -----------------------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "garbage": lambda data: bytes(range(256)) * (len(data) // 256 + 1),
}


def spoil(cache: Path, pattern: str, damage: str) -> None:
    """Damage all files of a kind."""
    for path in cache.rglob(pattern):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))


@pytest.mark.parametrize(
    ("pattern", "damage"), [("*.nbi", "empty"), ("*.nbi", "garbage"), ("*.nbc", "half"), ("*.nbc", "garbage")]
)
def test_cache__damaged_files(cache: Path, pattern: str, damage: str) -> None:
    """They cost a compilation, not an error."""
    spoil(cache, pattern, damage)
    said = run(WORK, NUMBA_CACHE_DIR=str(cache))
    assert results(said) == RIGHT
    assert compiled(said) == (0, KERNELS)


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_cache__damage_is_mended(cache: Path, pattern: str) -> None:
    """The compilation that a damaged file cost is the last: the next process finds all it needs."""
    spoil(cache, pattern, "half")
    run(WORK, NUMBA_CACHE_DIR=str(cache))
    assert compiled(run(WORK, NUMBA_CACHE_DIR=str(cache))) == (KERNELS, 0)


def test_cache__files_are_directories(cache: Path) -> None:
    """Whatever stands in the way."""
    for path in list(cache.rglob("*.nb[ic]")):
        path.unlink()
        path.mkdir()
    assert results(run(WORK, NUMBA_CACHE_DIR=str(cache))) == RIGHT


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_cache__missing_files(cache: Path, pattern: str) -> None:
    """An index without its data, or data without their index."""
    for path in cache.rglob(pattern):
        path.unlink()
    assert results(run(WORK, NUMBA_CACHE_DIR=str(cache))) == RIGHT


def test_cache__one_kernel_missing(cache: Path) -> None:
    """Kernels that are compiled work beside those that were loaded before them."""
    for path in cache.rglob("tables.release_tables*"):
        path.unlink()
    said = run(WORK, NUMBA_CACHE_DIR=str(cache))
    assert results(said) == RIGHT
    assert compiled(said) == (KERNELS - 1, 1)


def test_origins__kernels_that_could_not_be_saved(tmp_path: Path) -> None:
    """A file has taken the place of the directory: the kernel works, and is said to be lost."""
    code = """
import json, shutil
import numpy as np
from npt.kernels import jit, words
directory = jit.cache_directory()
found = int(words.load(np.full(1, 7, np.uint64), 0)), *jit.origins()
shutil.rmtree(directory)
directory.write_text("in the way")
words.store(np.zeros(1, np.uint64), 0, 1)
print(json.dumps([found, jit.origins()]))
"""
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)) == [[7, 1, 0, 0], [2, 0, 1]]


# -- two at once ---------------------------------------------------------------------------------------------------------


def test_cache__two_processes_fill_it_at_once(tmp_path: Path) -> None:
    """Both give the right results, and a third compiles nothing."""
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: run(WORK, NUMBA_CACHE_DIR=str(tmp_path)), range(2)))
    assert [results(one) for one in said] == [RIGHT, RIGHT]
    third = run(WORK, NUMBA_CACHE_DIR=str(tmp_path))
    assert results(third) == RIGHT
    assert compiled(third) == (KERNELS, 0)


# -- all of them ---------------------------------------------------------------------------------------------------------


def test_cache__every_kernel_can_be_cached(every_kernel: Compiled) -> None:
    """After ``warm_up`` in one process, ``warm_up`` in the next compiles nothing."""
    n, hits, misses = every_kernel.counts
    assert (hits, misses) == (0, n)
    assert warm_up(every_kernel.cache) == (n, n, 0)
