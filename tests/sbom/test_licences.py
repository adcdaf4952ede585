"""Licences of distributions as SPDX expressions."""

import pytest
from cyclonedx.spdx import is_expression
from hypothesis import given
from hypothesis import strategies as st

from compiler.sbom.licences import REFERENCE, all_of, expression_of, references_in


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("", ""),
        ("Expat", "MIT"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GPL-2.0-or-later", "GPL-2.0-or-later"),
        ("GPLv2+", "GPL-2.0-or-later"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0"),
        ("GPL-2+ or Artistic, and Expat", "(GPL-2.0-or-later OR Artistic-1.0) AND (MIT)"),
        ("(MIT or ISC) and Zlib", "(MIT OR ISC) AND Zlib"),
        ("GPL-2.0-only WITH Linux-syscall-note", "GPL-2.0-only WITH Linux-syscall-note"),
        ("MIT with MIT", "LicenseRef-MIT-with-MIT"),
        ("GPL-3+ with Bison exception", "LicenseRef-GPL-3-plus-with-Bison-exception"),
        ("public-domain", "LicenseRef-public-domain"),
        ("LicenseRef-mine", "LicenseRef-mine"),
        ("MIT and", "LicenseRef-MIT-and"),
        ("(MIT", "LicenseRef-MIT"),
    ],
)
def test_a_licence_gets_the_name_that_spdx_has_for_it(text: str, expression: str) -> None:
    assert expression_of(text) == expression


def test_several_licences_all_hold_each_once_and_sorted() -> None:
    assert all_of(["GPL-2+ or ISC", "MIT and ISC", "Expat", ""]) == (
        "(GPL-2.0-or-later OR ISC) AND ISC AND MIT"
    )


def test_the_names_that_spdx_does_not_know_are_found_in_expressions() -> None:
    assert references_in(["LicenseRef-b OR MIT", "(LicenseRef-a.1) AND LicenseRef-b"]) == [
        "LicenseRef-a.1",
        "LicenseRef-b",
    ]


def test_licences_that_differ_in_a_plus_or_beyond_what_a_name_can_hold_stay_apart() -> None:
    long = "words " * 40

    assert expression_of("LGPL") != expression_of("LGPL+")
    assert expression_of(f"{long}one") != expression_of(f"{long}other")


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["MIT", "and", "or", "(", ")", "x y", "with"])).map(" ".join)
)
def test_whatever_a_package_says_becomes_an_expression_or_nothing(text: str) -> None:
    expression = expression_of(text)

    known = REFERENCE.sub("MIT", expression)
    assert (not text.strip() and not expression) or is_expression(known)
