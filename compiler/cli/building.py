"""One call of `cos build` that has something to do, from its plan to the last archive."""

import importlib
import os
from pathlib import Path

from compiler.build import BuildSettings, Tools, run_plan
from compiler.build.check import check_nodes
from compiler.cli.call import Call
from compiler.cli.live import watched
from compiler.engine import Engine
from compiler.engine.overlay import OverlayEngine
from compiler.errors import Faults
from compiler.events import Noted
from compiler.request import Planned

_SOCKET = Path("/var/run/docker.sock")


class Building:
    """Runs the plans of one call."""

    def __init__(self, call: Call) -> None:
        self._request = call.request
        self._concurrency = call.settings.concurrency
        self._pushes = call.options.push
        self._report = call.report
        self._trees = call.trees
        engine = _engine(call)
        shares = call.options.pull or call.options.push
        cache = call.sharing.cache if shares else None
        self._tools = Tools(engine=engine, store=call.store, report=call.report, cache=cache)

    def run(self, planned: Planned) -> bool:
        """Build what a plan says; tells whether a clash of layers asks for another plan.

        Raises `Faults` with what failed.
        """
        settings = self._settings(planned)
        with watched(self._report):
            outcome = run_plan(planned.nodes, planned.graph, self._tools, settings)
        if outcome.failures:
            raise Faults.of(outcome.failures)
        return bool(outcome.clashes or outcome.unfetched)

    def check(self, planned: Planned) -> None:
        """Build the targets again; raises `Faults` with those that come out otherwise."""
        settings = self._settings(planned)
        faults = list(check_nodes(planned.nodes, planned.graph, self._tools, settings))
        if faults:
            raise Faults.of(faults)

    def _settings(self, planned: Planned) -> BuildSettings:
        """Put together what a run is given besides its plan."""
        request = self._request
        return BuildSettings(
            destination=request.destination,
            compression=request.compression,
            network=request.network,
            concurrency=self._concurrency,
            source_date_epoch=request.source_date_epoch,
            images=planned.images,
            contexts=planned.contexts,
            values=request.values,
            pushes=self._pushes,
            documents=request.documents,
            mtree=request.mtree,
            verified=request.verified,
            trees=self._trees,
        )


def _engine(call: Call) -> Engine:
    """Make the engine that was asked for; Docker's SDK is loaded for nobody else.

    Makefiles written for luet ask for Docker everywhere: where there is none, the embedded engine
    makes the same layers.
    """
    store = call.store
    places = store.layer_path, store.scratch, store.root / "caches"
    if call.backend == "docker" and _may_have_docker():
        engine: Engine = importlib.import_module("compiler.engine.docker").DockerEngine(*places)
        return engine
    if call.backend == "docker":
        message = "there is no Docker engine on this machine: building with the embedded engine"
        call.report(Noted(message, warning=True))
    return OverlayEngine(*places)


def _may_have_docker() -> bool:
    """Tell whether somebody names a Docker engine, or its socket is where it usually is."""
    return "DOCKER_HOST" in os.environ or _SOCKET.exists()
