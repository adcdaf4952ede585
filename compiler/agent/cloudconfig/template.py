"""Go templates inside of values; loaded only when a text has one, like the engine itself."""

import importlib
from collections.abc import Mapping

from compiler.agent.log import Log
from compiler.errors import OutsideError

_ENGINE = "compiler.spec.gotemplate"


def rendered(text: str, values: Mapping[str, object], log: Log) -> str:
    """Render a text; what is no template, or fails while it runs, is used as it is."""
    try:
        engine = importlib.import_module(_ENGINE)
    except ImportError as error:
        raise OutsideError(f"a template needs the Python package {error.name!r}") from error
    try:
        result: str = engine.render(text, values)
    except engine.TemplateFailure as error:
        shown = text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004  (one line)
        log.warning(f"{shown!r} is no template, and is used as it is: {error.message}")
        return text
    return result
