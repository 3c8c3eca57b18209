"""The machine code itself: widest vectors in the loops over entries, single locked instructions, no floats."""

import platform
import re
from typing import NamedTuple, Self

import pytest

from npt.kernels.jit import DISABLED
from tests.kernels.compiled import BITMAPS, LOOPS, MACHINES, Compiled, Compiling
from tests.kernels.fresh import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1"),
    pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="knows the vectors of x86-64 only"),
]

CLEAN = ["dirty.harvest", "dirty.harvest_still", "dirty.peek"]  # mostly find nothing
GROUP = 64  # entries
REGISTERS = {512: "zmm", 256: "ymm", 128: "xmm"}
FENCE = re.compile(r"\bmfence\b|\block\s+orl\s+\$0, -?\d*\(%rsp\)")  # whatever LLVM takes for one
FLOATS = re.compile(r"\bv?(?:cvt\w+|(?:add|sub|mul|div)[sp][sd])\b")


class Code(NamedTuple):
    """The assembly of kernels, and the vectors of the machine that it is for."""

    bits: int
    asm: dict[str, str]

    @classmethod
    def of(cls, compiled: Compiled) -> Self:
        """What was compiled."""
        assert compiled.bits in REGISTERS
        return cls(compiled.bits, compiled.asm)

    @property
    def register(self) -> str:
        """What the widest register is called."""
        return REGISTERS[self.bits]

    @property
    def group(self) -> int:
        """How many of them take 64 entries."""
        return GROUP * 64 // self.bits


@pytest.fixture(scope="module")
def host(every_kernel: Compiled) -> Code:
    """Every kernel, for this machine."""
    return Code.of(every_kernel)


@pytest.fixture(scope="module", params=["this one", *MACHINES])
def code(request: pytest.FixtureRequest, compiling: Compiling) -> Code:
    """The kernels with loops over entries or bitmaps, for machines with wide vectors and narrow ones."""
    if request.param == "this one":
        return Code.of(compiling.here.result())
    other = Code.of(compiling.others[request.param].result())
    assert other.bits == MACHINES[request.param]
    return other


def body_of(asm: str) -> str:
    """The kernel itself, without what numba puts around it for calls from Python."""
    body, _, _ = asm.partition(".Lfunc_end0")
    return body


def compares(asm: str, register: str) -> int:
    """Vector compares and tests of 64-bit entries."""
    return len(re.findall(rf"\bv?p(?:testn?mq|cmp\w*q)\b.*%{register}", asm))


def stores(asm: str, register: str) -> int:
    """Stores of whole vectors to memory, other than to the stack."""
    return len(re.findall(rf"\bv?mov(?:dq[au]\w*|[au]p[sd])\s+%{register}\d+, \S*\((?!%rsp)", asm))


def loads(asm: str, register: str) -> int:
    """Vectors read from memory, other than from the stack and from constants."""
    return len(re.findall(rf"^\s+(?!vp?broadcast)\w+\s+[-\w]*\(%r(?!sp|ip)[^)]*\)(?:, %{register}\d+)+$", asm, re.MULTILINE))


def locked(asm: str) -> set[str]:
    """Locked instructions that are no fences."""
    return set(re.findall(r"\block\s+(\w+)", re.sub(FENCE, "", body_of(asm))))


def innermost_loops(asm: str) -> list[str]:
    """Stretches of code that end with a jump back to where they start, and have no other such stretch in them."""
    lines = body_of(asm).splitlines()
    labels = {line.partition(":")[0]: i for i, line in enumerate(lines) if line.startswith(".LBB")}
    jumps = [(i, found[1]) for i, line in enumerate(lines) if (found := re.search(r"\bj\w+\s+(\.LBB\w+)", line))]
    loops = [(labels[to], i) for i, to in jumps if labels[to] <= i]
    return ["\n".join(lines[a : b + 1]) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]


def test_assembly__of_every_kernel(host: Code) -> None:
    """Otherwise the tests below would pass by looking at nothing."""
    assert set(LOOPS + BITMAPS) < set(host.asm)
    assert all("retq" in asm for asm in host.asm.values())


@pytest.mark.parametrize("name", MACHINES)
def test_target__is_the_machine_that_was_asked_for(name: str) -> None:
    """By its name, and by the width of its vectors."""
    said = run(
        "import json; from npt.kernels.jit import target; print(json.dumps(target()))",
        settings={"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""},
    )
    assert said == [name, MACHINES[name]]


@pytest.mark.parametrize("name", LOOPS)
def test_loops__test_64_entries_in_widest_vectors(code: Code, name: str) -> None:
    """Eight AVX-512 tests, or sixteen of AVX2, or thirty-two of SSE make a bitmap word."""
    assert compares(code.asm[name], code.register) >= code.group


@pytest.mark.parametrize("name", LOOPS + BITMAPS)
def test_loops__use_nothing_that_the_machine_has_not(code: Code, name: str) -> None:
    """No register is wider than it should be."""
    wider = [register for bits, register in REGISTERS.items() if bits > code.bits]
    assert [register for register in wider if register in code.asm[name]] == []


@pytest.mark.parametrize("name", CLEAN)
def test_clean_groups__are_read_in_vectors_in_one_loop(code: Code, name: str) -> None:
    """64 entries a turn, each read once and none looked at alone, and at most one word beside them: the table's number."""
    vectors = [loop for loop in innermost_loops(code.asm[name]) if loads(loop, code.register) == code.group]
    loops = [loop for loop in vectors if not compares(loop, code.register)]
    assert loops
    words = [re.findall(r"^\s+mov\w*\s+[-\w]*\(%r(?!sp|ip)[^)]*\), %r\w+$", loop, re.MULTILINE) for loop in loops]
    assert min(len(found) for found in words) <= 1


def test_populate__stores_64_entries_in_widest_vectors(code: Code) -> None:
    """Eight AVX-512 stores, or sixteen of AVX2, or thirty-two of SSE."""
    assert stores(code.asm["leaves.populate"], code.register) >= code.group


def test_clear__stores_64_zeroes_in_vectors(code: Code) -> None:
    """At least 32 bytes at once: LLVM merges stores of a constant zero as it thinks best, or leaves them to ``memset``."""
    asm = code.asm["tables.clear"]
    assert stores(asm, "ymm") >= 16 or stores(asm, "zmm") >= 8 or (code.bits == 128 and "memset" in body_of(asm))


@pytest.mark.parametrize("name", BITMAPS)
def test_bitmaps__are_read_in_vectors(code: Code, name: str) -> None:
    """Of 256 bits where there are as many: LLVM takes no wider ones of itself."""
    registers = [register for bits, register in REGISTERS.items() if bits >= min(code.bits, 256)]
    assert sum(loads(body_of(code.asm[name]), register) for register in registers) >= 1


def test_kernels__never_make_floats_of_entries(host: Code) -> None:
    """A mixed-up type makes a double of an entry, and its low bits are gone: no kernel converts or computes floats."""
    found = {name: FLOATS.findall(asm) for name, asm in host.asm.items()}
    assert found
    assert {name: words for name, words in found.items() if words} == {}


def test_harvest__clears_with_one_locked_instruction(host: Code) -> None:
    """An AND whose old value were used would be a compare-exchange loop; those that there are change the summary's bytes."""
    assert locked(host.asm["dirty.harvest"]) == {"andq", "cmpxchgb"}


@pytest.mark.parametrize("name", ["dirty.harvest", "dirty.harvest_still"])
def test_harvest__scans_behind_a_fence(host: Code, name: str) -> None:
    """The loads of a scan must not pass the store that takes the table, on machines that would let them."""
    assert re.search(FENCE, body_of(host.asm[name]))


def test_harvest__locks_no_entry_while_nobody_else_is_there(host: Code) -> None:
    """Only the summary's bytes, once a table."""
    assert locked(host.asm["dirty.harvest_still"]) == {"cmpxchgb"}


@pytest.mark.parametrize("name", ["dirty.peek", "walk.translate", "walk.leaf_tables"])
def test_readers__lock_nothing(host: Code, name: str) -> None:
    """Reading costs no locked instruction, not even for counting references to arrays."""
    assert not re.search(r"\block\b|NRT_[id]n?cref", host.asm[name])


@pytest.mark.parametrize("name", ["guest.access", "tlb.access"])
def test_vcpu__locks_only_where_a_mark_is_missing(host: Code, name: str) -> None:
    """One compare-exchange for marks, and one for the summary; nothing else is locked, and nothing is allocated."""
    body = body_of(host.asm[name])
    locked = re.findall(r"\block\s+(\w+)", body)
    assert (locked.count("cmpxchgq"), set(locked)) == (1, {"cmpxchgq", "cmpxchgb"})
    assert "NRT_" not in body


def test_vcpu__computes_with_vectors(host: Code) -> None:
    """Slots, leaves, and what entries lack: several accesses an instruction."""
    if host.bits < 256:
        pytest.skip("this machine has no AVX2")
    body = body_of(host.asm["guest.access"])
    assert re.search(r"\bvpandn\w*\s.*%[yz]mm|\bvpternlog\w*\s.*%[yz]mm", body)
    assert re.search(r"\bvpsrlq\s+\$21,.*%[yz]mm", body)
