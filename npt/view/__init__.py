"""Pictures of guests, tables, dirty logs and results; needs matplotlib. Each function returns the ``Axes`` it drew on."""

try:
    import matplotlib  # noqa: F401
except ImportError:
    raise ImportError("npt's pictures need matplotlib: pip install 'npt-engine[plot]'") from None

from npt.view.hilbert import hilbert

__all__ = ["hilbert"]
