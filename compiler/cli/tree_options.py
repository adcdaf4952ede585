"""Options of the `cos tree` commands, with luet's names."""

from typing import Annotated

import typer

Trees = Annotated[
    list[str] | None,
    typer.Option("-t", "--tree", help="A tree; later ones overlay earlier ones. [default: .]"),
]
Values = Annotated[
    list[str] | None, typer.Option("--values", help="A values file; the last one wins.")
]
Matches = Annotated[
    list[str] | None, typer.Option("-m", "--matches", help="Only what this expression finds.")
]
Excludes = Annotated[
    list[str] | None, typer.Option("-e", "--exclude", help="Not what this expression finds.")
]
Output = Annotated[str, typer.Option("-o", "--output", help="terminal, json or yaml.")]
Dockerfiles = Annotated[
    bool, typer.Option("--dockerfiles", help="Take every Dockerfile of the tree as a package.")
]
FromRepositories = Annotated[
    bool,
    typer.Option("--from-repositories", help="Also packages that only repositories define."),
]

Buildtime = Annotated[
    bool, typer.Option("-b", "--buildtime", help="What is needed to build, not to run.")
]
Deps = Annotated[bool, typer.Option("--deps", help="What the packages need.")]
Revdeps = Annotated[bool, typer.Option("--revdeps", help="What needs the packages.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="With versions.")]
Full = Annotated[bool, typer.Option("-f", "--full", help="With descriptions.")]
OnlyRuntime = Annotated[
    bool, typer.Option("--only-runtime", help="Only what packages need to run.")
]
OnlyBuildtime = Annotated[
    bool, typer.Option("--only-buildtime", help="Only what packages need to be built.")
]
WithSolver = Annotated[
    bool, typer.Option("-s", "--with-solver", help="Find versions that go together, too.")
]
ToStdout = Annotated[
    bool, typer.Option("-o", "--to-stdout", help="Print the file instead of writing it.")
]
All = Annotated[bool, typer.Option("--all", help="Every package.")]
