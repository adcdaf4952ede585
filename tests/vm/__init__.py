"""Machines that boot what we build, in QEMU without hardware acceleration."""
