"""Experiments: what the engine does on this machine, and what real programs' memory does in it."""

from npt.studies.history import HISTORIES, History
from npt.studies.replay import Difference, ReplayResult, replay
from npt.studies.results import Results
from npt.studies.throughput import Throughput, largest_guest, throughput

__all__ = [
    "HISTORIES",
    "Difference",
    "History",
    "ReplayResult",
    "Results",
    "Throughput",
    "largest_guest",
    "replay",
    "throughput",
]
