"""An engine for tests of what stands on engines: no container, no root, a handful of commands."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template

from compiler.engine import WORKSPACE, CopyFiles, LayerRequest, Run
from compiler.engine.confine import make_folders, settle, settle_parent
from compiler.engine.copying import copy_files
from compiler.engine.failure import first_line
from compiler.engine.flatten import changes_between, flatten, remove
from compiler.errors import EngineError
from compiler.events import Reporter, StepOutput, StepStarted
from compiler.oci import Digest


class MemoryEngine:
    """Interprets echo, write, append, mkdir, rm, mv, link, symlink, chmod, cat, true and fail.

    Those that write take their words as `write P T`, `link A B`; `echo T > P` works too. They are
    understood as `Run.argv`, and as shell text after `-c`, where `;`, `&&` and new lines go between
    commands. `built` keeps every request, in the order in which they came.
    """

    def __init__(
        self,
        layer_path: Callable[[Digest], Path],
        scratch: Callable[[], AbstractContextManager[Path]],
    ) -> None:
        self._layer_path = layer_path
        self._scratch = scratch
        self.built: list[LayerRequest] = []

    def build(self, request: LayerRequest, report: Reporter) -> None:
        """Fill `request.changes`; raises `EngineError` with the failed step, its output and log."""
        self.built.append(request)
        with self.mounted(request.root) as before, self._scratch() as place:
            after = place / "root"
            shutil.copytree(before, after, symlinks=True)
            for action in request.actions:
                report(StepStarted(request.name, action.text))
                if isinstance(action, Run):
                    self._run(action, request, after, report)
                else:
                    self._copy(action, request, after)
            changes_between(before, after, request.changes)

    @contextmanager
    def mounted(self, root: tuple[Digest, ...]) -> Iterator[Path]:
        """Show the stack of layers as one folder while the context lasts."""
        with self._scratch() as place:
            flatten([self._layer_path(layer) for layer in root], place)
            yield place

    def _copy(self, action: CopyFiles, request: LayerRequest, root: Path) -> None:
        place, inside = _place(root, request.workspace, action.destination)
        if action.destination.endswith("/"):
            inside += "/"
        with ExitStack() as context:
            folder = action.folder or context.enter_context(self.mounted(action.stack))
            copy_files(replace(action, destination=inside), folder, place)

    def _run(self, step: Run, request: LayerRequest, root: Path, report: Reporter) -> None:
        shell = _Shell(root, request.workspace, dict(step.env), step.directory)
        code = shell.run(step.argv)
        with request.log.open("a", encoding="utf-8") as log:
            log.writelines(f"{line}\n" for line in (f"$ {step.text}", *shell.said))
        for line in shell.said:
            report(StepOutput(request.name, line))
        if code:
            message = f"step failed with exit code {code}: {first_line(step.text)}"
            said = shell.said[-20:]
            raise EngineError(message, step=step.text, log=str(request.log), output=said)


@dataclass(slots=True)
class _Shell:
    """What a step sees: a root, the workspace in it, variables, and where it is."""

    root: Path
    workspace: Path
    env: Mapping[str, str]
    directory: str
    said: list[str] = field(default_factory=list)

    def run(self, argv: tuple[str, ...]) -> int:
        """Run one command, or the text of a shell; returns its exit code."""
        if "-c" not in argv[:3]:
            return self._command(list(argv))
        words = shlex.shlex(argv[-1], posix=True, punctuation_chars=";&>\n")
        words.whitespace = " \t"
        words.whitespace_split = True
        command: list[str] = []
        for word in (*words, ";"):
            if word.strip(";&\n"):
                command.append(Template(word).safe_substitute(self.env))
                continue
            code = self._command(command) if command else 0
            command = []
            if code:
                return code
        return 0

    def _command(self, words: list[str]) -> int:
        name, *arguments = words
        arguments = [word for word in arguments if not word.startswith("-")]
        if name == "exit":
            return int(arguments[0])
        known = _COMMANDS.get(name)
        if known is None:
            self.said.append(f"{name}: not found")
            return 127
        try:
            known(self, arguments)
        except OSError as error:
            self.said.append(f"{name}: {error.strerror}")
            return 1
        return 0

    def at(self, path: str) -> Path:
        """Find the file of `path`, in the root or in the workspace."""
        return settle_parent(*self.place(path))

    def place(self, path: str) -> tuple[Path, str]:
        """Say where `path` has to be looked up, and as what."""
        return _place(self.root, self.workspace, os.path.join(self.directory, path))  # noqa: PTH118  (it is the text of a path in the root)


def _place(root: Path, workspace: Path, path: str) -> tuple[Path, str]:
    whole = os.path.normpath(os.path.join("/", path))  # noqa: PTH118  (pure text)
    if whole == WORKSPACE or whole.startswith(f"{WORKSPACE}/"):
        return workspace, whole.removeprefix(WORKSPACE) or "/"
    return root, whole


def _echo(shell: _Shell, words: list[str]) -> None:
    for operator, mode in ((">>", "a"), (">", "w")):
        if operator in words:
            at = words.index(operator)
            _put(shell, words[at + 1], " ".join(words[:at]) + "\n", mode)
            return
    shell.said.append(" ".join(words))


def _put(shell: _Shell, path: str, text: str, mode: str) -> None:
    with shell.at(path).open(mode, encoding="utf-8") as file:
        file.write(text)


def _mkdir(shell: _Shell, words: list[str]) -> None:
    for path in words:
        make_folders(*shell.place(path))


def _cat(shell: _Shell, words: list[str]) -> None:
    for path in words:
        shell.said += settle(*shell.place(path)).read_text(encoding="utf-8").splitlines()


def _rm(shell: _Shell, words: list[str]) -> None:
    for path in words:
        remove(shell.at(path))


def _fail(_shell: _Shell, _words: list[str]) -> None:
    raise OSError(0, "failed as told")


_COMMANDS: Mapping[str, Callable[[_Shell, list[str]], object]] = {
    "append": lambda shell, words: _put(shell, words[0], " ".join(words[1:]) + "\n", "a"),
    "cat": _cat,
    "chmod": lambda shell, words: shell.at(words[1]).chmod(int(words[0], 8)),
    "echo": _echo,
    "fail": _fail,
    "link": lambda shell, words: shell.at(words[1]).hardlink_to(shell.at(words[0])),
    "mkdir": _mkdir,
    "mv": lambda shell, words: shell.at(words[0]).rename(shell.at(words[1])),
    "rm": _rm,
    "symlink": lambda shell, words: shell.at(words[1]).symlink_to(words[0]),
    "true": lambda _shell, _words: None,
    "write": lambda shell, words: _put(shell, words[0], " ".join(words[1:]) + "\n", "w"),
}
