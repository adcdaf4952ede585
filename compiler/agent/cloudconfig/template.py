"""Go templates inside of values; loaded only when a text has one, like the engine itself."""

import importlib
from collections.abc import Mapping
from types import ModuleType

from compiler.agent.log import Log
from compiler.errors import OutsideError

_ENGINE = "compiler.spec.gotemplate"


def fault_of(text: str) -> str | None:
    """Tell why a text is no template, None if it is one."""
    engine = _engine()
    try:
        engine.check(text)
    except engine.TemplateFailure as error:
        return str(error.message)
    return None


def rendered(text: str, values: Mapping[str, object], log: Log) -> str:
    """Render a text; what is no template, or fails while it runs, is used as it is."""
    engine = _engine()
    try:
        result: str = engine.render(text, values)
    except engine.TemplateFailure as error:
        shown = text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004  (one line)
        log.warning(f"{shown!r} is no template, and is used as it is: {error.message}")
        return text
    return result


def _engine() -> ModuleType:
    try:
        return importlib.import_module(_ENGINE)
    except ImportError as error:
        raise OutsideError(f"a template needs the Python package {error.name!r}") from error
