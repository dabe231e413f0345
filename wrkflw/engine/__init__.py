"""The engine: advances one run of a program from its record on, under a claim."""
