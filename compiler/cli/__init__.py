"""The `cos` command: finds the module of a command, runs it, and turns errors into exit codes."""

import atexit
import gc as garbage  # `gc` is a command of this package
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from compiler.cli.settings import take_settings
from compiler.errors import CompilerError, ExitCode, Faults, Interrupted, UsageError

COMMANDS = {
    "box": ("compiler.cli.box", "Run a program in a root directory"),
    "build": ("compiler.cli.build", "Build packages of a tree into artifacts"),
    "cleanup": ("compiler.cli.upkeep", "Remove all archives that were fetched"),
    "completion": ("compiler.cli.completion", "Print what lets a shell complete commands"),
    "config": ("compiler.cli.config", "Print the configuration as it counts"),
    "create-repo": ("compiler.cli.repo", "Write a repository of what was built"),
    "database": ("compiler.cli.database", "Show and change what is entered as installed"),
    "disk": ("compiler.cli.disk", "Make a disk image with an installed system"),
    "gc": ("compiler.cli.gc", "Remove from the store what nothing needs any more"),
    "image": ("compiler.cli.image", "Bring base images into the store: bootstrap, import, list"),
    "install": ("compiler.cli.install", "Install packages and what they need"),
    "iso": ("compiler.cli.iso", "Make an ISO image that starts from CD and USB"),
    "key": ("compiler.cli.key", "Make key pairs to sign with"),
    "lock": ("compiler.cli.lock", "Write down which image each name of a tree stands for"),
    "login": ("compiler.cli.login", "Keep credentials for a registry, as docker does"),
    "logout": ("compiler.cli.login", "Forget the credentials for a registry"),
    "oscheck": ("compiler.cli.upkeep", "List installed packages that have files missing"),
    "pack": ("compiler.cli.pack", "Pack a folder into the artifact of a package"),
    "plan": ("compiler.cli.plan", "Show what a build would do, and why"),
    "reclaim": ("compiler.cli.upkeep", "Enter packages whose files are there already"),
    "registry": ("compiler.cli.registry", "Keep repositories in registries in order"),
    "reinstall": ("compiler.cli.install", "Install packages anew in the version that they have"),
    "replace": ("compiler.cli.install", "Remove packages and install others in their place"),
    "repo": ("compiler.cli.repositories", "Add, list, update and sign repositories"),
    "search": ("compiler.cli.search", "Search packages of repositories and of the system"),
    "serve-repo": ("compiler.cli.repo", "Serve a repository over HTTP"),
    "sign": ("compiler.cli.sign", "Sign images in registries"),
    "tree": ("compiler.cli.tree", "List, check, render, draw and bump the packages of a tree"),
    "uninstall": ("compiler.cli.install", "Remove packages"),
    "upgrade": ("compiler.cli.install", "Bring what is installed to its newest version"),
    "util": ("compiler.cli.util", "Sort and match versions, unpack and pack images"),
    "verify": ("compiler.cli.sign", "Check the signatures of images"),
}
"""Every command by the module that has it, imported only when the command is called."""

ALIASES = {"c": "config", "i": "install", "r": "replace", "rm": "uninstall", "s": "search",
           "u": "upgrade", "un": "uninstall"}  # fmt: skip
"""The short names that luet has for commands."""

_NEW_OBJECTS = 200_000
"""How many objects are made before Python looks for unused rings among them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _collect_rarely()
    _open_streams()
    _listen()
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    except Exception as error:  # the one place that answers for every error
        if {"--debug", "-d"} & {*given[: given.index("--") if "--" in given else None]}:
            importlib.import_module("traceback").print_exc()
        code = _explain(error, as_json=_wants_json(given))
    sys.exit(int(code))


def _collect_rarely() -> None:
    """Look for unused rings rarely, and not at all on the way out: a third of a short command.

    Python looks after every 700 new objects; loading the modules alone makes 100,000, all of them
    in use, and at the end it goes through everything once more before the system takes it all.
    """
    garbage.set_threshold(_NEW_OBJECTS)
    atexit.register(garbage.freeze)


def _open_streams() -> None:
    """Let nothing else get the place of a standard stream that was closed by who started us."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _listen() -> None:
    """Let SIGINT and SIGTERM end a run in order: containers stop and nothing half-made stays.

    Once only: what cleans up afterwards is not to be stopped in turn.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(f"stopped by {signal.Signals(number).name}")

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)


def _run(arguments: list[str]) -> int:
    """Run the command that `arguments` name; returns its exit code."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # start-up: no entry points
    settings, rest = take_settings(arguments, os.environ)
    if settings.version or rest == ["version"]:
        _print(f"cos {importlib.import_module('compiler').__version__}")
        return ExitCode.DONE
    if not rest or rest[0] in {"-h", "--help", "help"}:
        _print(_overview())
        return ExitCode.DONE
    name, *given = rest
    name = ALIASES.get(name, name)
    extension = _extension(name) if name not in COMMANDS else ""
    if extension:
        return int(
            importlib.import_module("compiler.cli.extension").run(
                extension, arguments[arguments.index(name) + 1 :]
            )
        )
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}", hint=_near(name))
    module = importlib.import_module(COMMANDS[name][0])
    run = importlib.import_module("compiler.cli.run").run
    return int(run(module, [name, *given], settings))


def _extension(name: str) -> str:
    """Find a program that somebody added as a command: `cos-NAME`, or luet's `luet-NAME`."""
    which = importlib.import_module("shutil").which
    if "/" in name or name.startswith("-"):
        return ""
    return which(f"cos-{name}") or which(f"luet-{name}") or ""


def _near(name: str) -> str:
    """Suggest the command that was probably meant."""
    close = importlib.import_module("difflib").get_close_matches(name, COMMANDS, 1)
    return f"did you mean {close[0]!r}?" if close else "`cos --help` lists the commands"


def _overview() -> str:
    """List the commands, without loading any of them."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    return (
        "Usage: cos [OPTIONS] COMMAND [ARGS]...\n\n"
        "Builds, ships and maintains immutable Linux derivatives from container images.\n\n"
        f"Commands:\n{commands}\n\n"
        "Options that every command takes:\n"
        "  --store PATH        where layers and images are kept ($COS_STORE, .cos/store)\n"
        "  --concurrency N     how many packages are built at the same time (the cores)\n"
        "  --log-format FORM   text, or json for one event a line on standard error\n"
        "  --config FILE       the configuration of a client (.cos.yaml, .luet.yaml, /etc/cos, …)\n"
        "  --system-target DIR the system that clients work on (/)\n"
        "  -d, --debug         show tracebacks\n"
        "  -q, --quiet         say only what went wrong\n"
        "  --version, -h, --help\n\n"
        "`cos COMMAND --help` explains one command."
    )


def _print(text: str) -> None:
    """Write a result to standard output."""
    sys.stdout.write(f"{text}\n")


def _explain(error: Exception, *, as_json: bool) -> int:
    """Tell what went wrong on standard error; returns the exit code that goes with it."""
    each_alone = error.exceptions if isinstance(error, Faults) else (error,)
    for each in each_alone:
        text = _words(each)
        if as_json:
            location = str(getattr(each, "location", None) or "")
            text = importlib.import_module("json").dumps(
                {"event": "Error", "message": text, "location": location}
            )
        else:
            text = f"error: {text}"
        sys.stderr.write(f"{text}\n")
    codes = {int(_code(each)) for each in each_alone}
    if ExitCode.FAILED in codes:  # what is wrong stays wrong, whatever the outside does next time
        codes.discard(ExitCode.OUTSIDE)
    return max(codes)


def _words(error: Exception) -> str:
    """Put one error into words."""
    if isinstance(error, CompilerError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return (
        f"this is a fault of cos itself: {type(error).__name__}: {error}\n"
        "  run the same command with --debug for the details that a report needs"
    )


def _wants_json(given: Sequence[str]) -> bool:
    """Tell whether events are asked for as JSON; looks at the words, which may be what is wrong."""
    words = " ".join(given).replace("=", " ")
    return "--log-format json" in words


def _code(error: Exception) -> int:
    """Return the exit code of one error."""
    if isinstance(error, OSError):
        return ExitCode.OUTSIDE
    return error.exit_code if isinstance(error, CompilerError) else ExitCode.FAILED
