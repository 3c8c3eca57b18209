"""``python -m npt`` is ``npt``."""

from npt.cli import main

if __name__ == "__main__":
    main()
