"""Pictures of guests, tables, dirty logs and results; each function returns the matplotlib ``Axes`` it drew on.

``npt.view.blocks`` shows the same with characters, and needs no matplotlib.
"""

from typing import NoReturn

try:
    import matplotlib  # noqa: F401
except ImportError:

    def __getattr__(name: str) -> NoReturn:
        raise (
            AttributeError(name)
            if name.startswith("_")
            else ImportError("npt's pictures need matplotlib: pip install 'npt-engine[plot]'")
        )

else:
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
