"""The picture at the top of README: what SQLite wrote when, and what moving it would take under six hypervisors' rules.

Run it from the project's root: ``python notebooks/pictures/overview.py``. It takes no time and no numbers of this machine: the
history is recorded, the clock is simulated, and the picture is the same everywhere.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from npt import studies, view
from npt.dirty import from_pages
from npt.view import style

MIB = 1 << 20
BANDWIDTH, DOWNTIME = 200 * MIB, 0.003


def main(target: Path | None = None) -> None:
    """Write the picture, beside this file unless told otherwise."""
    matplotlib.use("agg")
    history = studies.writer("sqlite")
    written = [from_pages(np.unique(window.pages[window.write]), history.n_pages) for window in history.windows()]
    moved = studies.compare_policies(history, bandwidth=BANDWIDTH, downtime=DOWNTIME).rows

    figure = plt.figure(figsize=(12, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    view.heat(written, n_pages=history.n_pages, ax=left)
    left.set_title("Pages that SQLite writes, by windows of 200,000 instructions")
    left.set_xlabel("window")
    at = np.arange(len(moved))
    right.barh(at - 0.2, [row["bytes_sent"] / MIB for row in moved], height=0.4, color=style.COLOURS[0])
    right.barh(at + 0.2, [row["downtime_ns"] / 1e6 for row in moved], height=0.4, color=style.COLOURS[1])
    right.set_yticks(at, [row["policy"] for row in moved])
    right.invert_yaxis()
    right.set_title(f"Migrated live at {BANDWIDTH // MIB} MiB/s, {1000 * DOWNTIME:g} ms aimed at")
    names = {"MiB on the wire": style.COLOURS[0], "ms of downtime": style.COLOURS[1]}
    right.legend(
        handles=[matplotlib.patches.Patch(color=colour, label=name) for name, colour in names.items()],
        frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.06), ncols=2,
    )  # fmt: skip
    figure.savefig(target or Path(__file__).with_name("overview.png"), dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
