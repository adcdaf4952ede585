"""`python -m compiler.agent`."""

from compiler.agent.cli import main

main()
