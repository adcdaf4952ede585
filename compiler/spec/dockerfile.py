"""Whole Dockerfiles: their stages, and the packages that `--dockerfiles` makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compiler.errors import CompilerError, Faults, Location, SpecError
from compiler.spec.instruction import From, Instruction, SetArg
from compiler.spec.load import read_text
from compiler.spec.package import BuildSpec, Definition, PackageSpec
from compiler.spec.step import instruction, statements
from compiler.spec.words import expand


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next: what it starts from, and each instruction with its line."""

    image: str
    name: str = ""
    instructions: tuple[tuple[int, Instruction], ...] = ()


@dataclass(slots=True)
class _Open:
    """A stage while its lines are read."""

    image: str
    name: str
    instructions: list[tuple[int, Instruction]] = field(default_factory=list)


def parse_dockerfile(text: str, path: str) -> tuple[Stage, ...]:
    """Read a Dockerfile; raises `Faults` with everything that is wrong with it."""
    arguments: dict[str, str] = {}
    stages: list[_Open] = []
    faults: list[CompilerError] = []
    for statement in statements(text):
        try:
            _put(instruction(statement), statement.line, stages, arguments)
        except SpecError as error:
            location = Location(path, statement.line, 1)
            faults.append(SpecError(error.message, location=location, hint=error.hint))
    if not stages and not faults:
        faults.append(SpecError("has no FROM", location=Location(path, 1, 1)))
    if faults:
        raise Faults.of(faults)
    return tuple(Stage(each.image, each.name, tuple(each.instructions)) for each in stages)


def _put(found: Instruction, line: int, stages: list[_Open], arguments: dict[str, str]) -> None:
    if isinstance(found, From):
        stages.append(_Open(expand(found.image, arguments), found.name.lower()))
    elif stages:
        stages[-1].instructions.append((line, found))
    elif isinstance(found, SetArg):
        arguments.update({name: expand(value or "", arguments) for name, value in found.pairs})
    else:
        raise SpecError("stands before the first FROM")


def base_image(stages: Sequence[Stage]) -> str:
    """Tell the image that the last stage stands on, through the stages between."""
    image = stages[-1].image
    for stage in reversed(stages[:-1]):
        if stage.name and stage.name == image.lower():
            image = stage.image
    return image


def dockerfile_package(path: Path) -> PackageSpec:
    """Make the package of a Dockerfile: named as its folder, without category and version.

    Raises `SpecError` or `Faults`.
    """
    text = read_text(path)
    stages = parse_dockerfile(text, str(path))
    name = path.parent.name or path.parent.resolve().name
    return PackageSpec(
        definition=Definition(name=name),
        build=BuildSpec(image=base_image(stages), dockerfile=text),
        folder=path.parent,
        definition_file=path,
        build_file=path,
    )
