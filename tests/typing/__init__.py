"""Programs for type checkers to read; never executed."""
