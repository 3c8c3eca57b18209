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
# # The dirty log
#
# **Which pages does a real program write, when, and in how long runs?**
#
# A live migration sends memory while the guest writes to it, and asks again and again what was written since. The
# answer is the dirty log: per round, a bitmap. Here it is that of SQLite, recorded page by page with valgrind and
# replayed on a vCPU.

# %%
import os

import numpy as np

from npt import PAGE_SIZE, Prot, Reservoir, Vcpu, VmSpace, dirty, studies, view

history = studies.writer("sqlite")
N_ROUNDS = 60 if os.environ.get("NPT_SMALL") else 600
history

# %%
reservoir = Reservoir(history.n_pages * PAGE_SIZE)
ram = reservoir.allocate(history.n_pages * PAGE_SIZE)
space = VmSpace(1 << 40, reservoir=reservoir, track_dirty=True)
space.map(ram, 0, ram.length, Prot.RW)
vcpu, log = Vcpu(space.client()), dirty.DirtyLog(space)

log.start()
for window in history.windows():
    vcpu.run(window.pages * np.uint64(PAGE_SIZE), write=window.write)
    log.round()
    if len(log.rounds) == N_ROUNDS:
        break
log

# %% [markdown]
# Every page that was written, by round. Diagonals are memory that grows; horizontal lines are pages that are written
# all the time, and those decide how a migration ends.

# %%
view.heat(log.rounds)

# %% [markdown]
# In which round was each page written last? Whoever copied a bright page before then has to send it again.

# %%
view.hilbert(space, gpa=0, length=ram.length, last_written=log.rounds.last_written())

# %% [markdown]
# How long are the runs of dirty pages? Each costs a request. Over all rounds they are long, but a migration sends what
# one round has, and there they are short.

# %%
union = log.rounds.union()
view.runs(union)

# %%
busy = [one for one in log.rounds if one.count]
n_runs = [dirty.runs(one.bitmap).size for one in busy]
print(f"a round: {np.median([one.count for one in busy]):.0f} pages in {np.median(n_runs):.0f} runs (medians)")

# %% [markdown]
# A coarser granule, such as a 2 MiB page with one D bit, has fewer bits to read, and sends what was never written.

# %%
for granule in (PAGE_SIZE, 64 << 10, 2 << 20):
    sent = sum(one.count * dirty.inflation(one.bitmap, granule) for one in busy)
    by_round = sent / sum(one.count for one in busy)
    print(f"{granule >> 10:>5} KiB a bit: {by_round:6.2f} pages sent for each page written, round by round")

# %%
log.abort()
space.close()
ram.release()
reservoir.close()

# %% [markdown]
# ## What to try next
#
# - `studies.writer("xz")` and `"sort"`: which of them has a hot set, which sweeps?
# - Your own program: `npt import lackey trace.txt -o mine.npz`, then `studies.writer("mine.npz")`.
# - `npt dirty-log -b 256MiB -v 2` times the phases of a log, under the names of KVM's selftest.
