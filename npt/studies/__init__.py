"""Experiments: what the engine does on this machine, what real programs' memory does in it, what it costs to track it."""

from npt.studies.comparison import compare
from npt.studies.dirtylog import dirty_log, dirty_log_memory, dirty_log_text
from npt.studies.executors import EXECUTORS, executor
from npt.studies.forecast import machine, memory_needs
from npt.studies.history import HISTORIES, History
from npt.studies.imports import import_bitmaps, import_lackey
from npt.studies.migrate import migrate
from npt.studies.migrations import compare_policies, policies_memory
from npt.studies.policies import POLICIES, Policy, policy
from npt.studies.population import Population, population, population_memory
from npt.studies.precopy import PrecopyResult, Round, precopy
from npt.studies.rates import dirty_rates
from npt.studies.replay import Difference, ReplayResult, replay
from npt.studies.residuals import residuals
from npt.studies.results import Results
from npt.studies.sweep import sweep
from npt.studies.tasks import TASKS
from npt.studies.throughput import Throughput, largest_guest, throughput
from npt.studies.timed import Timed
from npt.studies.tracking import MECHANISMS, compare_mechanisms
from npt.studies.writers import WRITERS, HotCold, Mix, Phases, Sequential, Strided, Uniform, Window, Writer, Zipf, writer

__all__ = [
    "Difference",
    "EXECUTORS",
    "HISTORIES",
    "History",
    "HotCold",
    "MECHANISMS",
    "Mix",
    "POLICIES",
    "Phases",
    "Policy",
    "Population",
    "PrecopyResult",
    "ReplayResult",
    "Results",
    "Round",
    "Sequential",
    "Strided",
    "TASKS",
    "Throughput",
    "Timed",
    "Uniform",
    "WRITERS",
    "Window",
    "Writer",
    "Zipf",
    "compare",
    "compare_mechanisms",
    "compare_policies",
    "dirty_log",
    "dirty_log_memory",
    "dirty_log_text",
    "dirty_rates",
    "executor",
    "import_bitmaps",
    "import_lackey",
    "largest_guest",
    "machine",
    "memory_needs",
    "migrate",
    "policies_memory",
    "policy",
    "population",
    "population_memory",
    "precopy",
    "replay",
    "residuals",
    "sweep",
    "throughput",
    "writer",
]
