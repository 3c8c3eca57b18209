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
# # A first guest
#
# **What happens between a guest's store and the bit that says the page is dirty?**
#
# A guest-physical address (GPA) is translated by nested page tables: four levels of 512 entries, Intel's EPT or AMD's
# nPT. A leaf entry names a host frame, says what may be done with it, and has two bits that the processor sets: A
# (accessed) and D (dirty); with EPT, if bit 6 of the EPT pointer asks for it. Here we build such tables, hold a page, run
# a vCPU on it, and look.

# %%
import numpy as np

from npt import EPT, NPT, PAGE_SIZE, Prot, Reservoir, Vcpu, VmSpace, view

MIB = 1 << 20
BASE = 0x10_0000

# %% [markdown]
# Host memory comes from a *reservoir*. A guest's memory is an object in it, and a *mapping* shows it to the guest.

# %%
reservoir = Reservoir(16 * MIB)
ram = reservoir.allocate(4 * MIB)
space = VmSpace(1 << 40, format=EPT, reservoir=reservoir, track_dirty=True)
space.map(ram, BASE, ram.length, Prot.RW)
space

# %% [markdown]
# Mapping makes the tables; nothing is resident yet. A client that *holds* a page makes it resident, and gets its bytes
# without a copy.

# %%
device = space.client()
with device.hold(BASE + 3 * PAGE_SIZE, Prot.RW) as page:
    page.writable()[:5] = list(b"hello")

space.explain(BASE + 3 * PAGE_SIZE)

# %% [markdown]
# That entry, bit by bit. D is set: what was written through a hold is dirty from the page's release on.

# %%
view.bits(space.pte(BASE + 3 * PAGE_SIZE), format=EPT)

# %% [markdown]
# A vCPU walks the same tables. It reads one page and stores to another; each access takes this way:

# %%
vcpu = Vcpu(space.client())
vcpu.run([BASE + 3 * PAGE_SIZE])
vcpu.run([BASE + 600 * PAGE_SIZE], write=True, values=[0x5A])
view.walk(space.explain(BASE + 600 * PAGE_SIZE))

# %% [markdown]
# A *harvest* reads the dirty bits and clears them; a *peek* only reads. Bit k of byte j is page 8j + k.

# %%
bitmap = space.track_dirty(BASE, ram.length)
print("dirty:", np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist())
print("dirty after the harvest:", int(space.track_dirty(BASE, ram.length).any()))

# %% [markdown]
# An entry in AMD's format: other bits, the same meaning. NX has the opposite sense of Intel's X. It is bit 63, the sign
# bit of a signed integer, which is worth a test wherever an entry is shifted.

# %%
other = VmSpace(1 << 40, format=NPT, reservoir=reservoir)
other.map(ram, BASE, ram.length, Prot.RW)
other.populate(BASE, PAGE_SIZE)
view.bits(other.pte(BASE), format=NPT)

# %%
other.close()
space.close()
ram.release()
reservoir.close()

# %% [markdown]
# ## What to try next
#
# - Map the object at two addresses and write through one of them: which entries become dirty?
# - Map it for reading only, and let the vCPU store: `step` says why it stopped, with the exit qualification of the manual.
# - `02-where-memory-lives` looks at all tables and frames at once.
