"""Pictures of guests, tables, dirty logs and results; needs matplotlib. Each function returns the ``Axes`` it drew on."""

try:
    import matplotlib  # noqa: F401
except ImportError:
    raise ImportError("npt's pictures need matplotlib: pip install 'npt-engine[plot]'") from None

from npt.view.bits import bits, walk
from npt.view.heat import heat
from npt.view.hilbert import hilbert
from npt.view.layout import layout
from npt.view.migration import precopy
from npt.view.spans import fragmentation, runs
from npt.view.throughput import bench
from npt.view.tree import tables
from npt.view.working_set import working_set

__all__ = ["bench", "bits", "fragmentation", "heat", "hilbert", "layout", "precopy", "runs", "tables", "walk", "working_set"]
