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
# # Populate
#
# **Pay for a guest's memory at its start, or at each first touch?**
#
# Eagerly, one pass writes all leaf entries, as fast as memory can be filled. On demand, each page costs a fault: an
# exit, a look-up, an entry. Speeds here are ratios to a fill of as many entries in the same run: milliseconds of a
# shared machine are no result.

# %%
import os

import numpy as np
from matplotlib import pyplot as plt

from npt import EPT, studies, view

small = bool(os.environ.get("NPT_SMALL"))
MIB = 1 << 20
SIZES = [16 * MIB] if small else [64 * MIB, 1024 * MIB]

# %%
results = studies.population([EPT], sizes=SIZES, shapes=["one", "scattered"], touches=1000 if small else 10_000, repeat=3)
results

# %% [markdown]
# Four ways of populating, in two shapes: one mapping, and many at random addresses.

# %%
rows = [row for row in results.rows if row["size"] == SIZES[-1]]
ways = list(dict.fromkeys(row["way"] for row in rows))
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for number, shape in enumerate(("one", "scattered")):
    heights = [next(row["of_limit"] for row in rows if row["way"] == way and row["shape"] == shape) for way in ways]
    ax.bar(np.arange(len(ways)) + 0.4 * number - 0.2, heights, width=0.4, color=view.style.COLOURS[number], label=shape)
ax.axhline(1, color=view.style.GREY, linestyle="--", linewidth=1)
ax.set(yscale="log", xticks=range(len(ways)), xticklabels=ways, ylabel="share of a fill (1: the memory's limit)")
ax.legend(title="mappings", frameon=False)
ax.set_title("Four ways of populating, beside a fill of as many entries")

# %% [markdown]
# What was not paid in front is paid at the first touch. A single call from Python takes microseconds, most of them
# Python's; compare ways by it, not machines.

# %%
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
marks = {"touch_ns_median": "o", "touch_ns_99": "s", "touch_ns_most": "^"}
one = [row for row in rows if row["shape"] == "one"]
for name, mark in marks.items():
    label = {"touch_ns_median": "half", "touch_ns_99": "99 %", "touch_ns_most": "all"}[name]
    ax.plot(ways, [row[name] / 1000 for row in one], mark, color=view.style.COLOURS[0], label=f"{label} take no longer")
ax.set(yscale="log", ylabel="us for a first touch", title="A first touch afterwards")
ax.legend(frameon=False)

# %% [markdown]
# All operations beside the limit of the memory, one call over the whole guest:

# %%
throughput = studies.throughput([EPT], sizes=SIZES, repeat=3)
view.bench(throughput)

# %% [markdown]
# ## What to try next
#
# - `npt populate --size 4GiB` for larger guests; `npt info 4GiB` says before what that takes.
# - The shape `many`: mappings side by side. What do they cost that one mapping does not?
# - `threads=1`: how much of it is the second core?
