"""Base images: which ones packages name, and what these names stand for."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from compiler.errors import ImageError, SpecError
from compiler.oci import SCRATCH, Image, scratch_image
from compiler.spec.dockerfile import parse_dockerfile
from compiler.spec.instruction import CopyIn, Instruction
from compiler.spec.package import PackageSpec
from compiler.spec.step import parse_run
from compiler.store.images import host_platform

ImageLookup = Callable[[str], Image | None]
"""Finds a base image by the name that a spec gives it; raises `ImageError` for what is no name."""


def image_names(specs: Iterable[PackageSpec]) -> tuple[str, ...]:
    """Name every image that specs start from, copy from, or build a stage on, sorted."""
    names: set[str] = set()
    for spec in specs:
        if spec.build is not None:
            names.add(spec.build.image)
            names.update(each.image for each in spec.build.copy_)
            names.update(further_images(spec))
    return tuple(sorted(names - {""}))


def find_images(names: Iterable[str], lookup: ImageLookup) -> Iterator[tuple[str, Image]]:
    """Look up every base image that specs name."""
    for name in names:
        try:
            image = scratch_image(host_platform()) if name == SCRATCH else lookup(name)
        except ImageError:  # not a name: an error when a node needs it, not before
            image = None
        if image is not None:
            yield name, image


def further_images(spec: PackageSpec) -> tuple[str, ...]:
    """Name the images that a package's instructions take files from or build a stage on."""
    build = spec.build
    if build is None:
        return ()
    stages: dict[str, None] = {}
    names: dict[str, None] = {}
    found: list[Instruction] = []
    if build.dockerfile:
        for number, stage in enumerate(parse_dockerfile(build.dockerfile, str(spec.build_file))):
            if stage.image.lower() not in stages:
                names[stage.image] = None
            stages.update({str(number): None, stage.name: None})
            found += [each for _, each in stage.instructions]
    for text in (*build.prelude, *build.steps):
        if "--from" in text:
            with suppress(SpecError):  # told when the node is built
                found += parse_run(text)
    copied = (each.origin for each in found if isinstance(each, CopyIn))
    names.update((each, None) for each in copied if each and each.lower() not in stages)
    return tuple(each for each in names if each != build.image)
