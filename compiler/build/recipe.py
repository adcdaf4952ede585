"""From the rendered words of a package to what an engine does: commands and copies, in order."""

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.engine import DEFAULT_PATH, WORKSPACE, CacheMount, CopyFiles, Network, Run
from compiler.errors import Location, SpecError
from compiler.oci import Digest, Image
from compiler.spec.dockerfile import Stage
from compiler.spec.instruction import (
    CopyIn,
    Exec,
    From,
    Instruction,
    Mount,
    SetArg,
    SetEnv,
    SetShell,
    Shell,
    User,
    Workdir,
)
from compiler.spec.package import BuildSpec, PackageId, PackageSpec
from compiler.spec.step import parse_env_entry, parse_run
from compiler.spec.words import expand

Action = Run | CopyFiles
_URLS = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes the builder's layer (copies and prelude), and what makes the package's (steps)."""

    builder: tuple[Action, ...] = ()
    steps: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What instructions refer to besides themselves: the context's folder, other roots, the time.

    `origin` finds the layers of a stage or an image that `COPY --from` names.
    """

    workspace: Path
    origin: Callable[[str], tuple[Digest, ...]]
    epoch: int


@dataclass(slots=True)
class Interpreter:
    """Follows instructions as `docker build` does: each changes the state for the next one."""

    around: Surroundings
    env: dict[str, str] = field(default_factory=dict)
    directory: str = WORKSPACE
    user: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    arguments: dict[str, str] = field(default_factory=dict)

    def start_from(self, image: Image | None) -> None:
        """Take over what the config of a base image says."""
        if image is not None:
            self.env.update(image.env)
            self.user = image.user
            self.shell = image.shell or self.shell

    def again(self) -> "Interpreter":
        """Copy the state, for a stage that starts from where this one ended."""
        return replace(self, env=dict(self.env), arguments=dict(self.arguments))

    def follow(
        self, instructions: Iterable[Instruction], *, text: str, location: Location | None
    ) -> Iterator[Action]:
        """Turn instructions into actions; raises `SpecError` for what no engine here can do."""
        for each in instructions:
            try:
                action = self._one(each, text)
            except SpecError as error:
                raise SpecError(error.message, location=location, hint=error.hint) from error
            if action is not None:
                yield action

    def _one(self, instruction: Instruction, text: str) -> Action | None:
        """Follow one instruction; only commands and copies give an action."""
        match instruction:
            case Shell():
                return self._run((*self.shell, instruction.script), instruction, text)
            case Exec():
                return self._run(instruction.argv, instruction, text)
            case CopyIn():
                return self._copy(instruction, text)
            case _:
                self._set(instruction)
                return None

    def _set(self, instruction: Instruction) -> None:
        """Follow an instruction that only changes the state."""
        match instruction:
            case SetEnv():
                self.env.update(self._expanded(instruction.pairs))
            case SetArg():
                pairs = ((name, value or "") for name, value in instruction.pairs)
                self.arguments.update(self._expanded(pairs))
            case Workdir():
                self.directory = posixpath.join(self.directory, self._word(instruction.path))
            case User():
                self.user = self._word(instruction.name)
            case SetShell():
                self.shell = instruction.argv
            case From():
                raise SpecError("FROM within a step is not supported", hint="use 'copy'")
            case _:
                pass

    def _word(self, word: str) -> str:
        """Put variables into a word."""
        return expand(word, {**self.arguments, **self.env})

    def _expanded(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Put variables into values; all of them see the environment as it was before."""
        return [(name, self._word(value)) for name, value in pairs]

    def _run(self, argv: tuple[str, ...], written: Shell | Exec, text: str) -> Run:
        """Make the action of a command."""
        env = {"SOURCE_DATE_EPOCH": str(self.around.epoch), **self.arguments, **self.env}
        if any("\0" in each for each in (*argv, *env, *env.values())):
            raise SpecError("a command and its variables cannot hold the NUL character")
        networks = {"none": Network.NONE, "host": Network.HOST}
        return Run(
            argv=argv,
            text=text,
            env=tuple(env.items()),
            directory=self.directory,
            user=self.user,
            mounts=tuple(map(_cache_mount, written.mounts)),
            network=networks.get(written.network),
        )

    def _copy(self, written: CopyIn, text: str) -> CopyFiles:
        """Make the action of a `COPY` or `ADD`."""
        if written.files or written.owner or written.mode:
            raise SpecError(
                "COPY with a here-document, --chown or --chmod is not supported",
                hint="copy plainly, and change the file with a RUN",
            )
        sources = tuple(self._word(each) for each in written.sources)
        if any(each.startswith(_URLS) for each in sources):
            raise SpecError("ADD of a URL is not supported", hint="name the URL under 'retrieve'")
        destination = posixpath.join(self.directory, self._word(written.destination))
        return CopyFiles(
            stack=self.around.origin(written.origin) if written.origin else (),
            folder=None if written.origin else self.around.workspace,
            sources=sources,
            destination=destination,
            text=text,
            extract=written.add,
        )


def _cache_mount(mount: Mount) -> CacheMount:
    """Turn the mount of a `RUN --mount` into the engine's; raises `SpecError` for other kinds."""
    if mount.kind == "tmpfs":
        return CacheMount(target=mount.target, tmpfs=True)
    if mount.kind != "cache":
        raise SpecError(
            f"RUN --mount=type={mount.kind} is not supported", hint="cache and tmpfs are"
        )
    name = mount.options.get("id", mount.target)
    return CacheMount(target=mount.target, cache=hashlib.sha256(name.encode()).hexdigest()[:32])


def recipe_of(
    spec: PackageSpec,
    *,
    below: Sequence[PackageSpec],
    image: Image | None,
    copies: Sequence[CopyFiles],
    around: Surroundings,
) -> Recipe:
    """Make the recipe of a package.

    `below` are the packages of its root, bottom first, whose variables it inherits as luet's
    images do; `copies` come before its prelude. Raises `SpecError` at the place of a wrong entry.
    """
    build = spec.build or BuildSpec()
    interpreter = Interpreter(around)
    interpreter.start_from(image)
    interpreter.env.setdefault("PATH", DEFAULT_PATH)
    for each in below:
        _set_variables(interpreter, each)
    _set_variables(interpreter, spec)
    builder = (*copies, *_commands(interpreter, "prelude", build.prelude, spec.places))
    steps = tuple(_commands(interpreter, "steps", build.steps, spec.places))
    return Recipe(builder, steps)


def stage_actions(stage: Stage, interpreter: Interpreter, *, path: str) -> tuple[Action, ...]:
    """Make the actions of one stage of the Dockerfile at `path`; raises `SpecError` at its line.

    `interpreter` has the state of what the stage starts from, and afterwards that of its end.
    """
    return tuple(
        action
        for line, instruction in stage.instructions
        for action in interpreter.follow(
            (instruction,), text=f"{path}:{line}", location=Location(path, line, 1)
        )
    )


def _set_variables(interpreter: Interpreter, spec: PackageSpec) -> None:
    """Set the variables of a package: its identity, then its `env` entries."""
    interpreter.env.update(package_variables(spec.id))
    for number, entry in enumerate(spec.build.env if spec.build is not None else ()):
        location = spec.places.get(f"env.{number}") or spec.places.get("env")
        found = parse_env_entry(entry, location=location)
        for _ in interpreter.follow(found, text=entry, location=location):
            raise SpecError("runs a command", location=location, hint="write it as a step")


def package_variables(package: PackageId) -> Mapping[str, str]:
    """Name a package to its steps, as luet does."""
    return {
        "PACKAGE_NAME": package.name,
        "PACKAGE_VERSION": package.version,
        "PACKAGE_CATEGORY": package.category,
    }


def _commands(
    interpreter: Interpreter,
    key: str,
    entries: Sequence[str],
    places: Mapping[str, Location],
) -> Iterator[Action]:
    """Follow the entries of `prelude` or `steps`."""
    for number, entry in enumerate(entries):
        location = places.get(f"{key}.{number}") or places.get(key)
        found = parse_run(entry, location=location)
        yield from interpreter.follow(found, text=entry, location=location)
