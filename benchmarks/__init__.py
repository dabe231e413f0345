"""How fast wrkflw is, beside the limit of the disk under it, on the machine at hand: ``python -m benchmarks``.

Absolute figures drift with the machine and with who shares it.  So every measurement has the raw limit measured right
before and right after it, in the same process and on the same disk, and the ratio of the two is what counts.
"""
