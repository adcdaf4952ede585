"""One call of `cos build` that has something to do, from its plan to the last archive."""

from dataclasses import replace
from pathlib import Path

from compiler.build import BuildSettings, Tools, run_plan
from compiler.build.check import check_nodes
from compiler.cli.live import watched
from compiler.engine.overlay import OverlayEngine
from compiler.errors import Faults
from compiler.events import Reporter
from compiler.request import Planned, Request
from compiler.store.local import LocalStore


class Building:
    """Runs plans with the embedded engine."""

    def __init__(
        self, request: Request, store: LocalStore, report: Reporter, *, concurrency: int
    ) -> None:
        self._request = request
        self._concurrency = concurrency
        caches: Path = store.root / "caches"
        engine = OverlayEngine(store.layer_path, store.scratch, caches)
        self._tools = Tools(engine=engine, store=store, report=report)

    def run(self, planned: Planned) -> bool:
        """Build what a plan says; tells whether a clash of layers asks for another plan.

        Raises `Faults` with what failed.
        """
        settings = self._settings(planned)
        with watched(self._tools.report) as report:
            tools = replace(self._tools, report=report)
            outcome = run_plan(planned.nodes, planned.graph, tools, settings)
        if outcome.failures:
            raise Faults.of(outcome.failures)
        return bool(outcome.clashes)

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
        )
