"""What keeps a plan from being built, found before anything runs."""

from collections.abc import Iterator, Mapping, Sequence

from compiler.artifact.filters import filter_faults
from compiler.errors import (
    CompilerError,
    ExitCode,
    ImageError,
    Location,
    OutsideError,
    SpecError,
)
from compiler.graph import BuildGraph, NodeId
from compiler.oci import image_hint, parse_reference
from compiler.plan import Action, PlanNode
from compiler.request import Planned
from compiler.spec.package import PackageSpec
from compiler.spec.step import parse_env_entry, parse_run


def faults_of(
    planned: Planned, refusals: Mapping[str, CompilerError] | None = None
) -> Iterator[CompilerError]:
    """Go through everything that keeps the nodes of a plan from being built.

    `refusals` say of images that no registry gave them, and why.
    """
    missing: dict[str, list[PlanNode]] = {}
    grounded = _grounded(planned.graph)
    for each in planned.nodes:
        if each.action is Action.BUILD:
            yield from each.node.spec.doubts
            yield from _step_faults(each.node.spec)
            yield from _copy_faults(each.node.spec)
            if each.id not in grounded:
                yield from _groundless(each)
            further = planned.further.get(each.id.package, ())
            for name in dict.fromkeys((*_image_names(each), *further)):
                if name not in planned.images:
                    missing.setdefault(name, []).append(each)
        if each.packs:
            yield from filter_faults(each.node.spec)
            yield from _folder_faults(each.node.spec)
    for name, nodes in missing.items():
        yield _missing_image(name, nodes, (refusals or {}).get(name))


def warnings_of(planned: Planned) -> Iterator[CompilerError]:
    """Go through what is odd about the packages that a plan builds or packs: unknown keys."""
    for each in planned.nodes:
        if each.action is not Action.REUSE and not each.id.variant:
            yield from each.node.spec.warnings


def spec_faults(spec: PackageSpec) -> Iterator[CompilerError]:
    """Go through what is wrong with a package by itself, whatever it is built on."""
    yield from _step_faults(spec)
    yield from _copy_faults(spec)
    yield from filter_faults(spec)
    yield from _folder_faults(spec)


def _grounded(graph: BuildGraph) -> set[NodeId]:
    """Find the nodes that have a root to run in: an image or a join at the bottom."""
    found: set[NodeId] = set()
    for id_, node in graph.nodes.items():
        if node.image or node.joined or any(each in found for each in node.parents):
            found.add(id_)
    return found


def _groundless(node: PlanNode) -> Iterator[SpecError]:
    """Say that a package has something to run and nowhere to run it."""
    spec = node.node.spec
    build = spec.build
    if build is not None and (build.steps or build.prelude):
        yield SpecError(
            f"{node.id} has steps, but nothing to run them in",
            location=spec.places.get("steps") or spec.places.get("prelude"),
            hint="name an image, or require a package that starts from one",
        )


def _step_faults(spec: PackageSpec) -> Iterator[CompilerError]:
    """Find the entries that are no commands, so that none is found only after others have run."""
    build = spec.build
    if build is None:
        return
    for key, entries in (("prelude", build.prelude), ("steps", build.steps), ("env", build.env)):
        parse = parse_env_entry if key == "env" else parse_run
        for number, entry in enumerate(entries):
            try:
                parse(entry)
            except SpecError as error:
                error.location = spec.places.get(f"{key}.{number}") or spec.places.get(key)
                yield error


def _copy_faults(spec: PackageSpec) -> Iterator[CompilerError]:
    """Refuse `copy` entries that do not say from where, or what."""
    for number, entry in enumerate(spec.build.copy_ if spec.build is not None else ()):
        missing = [key for key in ("source", "destination") if not getattr(entry, key)]
        if entry.package is None and not entry.image:
            missing.append("package' or 'image")
        if missing:
            place = spec.places.get(f"copy.{number}") or spec.places.get("copy")
            yield SpecError(f"a copy entry needs '{missing[0]}'", location=place)


def _folder_faults(spec: PackageSpec) -> Iterator[CompilerError]:
    """Refuse a `package_dir` that leads out of the root."""
    folder = spec.build.package_dir if spec.build is not None else ""
    if ".." in folder.split("/"):
        place = spec.places.get("package_dir")
        yield SpecError(f"package_dir {folder!r} leads out with '..'", location=place)


def _image_names(node: PlanNode) -> Iterator[str]:
    """Name the images that a node starts or copies from, each once."""
    named = (node.node.image, *(edge.source.image for edge in node.node.copies))
    return (name for name in dict.fromkeys(named) if name)


def _missing_image(
    name: str, nodes: Sequence[PlanNode], refusal: CompilerError | None
) -> CompilerError:
    """Say which packages need an image that the store does not have, and how to bring it."""
    first = nodes[0]
    spec = first.node.spec
    location = spec.places.get("image") or Location(str(spec.build_file or spec.definition_file))
    try:
        parse_reference(name)
    except ImageError as error:
        return SpecError(error.message, location=location, hint="write it as NAME:TAG")
    others = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    are = "are" if others else "is"
    message = f"the image {name!r}, from which {first.id}{others} {are} built, is not in the store"
    if refusal is None:
        return ImageError(message, location=location, hint=image_hint(name))
    refused = f"{message}, and cannot be pulled: {refusal.message}"
    return unpulled(name, refusal, refused, location=location)


def unpulled(
    name: str, refusal: CompilerError, message: str = "", location: Location | None = None
) -> CompilerError:
    """Make the error for an image that no registry gave: of the outside, if that has failed."""
    reference = parse_reference(name)
    named = f"{reference.registry}/{reference.repository}" in refusal.message
    said = message or (refusal.message if named else f"{name}: {refusal.message}")
    hint = "; or ".join(each for each in (refusal.hint, image_hint(name)) if each)
    kind = OutsideError if refusal.exit_code is ExitCode.OUTSIDE else ImageError
    return kind(said, location=location, hint=hint)
