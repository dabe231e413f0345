"""One module for each revision.  They say what was true when they were written, and do not follow the tables."""
