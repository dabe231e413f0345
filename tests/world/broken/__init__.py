"""Worlds that are broken on purpose, each in one way: the conformance suite must notice every one."""
