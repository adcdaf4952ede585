"""Commands that are programs of their own: `cos-NAME` or `luet-NAME` in a folder of PATH."""

from collections.abc import Sequence

from compiler.process import Command, Streams, attached


def run(program: str, arguments: Sequence[str]) -> int:
    """Run a program with what follows its name on the command line; returns its exit code."""
    return attached(Command(argv=(program, *arguments)), Streams(stdin=True))
