"""The side of the operating system: what runs inside the systems that are built.

It needs nothing but Python, PyYAML and what this package brings with it: there is no builder there.
"""
