"""What the 64 bits of an entry mean: Intel EPT and AMD nPT."""

from npt.formats.amd import NPT
from npt.formats.base import PteFormat, PteMasks
from npt.formats.ept import EPT

__all__ = ["EPT", "NPT", "PteFormat", "PteMasks"]
