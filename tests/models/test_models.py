"""The protocol as small models, each with and without a fault of the source, searched through by spin.

They are the design's own check; that the *code* keeps the protocol, the deterministic scheduler checks. Each file is one
question; ``expected.py`` has the answers and why. Lines are those of vmm_vm.c at 59d65d31 (DESIGN section 8).

====================  ======  ==========================================================================================
model                 line    what it shows
====================  ======  ==========================================================================================
``hold2.pml``         920     One vCPU with a one-entry TLB, one harvester. ``FIX=0``: the generation is read before
                              ON_CPU is published. The harvest comes between: it finds nobody to kick, and the vCPU
                              enters with a generation that it need not flush for. It writes through a cached entry that
                              is dirty already, and no harvest ever reports it. ``FIX=1`` publishes first.
                              ``WAITGEN``: how the kick waits, which does not matter here.
``orphan.pml``        873     A look-up, a change and a destroy. The look-up waits for HOLD with its lock dropped; the
                              space goes meanwhile. ``RECHECK`` tests ORPHANED again after the wait.
``destroywin.pml``    274     Destroy waits, with its lock dropped, for clients that are leaving; a new client joins, and
                              it waits for ever. ``FLAG`` has a dying space refuse newcomers.
``live3.pml``         977     A vCPU that comes and goes, and a kick. ``V=0`` waits for "not on CPU", which may never be
                              true when it looks; ``V=1`` for "not inside from before the epoch" (ours), ``V=2`` for an
                              acknowledgement. A question of progress: spin looks for cycles, with weak fairness (without
                              it, a run in which the harvester never gets a turn is a cycle, too).
``tablefree.pml``     705     A walking vCPU, and an unmap whose leaf table is reused. ``UNLINK``: whether the parent's
                              entry is cleared before the kick; ``ALWAYS``: whether there is a kick even if no page was
                              resident (``RES``). Only both together are right for both values of ``RES``.
====================  ======  ==========================================================================================

By hand: ``spin -DFIX=0 -a hold2.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan``, then ``spin -t -p hold2.pml`` shows the run
that it found. For ``live3.pml`` leave ``-DSAFETY`` out and run ``./pan -a -f``.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.models.expected import NOTHING, VARIANTS, Variant

HERE = Path(__file__).parent
TOOLS = ("spin", "gcc")
LONGEST = 120  # seconds for a step that takes one


def _run(directory: Path, *command: str) -> str:
    """What a command prints."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """A directory to build in, where there are the tools."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{' and '.join(missing)} not installed: CI must have them, see .ci/apt.txt")
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed; on Debian: apt-get install {' '.join(missing)}")
    return tmp_path


def _search(variant: Variant, workshop: Path) -> str:
    """Build a variant's checker, run it, and return what it prints."""
    shutil.copy(HERE / variant.model, workshop)
    _run(workshop, "spin", *(f"-D{macro}" for macro in variant.macros), "-a", variant.model)
    kind = [] if variant.is_about_progress else ["-DSAFETY"]
    _run(workshop, "gcc", "-w", "-O0", *kind, "-o", "pan", "pan.c")
    return _run(workshop, "./pan", *(["-a", "-f"] if variant.is_about_progress else []))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.name for variant in VARIANTS])
def test_models__spin_finds_what_is_expected(variant: Variant, workshop: Path) -> None:
    """Spin finds the fault where one was left in, and nothing where it was mended."""
    said = _search(variant, workshop)
    if variant.verdict == NOTHING:
        assert "errors: 0" in said, said
        assert "Search not completed" not in said, said
        assert "max search depth too small" not in said, said
    else:
        assert "errors: 1" in said, said
        assert f"pan:1: {variant.verdict}" in said, said


def test_models__every_file_is_in_the_table() -> None:
    """No model lies here without an expected result."""
    assert {path.name for path in HERE.glob("*.pml")} == {variant.model for variant in VARIANTS}


@pytest.mark.parametrize("model", sorted({variant.model for variant in VARIANTS}))
def test_models__each_has_a_faulty_and_a_mended_variant(model: str) -> None:
    """A model that never fails, or always does, shows nothing."""
    verdicts = [variant.verdict == NOTHING for variant in VARIANTS if variant.model == model]
    assert any(verdicts)
    assert not all(verdicts)
