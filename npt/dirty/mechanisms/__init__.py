"""How writes get noticed: the D-bit scan, write-protection, PML and dirty rings, side by side with exact counts."""

from npt.dirty.mechanisms.base import Events, Mechanism
from npt.dirty.mechanisms.copies import Account
from npt.dirty.mechanisms.costs import COSTS, Costs
from npt.dirty.mechanisms.dirty_bits import DirtyBits
from npt.dirty.mechanisms.page_modification_log import PML_ENTRIES, PageModificationLog
from npt.dirty.mechanisms.ring import DirtyRing
from npt.dirty.mechanisms.tracking import Tracking
from npt.dirty.mechanisms.write_protect import WriteProtect

__all__ = [
    "COSTS",
    "PML_ENTRIES",
    "Account",
    "Costs",
    "DirtyBits",
    "DirtyRing",
    "Events",
    "Mechanism",
    "PageModificationLog",
    "Tracking",
    "WriteProtect",
]
