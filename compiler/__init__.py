"""Builds, ships and maintains immutable Linux derivatives out of container images."""

__version__ = "0.1.0"
