"""Failing disks, crashes at every file operation, and power cuts: what the files are left with is enough to go on."""
