# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # vCPUs and shoot-downs
#
# **What is lost when dirty bits are cleared and the TLB is not told?**
#
# A processor caches translations. One that is cached with D set does not look at the table again, so a harvest that
# clears D must make every vCPU forget: it raises the generation and kicks the vCPUs out, which flush when they come
# back. That is the *shoot-down*. Here we leave it out, on purpose, and count the writes that no harvest reports.

# %%
import os
import threading

import numpy as np
from matplotlib import pyplot as plt

from npt import PAGE_SIZE, Prot, Reservoir, Vcpu, VmSpace, view
from npt.testing import without_shootdown

ROUNDS = 30 if os.environ.get("NPT_SMALL") else 200
N_PAGES = 256

# %% [markdown]
# One vCPU with a simulated TLB stores numbers that only grow, in a thread of its own, without the interpreter's lock.
# The host harvests. A page whose number changed between two harvests must be reported by the second.


# %%
def rounds(tlb: int, shootdown: bool) -> tuple[list[int], list[int], int]:
    """Pages reported by each harvest, pages lost by each, and kicks."""
    with (
        Reservoir(N_PAGES * PAGE_SIZE) as reservoir,
        reservoir.allocate(N_PAGES * PAGE_SIZE) as ram,
        VmSpace(1 << 30, reservoir=reservoir, track_dirty=True) as space,
    ):
        space.map(ram, 0, ram.length, Prot.RW)
        vcpu, stop = Vcpu(space.client(), tlb=tlb), threading.Event()
        words = reservoir.buffer[: ram.length].view(np.uint64)[:: PAGE_SIZE // 8]
        gpas = np.random.default_rng(1).choice(40, 1 << 20).astype(np.uint64) * np.uint64(PAGE_SIZE)
        vcpu.run(gpas, write=True, values=np.arange(gpas.size, dtype=np.uint64))

        def run() -> None:
            number = gpas.size
            while not stop.is_set():
                vcpu.run(gpas, write=True, values=np.arange(number, number + gpas.size, dtype=np.uint64))
                number += gpas.size

        def harvest() -> np.ndarray:
            bitmap = space.track_dirty(0, ram.length)
            return np.unpackbits(bitmap, count=N_PAGES, bitorder="little").astype(bool)

        thread = threading.Thread(target=run)
        thread.start()
        reported, lost = [], []
        harvest()
        for _ in range(ROUNDS):
            before = words.copy()
            stop.wait(0.001)
            written = words != before  # since the last harvest, so this one must report it
            if shootdown:
                found = harvest()
            else:
                with without_shootdown(space):
                    found = harvest()
            reported.append(int(found.sum()))
            lost.append(int((written & ~found).sum()))
        stop.set()
        thread.join()
        return reported, lost, space.counters.kicks


# %%
cases = {
    "no TLB, with shoot-downs": (0, True),
    "TLB of 64, with shoot-downs": (64, True),
    "TLB of 64, without": (64, False),
}
found = {name: rounds(*case) for name, case in cases.items()}
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for number, (name, (_, lost, _)) in enumerate(found.items()):
    colour = view.style.COLOURS[(0, 2, 5)[number]]
    ax.plot(np.cumsum(lost), color=colour, label=f"{name}: {sum(lost):,}", linewidth=3 - number)
ax.set(xlabel="harvest", ylabel="pages written and not reported, in all", title="Writes that no harvest saw")
ax.legend(frameon=False)

# %% [markdown]
# With shoot-downs nothing is lost, with a TLB or without. Without them the hot pages, which never leave the TLB,
# are reported only by the harvest after the vCPU came in anew and flushed, here behind every 2**20 stores. What it wrote
# before it next does so is in no report: a target that was sent these pages keeps their old contents.

# %%
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for number, (name, (reported, _, kicks)) in enumerate(found.items()):
    colour = view.style.COLOURS[(0, 2, 5)[number]]
    ax.plot(reported, ".", color=colour, label=f"{name}: {kicks} kicks", markersize=8 - 2 * number)
ax.set(xlabel="harvest", ylabel="pages reported", title="What each harvest reports")
ax.legend(frameon=False)

# %% [markdown]
# ## What to try next
#
# - A TLB of 4 entries: hot pages are evicted by chance, and then marked again. Fewer are lost, and that is no comfort.
# - `space.counters` has what kicks cost: `kick_ns`, `held_ns`, `flushes`.
# - `tests/interleavings` finds such losses without luck: a scheduler tries every order of steps.
