"""Guest memory of a hypervisor."""

__version__ = "0.1.0"
