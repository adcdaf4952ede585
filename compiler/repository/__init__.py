"""Repositories: which artifacts there are, in the files that luet's clients read."""
