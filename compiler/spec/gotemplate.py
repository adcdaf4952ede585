"""The Go template engine, set up as luet has it; `template.py` loads this module when needed.

Importing the engine takes longer than listing a tree, so it stands apart from `template.py`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from gotpl import Environment, ExecutionBudget, Template, TemplateError, TemplateSyntaxError
from gotpl.exts.helm import HelmExtension
from gotpl.funcs.sprig.environment import env, expand_env
from gotpl.funcs.sprig.numeric import until_step
from gotpl.funcs.sprig.strings import repeat
from gotpl.runtime.gofmt import sprintf

MAX_OUTPUT = 16 * 1024 * 1024
"""Characters that one template may write, the size of the largest spec that is read."""

MAX_TURNS = 100_000
"""Turns of all loops, and calls of functions, of one template."""

MAX_WIDTH = 1_000_000
"""The widest field of `printf`, as in Go (package fmt)."""

_WIDE = re.compile(r"%[^a-zA-Z%]*\d{7,}")

MAX_INCLUDES = 1000
"""How deep templates may call each other; Helm's limit."""


_FRONT = "\0front"
"""The name of a text of definitions; no template can call it."""

_KEPT = 64
"""How many compiled texts are kept: a collection renders one for each of its packages."""


class TemplateFailure(Exception):  # noqa: N818  (becomes a TemplateError once its place is known)
    """What went wrong, and where in the text that was rendered; line 0 is unknown.

    With `in_front`, the line is one of the text of definitions.
    """

    def __init__(self, message: str, line: int, column: int, *, in_front: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.in_front = in_front


def render(text: str, values: Mapping[str, object], *, front: str = "") -> str:
    """Render `text` with `values` as the root object; raises `TemplateFailure`.

    It may call what `front` defines; nothing that `front` itself writes is in the result.
    """
    with _failures():
        return _compiled(text, front).render(values)


def check(text: str) -> None:
    """Raise `TemplateFailure` where `text` is no template."""
    with _failures():
        _compiled(text, "")


@contextmanager
def _failures() -> Iterator[None]:
    """Turn all that the engine raises into `TemplateFailure`."""
    try:
        yield
    except TemplateSyntaxError as error:
        message = str(error).removeprefix(f"template:{error.line}:{error.column}: ")
        raise TemplateFailure(message, error.line, error.column) from None
    except RecursionError:
        raise TemplateFailure("templates nest or call each other without end", 0, 0) from None
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        # the engine passes some errors of its functions on as they are
        raise _failure(error) from None


def _failure(error: Exception) -> TemplateFailure:
    message = str(getattr(error, "message", error)) or type(error).__name__
    if "maximum recursion depth" in message or "template-depth budget" in message:
        message = "templates call each other without end"
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    in_front = getattr(error, "source_name", None) == _FRONT
    return TemplateFailure(message, line or 0, column or 0, in_front=in_front)


def _env(name: str) -> str:
    return env(name)


def _expand_env(text: str) -> str:
    return expand_env(text)


def _bounded_until(count: int) -> list[int]:
    return _bounded_until_step(0, count, -1 if count < 0 else 1)


def _bounded_until_step(start: int, stop: int, step: int) -> list[int]:
    if step and abs(stop - start) // abs(step) > MAX_TURNS:
        raise ValueError(f"more than {MAX_TURNS} numbers")
    return until_step(start, stop, step)


def _bounded_repeat(count: int, value: str) -> str:
    if count > 0 and count * len(value) > MAX_OUTPUT:
        raise ValueError(f"more than {MAX_OUTPUT} characters")
    return repeat(count, value)


def _bounded_printf(form: object, *values: object) -> str:
    wide = isinstance(form, str) and (
        _WIDE.search(form.replace("%%", ""))
        or ("*" in form and any(isinstance(each, int) and abs(each) > MAX_WIDTH for each in values))
    )
    if wide:
        raise ValueError(f"a width of more than {MAX_WIDTH} characters")
    return sprintf(form, *values)


_FUNCTIONS: Mapping[str, Callable[..., object]] = {
    # Helm hides these two of sprig's, luet does not
    "env": _env,
    "expandenv": _expand_env,
    # one call of these can fill the memory before the budget sees it
    "until": _bounded_until,
    "untilStep": _bounded_until_step,
    "repeat": _bounded_repeat,
    "printf": _bounded_printf,
}

_ENVIRONMENT = Environment(
    extensions=[HelmExtension(custom_functions=_FUNCTIONS)],
    missing_key="zero",
    budget=ExecutionBudget(
        max_output_chars=MAX_OUTPUT,
        max_iterations=MAX_TURNS,
        max_template_depth=MAX_INCLUDES,
        max_function_calls=MAX_TURNS,
    ),
)


@lru_cache(maxsize=_KEPT)
def _compiled(text: str, front: str) -> Template:
    """Compile a text that may call what `front` defines."""
    return _defined(front).with_source(text) if front else _ENVIRONMENT.from_string(text)


@lru_cache(maxsize=_KEPT)
def _defined(front: str) -> Template:
    """Compile a text of definitions, once for all that call them: that takes the most time."""
    return _ENVIRONMENT.from_string(front, name=_FRONT)
