"""Which distribution a root is, and which packages of it an artifact holds."""

from pathlib import Path

import pytest

from compiler.build.inventory import StackRoot
from compiler.sbom import Contents, Distro, DistroPackage, Found, contents_of
from compiler.sbom.packages import read_distro, read_packages
from tests.sbom.lab import BASH, META, MemoryRoot, sbom_file


def test_the_file_in_etc_says_first_which_distribution_it_is() -> None:
    root = MemoryRoot(
        {
            "etc/os-release": "ID=mine\nVERSION_ID='1.5'\nNAME=\"My own\"\n",
            "usr/lib/os-release": "ID=debian\n",
        }
    )

    assert read_distro(root) == Distro("mine", "1.5", "My own")


def test_a_root_without_databases_has_no_packages() -> None:
    assert read_packages(MemoryRoot({})) == Found(databases=("var/lib/dpkg/status",))


def test_what_cannot_be_read_is_said_once() -> None:
    root = MemoryRoot({"var/lib/rpm/Packages": b"", "usr/lib/sysimage/rpm/Packages.db": b""})

    (text,) = read_packages(root).unread

    assert text.startswith("/usr/lib/sysimage/rpm/Packages.db is an rpm database of the kind ndb")


def test_an_artifact_with_the_database_holds_all_packages_that_it_lists() -> None:
    found = Found(packages=(META, BASH), databases=("var/lib/dpkg/status",))
    files = [sbom_file("var/lib/dpkg/status"), sbom_file("usr/bin/bash")]

    contents = contents_of(files, found)

    assert [(each.name, each.files) for each in contents.packages] == [
        ("bash", ("usr/bin/bash",)),
        ("libstdc++6", ()),
    ]


def test_an_artifact_without_it_holds_the_packages_that_own_its_files() -> None:
    found = Found(packages=(META, BASH), databases=("var/lib/dpkg/status",))

    contents = contents_of([sbom_file("usr/bin/bash"), sbom_file("etc/mine")], found)

    assert [each.name for each in contents.packages] == ["bash"]
    assert [each.path for each in contents.files] == ["etc/mine", "usr/bin/bash"]


def test_an_artifact_of_files_that_nobody_owns_holds_no_package() -> None:
    assert contents_of([sbom_file("opt/x")], Found(packages=(BASH,))) == Contents(
        files=(sbom_file("opt/x"),)
    )


def test_files_below_a_merged_folder_are_known_by_their_real_paths() -> None:
    old = DistroPackage(name="bash", version="5", purl="pkg:deb/debian/bash@5", files=("bin/bash",))

    contents = contents_of([sbom_file("usr/bin/bash")], Found(packages=(old,)))

    assert [each.files for each in contents.packages] == [("usr/bin/bash",)]


@pytest.mark.container
def test_the_database_of_a_bootstrapped_system_is_read_whole(base_image: Path) -> None:
    found = read_packages(StackRoot([base_image]))

    packages = {each.name: each for each in found.packages}
    installed = (base_image / "var/lib/dpkg/status").read_text().count("ok installed\n")
    assert (found.distro.id, found.distro.version) == ("debian", "13")
    assert len(packages) == installed
    bash = packages["bash"]
    assert bash.purl.startswith("pkg:deb/debian/bash@5.2")
    assert "distro=debian-13" in bash.purl
    assert "usr/bin/bash" in bash.files
    assert "GPL-3.0-or-later" in bash.license
    owned = {path for each in found.packages for path in each.files}
    programs = [each for each in (base_image / "usr/bin").iterdir() if not each.is_symlink()]
    assert {f"usr/bin/{each.name}" for each in programs} <= owned
