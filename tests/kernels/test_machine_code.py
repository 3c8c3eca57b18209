"""The machine code itself: widest vectors in the loops over entries, single locked instructions, no floats."""

import platform
import re
from typing import Any

import pytest

from npt.kernels.jit import DISABLED
from tests.kernels.fresh import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1"),
    pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="knows the vectors of x86-64 only"),
]

# Cached kernels have no assembly: compile them without a cache.
CODE = """
import json, llvmlite.binding
from npt import kernels
from npt.kernels.jit import KERNELS, _compile
kernels.load_all()
asm = {}
for name, (dispatcher, signature) in KERNELS.items():
    short = name.removeprefix("npt.kernels.")
    if ONLY is None or short in ONLY:
        _compile(dispatcher, signature)
        (compiled,) = dispatcher.overloads.values()
        asm[short] = compiled.library.get_asm_str()
print(json.dumps({"features": sorted(f for f, on in llvmlite.binding.get_host_cpu_features().items() if on), "asm": asm}))
"""
NO_CACHE = "/dev/null/cache"
LOOPS = ["dirty.harvest", "dirty.peek", "leaves.populate", "leaves.populate_selected", "tables.vacate"]
STORES = ["leaves.populate", "tables.vacate"]  # of 64 entries at once
FLOATS = re.compile(r"\bv?(?:cvt\w+|(?:add|sub|mul|div)[sp][sd])\b")


@pytest.fixture(scope="module")
def host() -> dict[str, Any]:
    """Features of this machine, and the assembly of every kernel for it."""
    made = run(f"ONLY = None{CODE}", NUMBA_CACHE_DIR=NO_CACHE)
    assert isinstance(made, dict)
    return made


@pytest.fixture(scope="module")
def haswell() -> dict[str, str]:
    """The assembly of the loops for a machine with AVX2 and nothing wider."""
    made = run(
        f"ONLY = {LOOPS!r}{CODE}", NUMBA_CACHE_DIR=NO_CACHE, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2"
    )  # fmt: skip
    assert isinstance(made["asm"], dict)
    return made["asm"]


def compares(asm: str, register: str) -> int:
    """Vector compares and tests of 64-bit entries."""
    return len(re.findall(rf"\bvp(?:testn?mq|cmp\w*q)\b.*%{register}", asm))


def stores(asm: str, register: str) -> int:
    """Stores of whole vectors to memory, other than to the stack."""
    return len(re.findall(rf"\bvmov(?:dq[au]\w*|[au]p[sd])\s+%{register}\d+, \S*\((?!%rsp|%rbp)", asm))


def test_assembly__of_every_kernel(host: dict[str, Any]) -> None:
    """Otherwise the tests below would pass by looking at nothing."""
    assert set(LOOPS) < set(host["asm"])
    assert all("retq" in asm for asm in host["asm"].values())


@pytest.mark.parametrize("name", LOOPS)
def test_loops__test_64_entries_in_widest_vectors(host: dict[str, Any], name: str) -> None:
    """Eight AVX-512 tests, or sixteen of AVX2, make a bitmap word."""
    if "avx512f" in host["features"]:
        assert compares(host["asm"][name], "zmm") >= 8
    elif "avx2" in host["features"]:
        assert compares(host["asm"][name], "ymm") >= 16
    else:
        pytest.skip("this machine has neither AVX-512 nor AVX2")


def test_populate__stores_64_entries_in_widest_vectors(host: dict[str, Any]) -> None:
    """Eight AVX-512 stores, or sixteen of AVX2."""
    if "avx512f" in host["features"]:
        assert stores(host["asm"]["leaves.populate"], "zmm") >= 8
    elif "avx2" in host["features"]:
        assert stores(host["asm"]["leaves.populate"], "ymm") >= 16
    else:
        pytest.skip("this machine has neither AVX-512 nor AVX2")


def test_vacate__stores_64_zeroes_in_vectors(host: dict[str, Any]) -> None:
    """At least 32 bytes at once: LLVM merges stores of a constant zero as it thinks best."""
    if "avx2" not in host["features"]:
        pytest.skip("this machine has no AVX2")
    asm = host["asm"]["tables.vacate"]
    assert stores(asm, "ymm") >= 16 or stores(asm, "zmm") >= 8


@pytest.mark.parametrize("name", LOOPS)
def test_loops__use_avx2_where_that_is_all(haswell: dict[str, str], name: str) -> None:
    """Sixteen compares of four entries, and nothing that the machine has not."""
    assert compares(haswell[name], "ymm") >= 16
    assert "zmm" not in haswell[name]


@pytest.mark.parametrize("name", STORES)
def test_loops__store_with_avx2_where_that_is_all(haswell: dict[str, str], name: str) -> None:
    """Sixteen stores of four entries."""
    assert stores(haswell[name], "ymm") >= 16


def test_kernels__never_make_floats_of_entries(host: dict[str, Any]) -> None:
    """A mixed-up type makes a double of an entry, and its low bits are gone: no kernel converts or computes floats."""
    found = {name: FLOATS.findall(asm) for name, asm in host["asm"].items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_harvest__clears_with_one_locked_instruction(host: dict[str, Any]) -> None:
    """An AND whose old value were used would be a compare-exchange loop."""
    asm = host["asm"]["dirty.harvest"]
    assert re.search(r"\block\s+andq\b", asm)
    assert "cmpxchg" not in asm


@pytest.mark.parametrize("name", ["dirty.peek", "walk.translate", "walk.leaf_tables"])
def test_readers__lock_nothing(host: dict[str, Any], name: str) -> None:
    """Reading costs no locked instruction, not even for counting references to arrays."""
    assert not re.search(r"\block\b|NRT_[id]n?cref", host["asm"][name])


@pytest.mark.parametrize("name", ["guest.access", "tlb.access"])
def test_vcpu__locks_only_where_a_mark_is_missing(host: dict[str, Any], name: str) -> None:
    """One compare-exchange, for marks; nothing else is locked, and nothing is allocated."""
    body, _, _ = host["asm"][name].partition(".Lfunc_end0")
    assert re.findall(r"\block\s+(\w+)", body) == ["cmpxchgq"]
    assert "NRT_" not in body


def test_vcpu__computes_with_vectors(host: dict[str, Any]) -> None:
    """Slots, leaves, and what entries lack: several accesses an instruction."""
    if "avx2" not in host["features"]:
        pytest.skip("this machine has no AVX2")
    body, _, _ = host["asm"]["guest.access"].partition(".Lfunc_end0")
    assert re.search(r"\bvpandn\w*\s.*%[yz]mm|\bvpternlog\w*\s.*%[yz]mm", body)
    assert re.search(r"\bvpsrlq\s+\$21,.*%[yz]mm", body)
