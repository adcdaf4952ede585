"""Whatever a registry says, what reads it ends, with a value or with the error meant for that."""

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import ImageError
from compiler.oci import Descriptor, digest_of
from compiler.registry.failure import refused, retry_after
from compiler.registry.manifests import Referrer, read_links, read_referrers, write_referrers
from compiler.registry.tokens import merge_scopes, parse_challenges

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["config", "layers", "manifests", "subject", "digest", "size", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
DESCRIPTORS = st.builds(
    Descriptor,
    st.text(min_size=1, max_size=20),
    st.binary(max_size=4).map(digest_of),
    st.integers(0, 1 << 40),
)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        assert read_links(data) is not None


@given(st.lists(st.builds(Referrer, DESCRIPTORS, st.text(max_size=9)), max_size=4))
def test_a_list_of_referrers_is_read_as_it_was_written(referrers: list[Referrer]) -> None:
    assert list(read_referrers(write_referrers(referrers))) == referrers


@given(st.text(max_size=60))
def test_any_wait_is_some_seconds_or_not_understood(text: str) -> None:
    seconds = retry_after(text)

    assert seconds is None or seconds >= 0


@given(st.text(alphabet='Bbearsic rlm="\\\\,:x', max_size=60))
def test_any_challenge_is_understood_or_not(text: str) -> None:
    challenge = parse_challenges(text)

    assert challenge is None or challenge.scheme in ("basic", "bearer")


@given(st.lists(st.from_regex(r"[a-c]:[x-z](,[x-z])?", fullmatch=True), max_size=5))
def test_joining_scopes_again_changes_nothing(scopes: list[str]) -> None:
    once = merge_scopes(*scopes)

    assert merge_scopes(once, *scopes) == once


@given(st.integers(300, 599), st.binary(max_size=80))
def test_any_answer_becomes_an_error_of_one_line(status: int, data: bytes) -> None:
    error = refused("subject", status, {}, data)

    assert "\n" not in str(error)
