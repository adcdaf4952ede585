"""Disks and their partitions: what is there, what changes, and the programs that change it."""
