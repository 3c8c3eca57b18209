"""Real histories from elsewhere: what valgrind saw a program do, what KVM saw a guest write."""

from npt.studies.imports.bitmaps import import_bitmaps
from npt.studies.imports.lackey import import_lackey

__all__ = ["import_bitmaps", "import_lackey"]
