"""Lists of a registry: tags, and what refers to a manifest; both page by page, and bounded."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError
from requests.utils import parse_header_links

from compiler.errors import ImageError, RegistryError
from compiler.oci import INDEX, Descriptor, Reference
from compiler.registry import LARGEST_MANIFEST
from compiler.registry.failure import Doubtful
from compiler.registry.manifests import Referrer, read_referrers
from compiler.registry.site import Answer, Call, Site

_T = TypeVar("_T")

_PAGE = 1000
_MOST_PAGES = 10_000
_LARGEST_LIST = 32 << 20
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NOT_THERE = frozenset({404})
_NO_SUCH_API = frozenset({400, 404, 405, 406, 501})
_FOUND = frozenset({200})


class _Tags(BaseModel):
    """One page of tags."""

    model_config = ConfigDict(extra="ignore")

    tags: list[str] | None = None


def list_tags(site: Site, repository: Reference, *, after: str = "") -> Sequence[str]:
    """List the tags that sort after `after`; none where there is no repository."""
    query = f"?n={_PAGE}" + (f"&last={quote(after)}" if after else "")
    call = Call(
        repository=repository,
        what="list its tags",
        path=f"tags/list{query}",
        wanted=_FOUND | _NOT_THERE,
        limit=LARGEST_MANIFEST,
    )
    found = {tag for page in _pages(site, call, _read_tags) for tag in page}
    return sorted(tag for tag in found if tag > after)


def list_referrers(site: Site, subject: Reference, artifact_type: str) -> Sequence[Referrer] | None:
    """Ask the referrers API (Distribution Specification, Listing Referrers); None if it has none.

    Registries may leave the choice of a type to us.
    """
    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    call = Call(
        repository=subject,
        what="list what refers to it",
        path=f"referrers/{subject.digest}{query}",
        headers={"Accept": INDEX},
        wanted=_FOUND | _NO_SUCH_API,
        limit=LARGEST_MANIFEST,
    )
    found: dict[Descriptor, Referrer] = {}
    for page in _pages(site, call, _read_page):
        if page is None:
            return None
        found |= {each.descriptor: each for each in page}
    return chosen(tuple(found.values()), artifact_type)


def chosen(referrers: Sequence[Referrer], artifact_type: str) -> Sequence[Referrer]:
    """Choose those of one type, all if none is given."""
    return [each for each in referrers if artifact_type in ("", each.artifact_type)]


def _pages(site: Site, call: Call, read: Callable[[Answer], _T]) -> Iterator[_T]:
    """Follow the links from page to page, as far as they stay on the registry and end."""
    size = 0
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        page, length, following = site.read(
            call, lambda answer: (read(answer), len(answer.data), _next_link(site, answer))
        )
        size += length
        yield page
        if not following:
            return
        if size > _LARGEST_LIST or following in seen or not site.is_own(following):
            break
        seen.add(following)
        call = replace(call, path=following)
    hint = "what stands before the registry may lead in a circle, or to another host"
    raise RegistryError(f"{call.subject}: the registry's list does not end", hint=hint)


def _next_link(site: Site, answer: Answer) -> str:
    """Return the address of the next page, "" on the last one."""
    for link in parse_header_links(answer.headers.get("Link", "")):
        if link.get("rel") == "next" and link.get("url"):
            return site.checked(answer.url, link["url"])
    return ""


def _read_tags(answer: Answer) -> Sequence[str]:
    """Read one page of tags."""
    if answer.status in _NOT_THERE:
        return ()
    try:
        tags = _Tags.model_validate_json(answer.data).tags or []
    except ValidationError as error:
        raise Doubtful("what came is no list of tags") from error
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise Doubtful(f"the registry lists {tag[:80]!r}, which is no tag")
    return tags


def _read_page(answer: Answer) -> Sequence[Referrer] | None:
    """Read one page of referrers; None where the registry does not know what was asked."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if answer.status in _NO_SUCH_API or kind != INDEX:
        return None
    try:
        return read_referrers(answer.data)
    except ImageError as error:
        raise Doubtful(f"what came is {error.message}") from error
