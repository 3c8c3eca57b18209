"""What tests of threads rely on holds here, too: two processors, nobody left behind, threads that meet often."""

from tests.threads.conftest import form, helpers_are_there, nobody_is_left, two_processors

__all__ = ["form", "helpers_are_there", "nobody_is_left", "two_processors"]
