"""The library at work, in about ten seconds: ``python -m examples.demo``, or ``make demo``."""
