"""Mistakes made on purpose, each of which some layer of the tests must find."""
