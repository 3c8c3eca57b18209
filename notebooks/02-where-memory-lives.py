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
# # Where memory lives
#
# **What stands between a guest's address and a frame, and what does it cost?**
#
# A guest sees a few large stretches of memory with holes between them: RAM below 4 GiB, a hole for devices, RAM above.
# The host has frames, wherever they were free. Tables join both, and the tables are memory, too.

# %%
import numpy as np

from npt import PAGE_SIZE, Prot, Reservoir, Vcpu, VmSpace, view

MIB, GIB = 1 << 20, 1 << 30

reservoir = Reservoir(64 * MIB)
low, high, rom = (reservoir.allocate(size) for size in (12 * MIB, 20 * MIB, 2 * MIB))
space = VmSpace(1 << 40, reservoir=reservoir, track_dirty=True)
space.map(low, 0, low.length, Prot.RWX)
space.map(rom, 4 * GIB - rom.length, rom.length, Prot.RX)
space.map(high, 4 * GIB, high.length, Prot.RWX)
apic = space.map_mmio(0xFEE0_0000, PAGE_SIZE, 0xFEE0_0000)
space

# %% [markdown]
# Holes are folded here; to scale, there would be nothing to see but the hole.

# %%
view.layout(space, reservoir)

# %% [markdown]
# Each page along a Hilbert curve, where neighbours in memory are neighbours in the picture. A vCPU boots: it reads its
# ROM, clears low memory, and then works on a small part of high memory.

# %%
vcpu, rng = Vcpu(space.client()), np.random.default_rng(1)
rom_gpa = 4 * GIB - rom.length
vcpu.run(np.arange(rom_gpa, rom_gpa + rom.length, PAGE_SIZE))
vcpu.run(np.arange(0, low.length // 2, PAGE_SIZE), write=True)
vcpu.run(4 * GIB + PAGE_SIZE * rng.integers(0, 2000, 600))
vcpu.run(4 * GIB + PAGE_SIZE * rng.integers(500, 900, 300), write=True)
view.hilbert(space)

# %% [markdown]
# The tables behind it. There is one root, but every stretch that touches another GiB or another 2 MiB region needs
# tables of its own: three directories for four mappings. `map` makes the tables, `populate` or a fault fills in leaves.

# %%
view.tables(space)
space.table

# %% [markdown]
# Frames come back in another order than they went, so the reservoir's free memory is cut up. An object that does not
# fit in one span takes several, and nobody notices but the tables: a leaf entry can name any frame.

# %%
rng = np.random.default_rng(2)
parts = [reservoir.allocate(int(n) * PAGE_SIZE) for n in rng.integers(1, 120, 100)]
for number in rng.permutation(100)[:60]:
    parts[number].release()
    parts[number] = None
scattered = reservoir.allocate(8 * MIB)
print(f"8 MiB in {len(scattered.spans)} spans of frames")
view.fragmentation(reservoir)

# %%
space.close()
for one in (low, high, rom, apic, scattered, *(part for part in parts if part is not None)):
    one.release()
reservoir.close()

# %% [markdown]
# ## What to try next
#
# - Map `high` at 5 GiB + 2 MiB - 4 KiB instead: how many tables does one page more at an edge take?
# - `view.layout(space, fold=False)`, to see how empty an address space is.
# - `npt show --demo` draws the same in a terminal.
