"""Builds the layers of one node, unless the same content was built before."""

import posixpath
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from compiler.archive.safety import Devices
from compiler.archive.unpack import unpack_tar
from compiler.base_images import further_images
from compiler.build.fetch import retrieve_into
from compiler.build.recipe import Action, Interpreter, Surroundings, recipe_of, stage_actions
from compiler.build.settings import BuildSettings, Tools
from compiler.build.stacks import Changes, changes_of, overlaps
from compiler.context import fill_workspace
from compiler.engine import WORKSPACE, CopyFiles, LayerRequest
from compiler.errors import CompilerError, EngineError, ImageError, Location
from compiler.fingerprint import clash_key, content_key, stack_key
from compiler.graph import BuildGraph, BuildNode, NodeId
from compiler.keys import LayerKey
from compiler.marks import marked_sources
from compiler.oci import SCRATCH, Digest, Image, image_hint, scratch_image
from compiler.plan import PlanNode
from compiler.retrieve import matching_files, retrieved_files
from compiler.spec.dockerfile import parse_dockerfile
from compiler.spec.package import BuildSpec, PackageSpec
from compiler.store import NodeRecord
from compiler.store.images import host_platform
from compiler.store.records import doubts

_REMEMBERED = 64
"""How many nodes' changes are kept in memory for the next comparison."""


class StackClash(CompilerError):  # noqa: N818  (not a fault: a new plan answers it)
    """The layers of a root change the same paths, so the root has to be a chain instead."""

    def __init__(self, node: NodeId, paths: tuple[str, ...]) -> None:
        super().__init__(f"{node}: its requirements change the same paths: {', '.join(paths[:5])}")
        self.node = node
        self.paths = paths


def _place_of(step: str, spec: PackageSpec) -> Location | None:
    """Find where the step that failed was written."""
    build = spec.build or BuildSpec()
    for key, entries in (("steps", build.steps), ("prelude", build.prelude)):
        if step in entries:
            return spec.places.get(f"{key}.{entries.index(step)}") or spec.places.get(key)
    return spec.places.get("copy") if step.startswith("copy ") else None


class NodeBuilder:
    """Builds the nodes of one run; what a node stands on must have been built before it."""

    def __init__(
        self,
        graph: BuildGraph,
        plan: Sequence[PlanNode],
        tools: Tools,
        settings: BuildSettings,
    ) -> None:
        self._graph = graph
        self._plan = {each.id: each for each in plan}
        self._tools = tools
        self._settings = settings
        self._guard = threading.Lock()
        self._lately: OrderedDict[tuple[Digest, ...], Changes] = OrderedDict()

    def record(self, id_: NodeId) -> NodeRecord:
        """Return what was built for a node."""
        record = self._tools.store.node(self._plan[id_].keys.layer)
        if record is None:
            raise CompilerError(
                f"the layers of {id_} have gone from the store",
                hint="another process may have removed them; run the same command again",
            )
        return record

    def build(self, planned: PlanNode, joined: Sequence[Path]) -> bool:
        """Build a node and keep its record; tells whether steps ran, or an older result served.

        `joined` are the archives that make its base. Raises `StackClash`, or `EngineError` for a
        step that failed.
        """
        self._check_stack(planned.node)
        root = self._root(planned.node, joined)
        content = self._content(planned, root)
        found = None if planned.again else self._tools.store.node_by_content(content)
        if found is not None and found.unverified and self._settings.verified:
            found = None
        if found is None:
            self._tools.store.put_node(self.make(planned, root, content))
            return True
        self._tools.store.put_node(
            replace(
                found,
                key=planned.keys.layer,
                inputs=planned.keys.inputs,
                needs=self._needs(planned.node),
                root=root,
            )
        )
        return False

    def make(self, planned: PlanNode, root: tuple[Digest, ...], content: str) -> NodeRecord:
        """Run the actions of a node on `root`; returns the record of its layers, not yet kept."""
        started = time.monotonic()
        layers, builder = self._layers(planned, root)
        return NodeRecord(
            key=planned.keys.layer,
            content=content,
            package=planned.id.package.title,
            layers=layers,
            builder=builder,
            root=root,
            inputs=planned.keys.inputs,
            needs=self._needs(planned.node),
            log=str(self._tools.store.log_path(planned.keys.layer)),
            seconds=round(time.monotonic() - started, 3),
            unverified=self._doubts(planned),
        )

    def _content(self, planned: PlanNode, root: tuple[Digest, ...]) -> str:
        """Name a node by what it is really made of: its own inputs and the digests below."""
        copied = [" ".join((*what, *stack)) for what, stack in self._copied(planned.node)]
        build = planned.node.spec.build
        patterns = build.retrieve if build is not None and planned.node.retrieved else ()
        brought = retrieved_files(patterns, self._settings.destination).items()
        return content_key(
            planned.keys.inputs, [*root, *copied, *(" ".join(each) for each in brought)]
        )

    def _doubts(self, planned: PlanNode) -> str:
        """Say from where something came, unverified, that a node is built from."""
        node, store = planned.node, self._tools.store
        below = {each for id_ in (planned.id, *node.needs) for each in self._graph.root(id_)}
        layers = [store.node(self._plan[each].keys.layer) for each in {*below, *node.needs}]
        archives = [
            store.artifact(self._plan[each].keys.archive)
            for each in (*node.joined, *node.retrieved)
        ]
        build = node.spec.build or BuildSpec()
        files = matching_files(build.retrieve, self._settings.destination)
        images = [image.unverified for image in self._images(node)]
        return doubts((*layers, *archives), *marked_sources(files), *images)

    def _images(self, node: BuildNode) -> Iterator[Image]:
        """Go through the images in the store that a node starts from or takes files from."""
        copied = (edge.source.image for edge in node.copies)
        for name in {node.image, *copied, *further_images(node.spec)} - {"", SCRATCH}:
            image = self._settings.images.get(name) or self._tools.store.image(name)
            if image is not None:
                yield image

    def _needs(self, node: BuildNode) -> tuple[LayerKey, ...]:
        """Name the keys of everything that a node needs."""
        return tuple(self._plan[each].keys.layer for each in node.needs)

    def _image(self, name: str) -> Image:
        if name == SCRATCH:
            return scratch_image(host_platform())
        image = self._settings.images.get(name) or self._tools.store.image(name)
        if image is None:
            raise ImageError(
                f"the image {name!r} is not in the store",
                hint=image_hint(name),
            )
        return image

    def _root(self, node: BuildNode, joined: Sequence[Path]) -> tuple[Digest, ...]:
        """List the layers that a node's actions start from, bottom first."""
        if node.joined:
            return (self._joined_layer(joined),) if joined else ()
        if node.image:
            return self._image(node.image).layers
        return self._stack(self._graph.root(node.id))

    def _stack(self, nodes: Sequence[NodeId]) -> tuple[Digest, ...]:
        """List the layers of nodes that lie on each other, with what the lowest stands on."""
        records = [self.record(each) for each in nodes]
        base = next((each.root for each in records if each.root), ())
        return (*base, *(layer for each in records for layer in each.layers))

    def _joined_layer(self, archives: Sequence[Path]) -> Digest:
        """Unpack artifacts over each other, later ones winning, as one layer."""
        with self._tools.store.scratch() as place:
            folder = place / "joined"
            folder.mkdir(mode=0o755)
            for archive in archives:
                unpack_tar(archive, folder, devices=Devices.allowed())
            return self._tools.store.add_layer(folder, self._settings.packed)

    def _copied(self, node: BuildNode) -> Iterator[tuple[tuple[str, str], tuple[Digest, ...]]]:
        """Go through the copies of a node: from what root, as source and destination."""
        for edge in node.copies:
            what = (edge.source.source, edge.source.destination)
            if edge.node is not None:
                yield what, self._stack((*self._graph.root(edge.node), edge.node))
            elif edge.source.image:
                yield what, self._image(edge.source.image).layers

    def _layers(
        self, planned: PlanNode, root: tuple[Digest, ...]
    ) -> tuple[tuple[Digest, ...], int]:
        """Run a node's actions; returns its layers and how many of them are the builder's."""
        node = planned.node
        with self._tools.store.scratch() as place:
            around = Surroundings(
                workspace=self._workspace(node, place),
                origin=self._origin,
                epoch=self._settings.epoch,
            )
            if node.spec.build is not None and node.spec.build.dockerfile:
                return self._stages(planned, root, place, around), 0
            recipe = recipe_of(
                node.spec,
                below=[self._graph.nodes[each].spec for each in self._graph.root(node.id)],
                image=self._bottom(node),
                copies=list(self._copies(node)),
                around=around,
            )
            builder = self._run(planned, recipe.builder, root, place)
            steps = self._run(planned, recipe.steps, (*root, *builder), place)
            return (*builder, *steps), len(builder)

    def _copies(self, node: BuildNode) -> Iterator[CopyFiles]:
        """Make the actions of the `copy` entries of a node."""
        for (source, destination), stack in self._copied(node):
            yield CopyFiles(
                stack=stack,
                sources=(source,),
                destination=posixpath.join(WORKSPACE, destination),
                text=f"copy {source} to {destination}",
            )

    def _origin(self, name: str) -> tuple[Digest, ...]:
        """Find the layers of an image that an instruction copies from."""
        return self._image(name).layers

    def _stages(
        self,
        planned: PlanNode,
        root: tuple[Digest, ...],
        place: Path,
        around: Surroundings,
    ) -> tuple[Digest, ...]:
        """Build the stages of a Dockerfile in turn; returns the layers of the last one."""
        spec = planned.node.spec
        text = spec.build.dockerfile if spec.build is not None else ""
        path = str(spec.build_file)
        done: dict[str, tuple[Digest, ...]] = {}
        states: dict[str, Interpreter] = {}

        def origin(name: str) -> tuple[Digest, ...]:
            below = done.get(name.lower())
            return self._image(name).layers if below is None else below

        layers = root
        for number, stage in enumerate(parse_dockerfile(text, path)):
            below = origin(stage.image)
            if stage.image.lower() in states:
                state = states[stage.image.lower()].again()
            else:
                state = Interpreter(replace(around, origin=origin), directory="/")
                state.start_from(self._image(stage.image))
            actions = stage_actions(stage, state, path=path)
            layers = (*below, *self._run(planned, actions, below, place))
            for name in {str(number), stage.name or str(number)}:
                done[name], states[name] = layers, state
        return layers[len(root) :]

    def _bottom(self, node: BuildNode) -> Image | None:
        """Return the image at the bottom of a node's root, whose config steps run with."""
        name = self._graph.base_image(node.id)
        return self._image(name) if name else None

    def _run(
        self,
        planned: PlanNode,
        actions: tuple[Action, ...],
        root: tuple[Digest, ...],
        place: Path,
    ) -> tuple[Digest, ...]:
        """Run actions on a root; returns the layer they make, none if there are none."""
        if not actions:
            return ()
        store = self._tools.store
        with store.scratch() as changed:
            changes = changed / "changes"
            changes.mkdir(mode=0o755)
            request = LayerRequest(
                name=str(planned.id),
                root=root,
                actions=actions,
                changes=changes,
                workspace=place / "workspace",
                log=store.log_path(planned.keys.layer),
                network=self._settings.network,
            )
            try:
                self._tools.engine.build(request, self._tools.report)
            except EngineError as error:
                error.message = f"{planned.id}: {error.message}"
                error.location = error.location or _place_of(error.step, planned.node.spec)
                raise
            return (store.add_layer(changes, self._settings.made),)

    def _workspace(self, node: BuildNode, place: Path) -> Path:
        """Make the folder that steps find at the workspace's path."""
        workspace = place / "workspace"
        workspace.mkdir(mode=0o755)
        self._tools.store.log_path(self._plan[node.id].keys.layer).unlink(missing_ok=True)
        files = self._settings.contexts.get(node.id.package, ())
        fill_workspace(node.spec.folder, files, workspace, epoch=self._settings.epoch)
        if node.spec.build is not None:
            retrieve_into(
                workspace,
                node.spec.build.retrieve,
                destination=self._settings.destination,
                epoch=self._settings.epoch,
            )
        return workspace

    def _check_stack(self, node: BuildNode) -> None:
        """Raise `StackClash` if stacking the layers of a node's root would lose something."""
        if len(node.parents) < 2:  # noqa: PLR2004  (one parent cannot clash)
            return
        store = self._tools.store
        name = stack_key([self._plan[each].keys.layer for each in node.parents])
        paths = store.overlaps(name)
        if paths is None:
            paths, packages = overlaps(self._graph, node, self._changes)
            store.put_overlaps(clash_key(name), tuple("\t".join(each) for each in packages))
            store.put_overlaps(name, paths)
        if paths:
            raise StackClash(node.id, paths)

    def _changes(self, id_: NodeId) -> Changes:
        """Tell what the layers of a node change; what was asked for lately is remembered."""
        layers = self.record(id_).layers
        with self._guard:
            if layers in self._lately:
                self._lately.move_to_end(layers)
                return self._lately[layers]
        store = self._tools.store
        found = changes_of(entry for layer in layers for entry in store.entries(layer))
        with self._guard:
            self._lately[layers] = found
            while len(self._lately) > _REMEMBERED:
                self._lately.popitem(last=False)
        return found
