"""The database of dpkg, of a root in memory and of a real one."""

import pytest

from compiler.errors import CompilerError
from compiler.sbom import Distro, DistroPackage
from compiler.sbom.dpkg import copyright_licenses, read_dpkg
from tests.sbom.lab import MemoryRoot

TRIXIE = Distro("debian", "13", "Debian")
STATUS = """Package: bash
Status: install ok installed
Maintainer: Matthias Klose <doko@debian.org>
Architecture: amd64
Multi-Arch: foreign
Source: bash (5.2-1)
Version: 5.2-1+b1
Description: GNU Bourne Again SHell
 Package: not-a-package

Package: libc6
Status: install ok unpacked
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 1:2.41

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: somebody
License: GPL-3+

Files: lib/*
License: Expat or ISC
 and text

License: GPL-3+
 Its text.

License: Unused
 More text.
"""


def packages(files: dict[str, str | bytes]) -> dict[str, DistroPackage]:
    return {each.name: each for each in read_dpkg(MemoryRoot(files), TRIXIE)}


def test_packages_are_read_with_all_that_names_them() -> None:
    found = packages(
        {
            "var/lib/dpkg/status": STATUS,
            "var/lib/dpkg/info/bash.list": "/.\n/usr\n/usr/bin\n/usr/bin/bash\n",
            "usr/share/doc/bash/copyright": COPYRIGHT,
        }
    )

    assert found["bash"] == DistroPackage(
        name="bash",
        version="5.2-1+b1",
        architecture="amd64",
        purl="pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64&distro=debian-13&upstream=bash%405.2-1",
        license="GPL-3.0-or-later AND (MIT OR ISC)",
        supplier="Matthias Klose <doko@debian.org>",
        source="bash 5.2-1",
        files=("usr", "usr/bin", "usr/bin/bash"),
    )


def test_a_package_whose_files_are_not_there_is_not_listed() -> None:
    assert sorted(packages({"var/lib/dpkg/status": STATUS})) == ["bash", "libc6"]


def test_a_package_that_is_there_for_several_architectures_has_its_own_list() -> None:
    found = packages(
        {
            "var/lib/dpkg/status": STATUS,
            "var/lib/dpkg/info/libc6:amd64.list": "/.\n/usr/lib/libc.so.6\n",
        }
    )

    assert found["libc6"].files == ("usr/lib/libc.so.6",)
    assert found["libc6"].purl.startswith("pkg:deb/debian/libc6@1:2.41?arch=amd64&distro=debian-13")


def test_an_image_without_dpkg_has_one_file_for_each_package() -> None:
    found = packages(
        {
            "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2025\nArchitecture: all\n",
            "var/lib/dpkg/status.d/tzdata.md5sums": "0" * 32 + "  usr/share/zoneinfo/UTC\n",
        }
    )

    assert [(each.version, each.files) for each in found.values()] == [
        ("2025", ("usr/share/zoneinfo/UTC",))
    ]


def test_names_that_would_lead_elsewhere_open_nothing() -> None:
    status = "Package: ../../../etc/x\nStatus: install ok installed\nVersion: 1\n"

    (found,) = packages(
        {"var/lib/dpkg/status": status, "var/lib/dpkg/info/../../../etc/x.list": "/secret\n"}
    ).values()

    assert found.files == ()


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(CompilerError) as caught:
        packages({"var/lib/dpkg/status": b"Package: " + b"x" * (2 << 20)})

    assert str(caught.value) == "/var/lib/dpkg/status: is too large for a package database"


def test_bytes_that_are_no_text_do_not_stop_the_reading() -> None:
    status = b"Package: odd\nStatus: install ok installed\nVersion: 1\nMaintainer: \xff\xfe\n"

    assert packages({"var/lib/dpkg/status": status})["odd"].supplier == "\udcff\udcfe"


def test_a_copyright_file_for_people_names_no_licence() -> None:
    assert copyright_licenses("This is free software.\nLicense: GPL-2\n") == []


def test_licences_count_where_they_are_said_of_files() -> None:
    assert copyright_licenses(COPYRIGHT) == ["GPL-3+", "Expat or ISC"]
