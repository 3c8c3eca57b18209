"""Figures: npt beside the limits of the memory and beside the per-page algorithm, in one run."""
