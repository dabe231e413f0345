"""Worlds: the contract of :mod:`wrkflw.world`, kept."""
