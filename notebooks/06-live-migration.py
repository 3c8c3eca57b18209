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
# # Live migration
#
# **When should a hypervisor stop sending live?**
#
# Pre-copy sends all memory while the guest runs, then what it dirtied meanwhile, and so on. At some point the guest has
# to be stopped and the rest sent: the downtime. Hypervisors differ in when. Here one recorded program is migrated under
# six of their rules, with real bytes between two guests; the clock is simulated, and exact.

# %%
import os

import numpy as np
from matplotlib import pyplot as plt

from npt import studies, view

small = bool(os.environ.get("NPT_SMALL"))
MIB = 1 << 20
LINK = {"bandwidth": 200 * MIB, "downtime": 0.003}
writer = studies.writer("sqlite")

moved = studies.compare_policies(writer, **LINK)
moved

# %%
rows = moved.rows
policies = [row["policy"] for row in rows]
fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for ax, (column, scale, label) in zip(
    axes, (("bytes_sent", MIB, "MiB on the wire"), ("downtime_ns", 1e6, "ms of downtime")), strict=True
):
    ax.barh(range(len(rows)), [row[column] / scale for row in rows], color=view.style.COLOURS[0])
    ax.set(yticks=range(len(rows)), yticklabels=policies, xlabel=label)
axes[0].axvline(writer.n_pages / 256, color=view.style.GREY, linestyle="--")
axes[0].set_title("dashed: all memory once")
axes[1].axvline(1e3 * LINK["downtime"], color=view.style.GREY, linestyle="--")
axes[1].set_title("dashed: the downtime aimed at")
axes[0].invert_yaxis()
print("every target equal to its source:", all(row["proven"] for row in rows))

# %% [markdown]
# The closed model knows no pages: in t seconds `min(ram, rate * t)` bytes get dirty. It is what most estimates use, and
# it shows the shapes: geometric convergence where the link is faster than the guest, none where it is not.

# %%
RAM, LINE = 4096 * MIB, 1000 * MIB
view.precopy([studies.precopy(RAM, LINE, 400 * MIB, policy=policy) for policy in studies.POLICIES])

# %% [markdown]
# Where does the model fail? It counts bytes as if no page were written twice in a round. For a writer that goes from
# page to page that is so. A uniform one hits some pages again, and a zipf writer comes back to its hot pages: the engine
# then sends less than the model says, and most so in long rounds.

# %%
PAGES = 5_000 if small else 50_000
guests = {
    "sequential": f"sequential:pages={PAGES},windows=100,accesses={PAGES // 50}",
    "uniform": f"uniform:pages={PAGES},windows=100,accesses={PAGES // 50}",
    "zipf": f"zipf:pages={PAGES},windows=100,accesses={PAGES // 50}",
}
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for number, (name, text) in enumerate(guests.items()):
    found = studies.residuals(studies.writer(text), bandwidth=LINE, dirty_rate=400 * MIB, policy="freebsd:rounds=6")
    points = [(row["round"], 100 * row["residual"]) for row in found.rows if row["residual"] is not None]
    ax.plot(*np.transpose(points), marker="o", color=view.style.COLOURS[number], label=name)
ax.axhline(0, color=view.style.GREY, linewidth=1)
ax.set(xlabel="round", ylabel="engine's bytes over the model's, less one, %", title="The engine beside the closed model")
ax.legend(frameon=False)

# %% [markdown]
# ## What to try next
#
# - `policy="qemu:auto_converge=yes"` and a guest that dirties faster than the link: who pays?
# - `"post-copy:rounds=2"`: how many faults does a second round save?
# - `npt sweep migrate --axis policy=... --axis bandwidth=...` runs a grid, on a cluster if you have one.
