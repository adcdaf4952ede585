"""A root directory with packages in it, changed by transactions that a crash cannot tear."""
