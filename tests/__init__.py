"""The tests: a package, so that ``tests/typing`` is not taken for the standard library's ``typing``."""
