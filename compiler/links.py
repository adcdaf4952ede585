"""Follows links inside a root that is `/` to them: none of them leads out of it."""

from collections.abc import Callable

from compiler.errors import CompilerError

MOST_LINKS = 40
"""How many links a path may lead through, as in Linux (path_resolution(7))."""


def follow(
    path: str, link_at: Callable[[str], str | None], *, ring: type[CompilerError] = CompilerError
) -> str:
    """Return where `path` leads, all links followed, without a leading slash; it need not exist.

    `link_at` gives the text of the link at a path without links, None for anything else. Raises
    `ring` when links go round in one.
    """
    todo = _reversed(path)
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        target = link_at("/".join((*done, part)))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > MOST_LINKS:
            raise ring(f"too many links on the way to {path[:100]!r}")
        if target.startswith("/"):
            done.clear()
        todo += _reversed(target)
    return "/".join(done)


def _reversed(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]
