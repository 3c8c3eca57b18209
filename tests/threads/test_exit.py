"""A process that ends while its vCPUs run: no hang, no crash, exit code 0."""

import subprocess
import sys
from pathlib import Path

import pytest

import npt
from tests.threads.crew import SECONDS

ROOT = Path(npt.__file__).parents[1]
pytestmark = pytest.mark.slow

START = """
import faulthandler, signal, sys, threading
import numpy as np
from npt import NPT, Orphaned, Prot, Reservoir, Vcpu, VmSpace

faulthandler.dump_traceback_later(40, exit=True)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without it
reservoir = Reservoir(1 << 22)
ram = reservoir.allocate(1 << 20)
space = VmSpace(1 << 30, format=NPT, reservoir=reservoir, track_dirty=True)
space.map(ram, 0, ram.length, Prot.RW)
gpas = np.arange(1 << 20, dtype=np.uint64) % np.uint64(256) * np.uint64(4096)
space.populate(0, ram.length)
vcpus = [Vcpu(space.client(), cpu=cpu, tlb=64 * cpu) for cpu in range(2)]
ended = []

def run(vcpu):
    try:
        while True:
            vcpu.run(gpas, write=True, values=gpas)
    except (Orphaned, KeyboardInterrupt) as error:
        ended.append(type(error).__name__)

def start(**how):
    threads = [threading.Thread(target=run, args=(vcpu,), **how) for vcpu in vcpus]
    for thread in threads:
        thread.start()
    while not space.peek_dirty(0, ram.length).all():
        pass
    return threads
"""

ENDS = {
    "daemons": ("start(daemon=True)", ""),
    "daemons by sys.exit": ("start(daemon=True); space.track_dirty(0, ram.length); sys.exit(0)", ""),
    "daemons, all names deleted": ("start(daemon=True); del space, reservoir, ram, vcpus, gpas, run", ""),
    "daemons, close behind": ("start(daemon=True); import atexit; atexit.register(space.close)", ""),
    "joined behind close": (
        "threads = start(); space.close(); [thread.join() for thread in threads]; print(sorted(ended))",
        "['Orphaned', 'Orphaned']",
    ),
    "not joined, closed": ("start(); space.close()", ""),
    "left by their context": (
        "with space: threads = start()\nfor thread in threads: thread.join()\nprint(ended)",
        "['Orphaned', 'Orphaned']",
    ),
    "work that ends by itself": (
        "threading.Thread(target=lambda: [vcpus[1].run(gpas, write=True) for _ in range(30)]).start()",
        "",
    ),
    "closed by another thread at the end": (
        "start(); main = threading.main_thread(); "
        "threading.Thread(target=lambda: (main.join(), space.close(), print('closed'))).start()",
        "closed",
    ),
    "interrupted in the main thread": (
        "import _thread; threading.Thread(target=lambda: ([None for _ in iter(lambda: space.peek_dirty(0, 4096).any(), True)], "
        "_thread.interrupt_main())).start(); run(vcpus[1]); assert not vcpus[1].client.gate.inside; "
        "space.track_dirty(0, ram.length); vcpus[1].run([0], write=True); space.close(); print(ended)",
        "['KeyboardInterrupt']",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_exit__with_running_vcpus(name: str) -> None:
    """Whatever the threads are and wherever they stand, the interpreter ends."""
    code, wanted = ENDS[name]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", START + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS / 2,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", wanted)
