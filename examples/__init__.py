"""Workflows to read and to run, one idea a file: ``python -m examples.hello``."""
