#!/usr/bin/python3 -I
"""Starts the agent out of its own folder, whatever the environment says; the name called is the command."""

import sys

sys.path.insert(0, "/usr/lib/cos/python")

from compiler.agent.cli import main

main()
