"""A small online shop."""

__version__ = "1.4.0"
