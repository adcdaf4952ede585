"""`unpack_images`: the files of container images."""

from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, Task, Unpack
from compiler.agent.cloudconfig.model import Image, Step
from compiler.errors import CompilerError


def tasks(step: Step) -> Iterator[Task]:
    """Unpack each image."""

    def unpack(image: Image) -> Task:
        return lambda _machine: _unpack(image)

    yield from map(unpack, step.unpack_images)


def _unpack(image: Image) -> Actions:
    if not image.source or not image.target:
        raise CompilerError("an image to unpack needs a source and a target")
    yield Unpack(image=image.source, target=image.target, platform=image.platform)
