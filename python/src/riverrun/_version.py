"""The version of this package: the same as that of the ``riverrun`` binary it belongs to."""

__all__ = ["__version__"]

__version__ = "0.1.0"
