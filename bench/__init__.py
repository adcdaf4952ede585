"""Measures the speed and the memory of `cos` as whole processes; `make bench` runs it."""
