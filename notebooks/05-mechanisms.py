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
# # Four ways of noticing a write
#
# **D bits, write protection, Intel's PML, a dirty ring: what does each cost the guest?**
#
# All four report the same pages. They differ in what it takes. A *scan* of D bits costs the host time; the guest pays
# when they are cleared, because its TLB has to be told. *Write protection* costs a fault for each first write of a page.
# *PML* has the processor log 512 addresses, and exits when there is no room for the next. A *dirty ring* holds as many as
# it was made for, for each vCPU, and stops the vCPU when it is full; here, as in KVM without PML, faults fill it.
#
# Two recorded programs, which dirty some hundred pages a round, and a pattern that dirties thousands.

# %%
import os

import numpy as np
from matplotlib import pyplot as plt

from npt import studies, view

WINDOWS = 20 if os.environ.get("NPT_SMALL") else 300
writers = {name: studies.writer(name) for name in ("sqlite", "xz")}
writers["uniform"] = studies.writer(f"uniform:size=64MiB,windows={WINDOWS},accesses=10000")
results = {name: studies.compare_mechanisms(one, windows=WINDOWS) for name, one in writers.items()}
results["sqlite"]

# %% [markdown]
# Counts first: they are exact, and the same on every machine. Where a round fits into the log or the ring, neither is ever
# full; the pattern fills both.

# %%
EVENTS = ["faults", "log_full_exits", "ring_full_exits", "shoot_downs", "flushes"]
names = [row["mechanism"] for row in results["sqlite"].rows]
fig, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True, layout="constrained")
for ax, (program, found) in zip(axes, results.items(), strict=True):
    for number, event in enumerate(EVENTS):
        counts = [row[event] for row in found.rows]
        ax.bar(np.arange(len(names)) + 0.16 * (number - 2), counts, width=0.16, color=view.style.COLOURS[number], label=event)
    ax.set(xticks=range(len(names)), yscale="symlog", title=program)
    ax.set_xticklabels(names, rotation=20, ha="right")
axes[0].set_ylabel("events")
axes[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))

# %% [markdown]
# A table of costs turns counts into a predicted stall of the guest. It is worth no more than its source, which it
# names.

# %%
columns = [name for name in results["sqlite"].columns if name.startswith("stall_ns")]
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for number, (program, found) in enumerate(results.items()):
    stalls = [(row[columns[0]] or 0) / 1e6 for row in found.rows]
    ax.bar(np.arange(len(names)) + 0.27 * (number - 1), stalls, width=0.27, color=view.style.COLOURS[number], label=program)
ax.set(xticks=range(len(names)), xticklabels=names, yscale="symlog", ylabel="predicted stall, ms")
ax.set_title(f"Stall over {WINDOWS} rounds, costs: {columns[0].removeprefix('stall_ns, ')}")
ax.margins(y=0.1)
ax.legend(frameon=False)
for name, table in results["sqlite"].meta["costs"].items():
    print(f"{name}: {table['source']}")

# %% [markdown]
# ## What to try next
#
# - `ring=64`: where does a small ring start to stop the vCPU?
# - `npt dirty zipf:size=256MiB --clear-at 1`: clear just before the copy, and see fewer pages sent for nothing.
# - A cost table of your own machine: `npt dirty sqlite --cost faults=2000 --cost flushes=500`.
