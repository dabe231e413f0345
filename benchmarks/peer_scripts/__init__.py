"""One script for each peer, executed by the peer's own interpreter: ``on_burr.py RUNS IN_FLIGHT LENGTH``.

Each runs that many runs of that many steps in the working directory, and prints one line of JSON.
"""
