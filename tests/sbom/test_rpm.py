"""The database of rpm: headers made by hand, and one that the `rpm` program wrote."""

import sqlite3
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import CompilerError
from compiler.sbom import Distro, DistroPackage
from compiler.sbom.rpm import read_rpm, unread_rpm
from compiler.sbom.rpm_header import RpmHeader, Tag, parse_header
from tests.sbom.lab import MemoryRoot, Values, rpm_database, rpm_header

FEDORA = Distro("fedora", "42", "Fedora Linux 42")
PATH = "usr/lib/sysimage/rpm/rpmdb.sqlite"
BASH: Mapping[int, Values] = {
    Tag.NAME: "bash",
    Tag.VERSION: "5.2",
    Tag.RELEASE: "3.fc42",
    Tag.EPOCH: [1],
    Tag.VENDOR: "Fedora Project",
    Tag.LICENSE: "GPLv3+ and MIT",
    Tag.ARCHITECTURE: "x86_64",
    Tag.SOURCE_PACKAGE: "bash-5.2-3.fc42.src.rpm",
    Tag.FOLDERS: ["/usr/bin/", "/etc/"],
    Tag.FOLDER_NUMBERS: [1, 0, 0],
    Tag.BASE_NAMES: ["bashrc", "bash", "sh"],
}
KEY: Mapping[int, Values] = {Tag.NAME: "gpg-pubkey", Tag.VERSION: "1", Tag.RELEASE: "2"}


def packages(data: bytes, path: str = PATH) -> list[DistroPackage]:
    return list(read_rpm(MemoryRoot({path: data}), FEDORA))


def fault_of(data: bytes) -> str:
    with pytest.raises(CompilerError) as caught:
        packages(data)
    return str(caught.value)


def test_packages_are_read_with_all_that_names_them(tmp_path: Path) -> None:
    data = rpm_database(tmp_path / "db", [rpm_header(KEY), rpm_header(BASH)])

    assert packages(data) == [
        DistroPackage(
            name="bash",
            version="1:5.2-3.fc42",
            architecture="x86_64",
            purl="pkg:rpm/fedora/bash@5.2-3.fc42?arch=x86_64&distro=fedora-42&epoch=1"
            "&upstream=bash-5.2-3.fc42.src.rpm",
            license="GPL-3.0-or-later AND MIT",
            supplier="Fedora Project",
            source="bash-5.2-3.fc42",
            files=("etc/bashrc", "usr/bin/bash", "usr/bin/sh"),
        )
    ]


def test_the_older_place_of_the_database_is_read_too(tmp_path: Path) -> None:
    data = rpm_database(tmp_path / "db", [rpm_header(BASH)])

    assert [each.name for each in packages(data, "var/lib/rpm/rpmdb.sqlite")] == ["bash"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("usr/lib/sysimage/rpm/Packages.db", "ndb"), ("var/lib/rpm/Packages", "Berkeley DB")],
)
def test_an_older_kind_of_database_is_named_as_one_that_cannot_be_read(
    path: str, kind: str
) -> None:
    assert list(unread_rpm(MemoryRoot({path: b"..."}))) == [
        f"/{path} is an rpm database of the kind {kind}, which cannot be read here: its packages "
        "are not listed (rpmdb --rebuilddb with _db_backend sqlite makes one that can)"
    ]


def test_what_the_rpm_program_writes_is_read(tmp_path: Path) -> None:
    spec = tmp_path / "hello.spec"
    spec.write_text(
        "Name: hello\nEpoch: 2\nVersion: 1.0\nRelease: 4\nSummary: A greeting\nLicense: MIT\n"
        "Vendor: Greeters\nBuildArch: noarch\n%description\nGreets.\n"
        "%install\nmkdir -p %{buildroot}/usr/share/hello\n"
        "echo hi > %{buildroot}/usr/share/hello/text\n"
        "ln -s text %{buildroot}/usr/share/hello/link\n"
        "%files\n/usr/share/hello\n"
    )
    root = ("--define", f"_topdir {tmp_path}/top", "--define", f"_dbpath {tmp_path}/db")
    build = ("rpmbuild", "-bb", *root, "--buildroot", f"{tmp_path}/buildroot", str(spec))
    subprocess.run(build, check=True, capture_output=True)
    built = tmp_path / "top/RPMS/noarch/hello-1.0-4.noarch.rpm"
    install = ("rpm", *root, "-i", "--justdb", "--nodeps", str(built))
    subprocess.run(install, check=True, capture_output=True)
    files = {
        f"usr/lib/sysimage/rpm/{each.name}": each.read_bytes()
        for each in (tmp_path / "db").iterdir()
    }

    (found,) = read_rpm(MemoryRoot(files), FEDORA)

    assert found == DistroPackage(
        name="hello",
        version="2:1.0-4",
        architecture="noarch",
        purl="pkg:rpm/fedora/hello@1.0-4?arch=noarch&distro=fedora-42&epoch=2"
        "&upstream=hello-1.0-4.src.rpm",
        license="MIT",
        supplier="Greeters",
        source="hello-1.0-4",
        files=("usr/share/hello", "usr/share/hello/link", "usr/share/hello/text"),
    )


def test_a_file_that_is_no_database_is_refused() -> None:
    assert fault_of(b"x" * 8192) == f"/{PATH}: cannot be read: file is not a database"


def test_a_view_in_place_of_the_table_is_not_asked(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute(
            "CREATE VIEW Packages AS WITH RECURSIVE n(hnum) AS "
            "(SELECT 1 UNION ALL SELECT hnum + 1 FROM n) SELECT hnum, x'00' AS blob FROM n"
        )
    database.close()

    assert fault_of((tmp_path / "db").read_bytes()) == f"/{PATH}: it has no table of packages"


def test_a_row_that_holds_no_header_is_refused(tmp_path: Path) -> None:
    data = rpm_database(tmp_path / "db", ["text"])

    assert fault_of(data) == f"/{PATH}: a row of it holds no header"


@pytest.mark.parametrize(
    ("blob", "what"),
    [
        (b"\0" * 7, "too short"),
        (struct.pack(">II", 2, 0) + bytes(16), "too short for its index"),
        (struct.pack(">II", 1 << 20, 0), "too short for its index"),
        (
            struct.pack(">IIIIII", 1, 4, Tag.NAME, 6, 0, 1) + b"bash",
            "a text outside of the store",
        ),
        (
            struct.pack(">IIIIII", 1, 4, Tag.EPOCH, 4, 2, 1) + bytes(4),
            "numbers outside of the store",
        ),
        (struct.pack(">IIIIII", 1, 4, Tag.EPOCH, 4, 0, 1 << 31) + bytes(4), "too many values"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, blob: bytes, what: str) -> None:
    data = rpm_database(tmp_path / "db", [blob])

    assert fault_of(data) == (f"/{PATH}: a package's header in the rpm database is damaged: {what}")


def test_a_file_in_a_folder_that_is_not_named_is_refused(tmp_path: Path) -> None:
    data = rpm_database(tmp_path / "db", [rpm_header({**BASH, Tag.FOLDER_NUMBERS: [0, 0, 9]})])

    assert fault_of(data).endswith("damaged: a file in no folder")


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 300))
def test_no_bytes_make_the_parser_fail_otherwise(noise: bytes, at: int, length: int) -> None:
    whole = rpm_header(BASH)
    for blob in (noise, whole[:at] + noise + whole[at + length :]):
        try:
            header = parse_header(blob)
            header.files()
        except CompilerError:
            continue
        assert isinstance(header, RpmHeader)
