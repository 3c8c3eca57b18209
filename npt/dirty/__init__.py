"""Dirty logs."""
