"""Lets `python -m compiler` stand for the `cos` command."""

from compiler.cli import main

main()
