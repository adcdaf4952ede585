"""The documents beside an artifact, of trees that are really built and packed."""

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.archive import Compression
from compiler.artifact.pack import Artifact
from compiler.build import BuildSettings, Tools, run_plan
from compiler.build.inventory import Inventory, Origin, StackRoot, archive_files
from compiler.build.trees import tree_resource
from compiler.errors import ArchiveError, EngineError, OutsideError
from compiler.events import Noted
from compiler.sbom import KINDS, Resource, SbomFile
from compiler.spec.package import Definition, PackageSpec, Subpackage
from compiler.tree import Tree
from tests.build.workshop import Workshop
from tests.factories import id_of, package, tree_of
from tests.sbom.lab import sbom_file

STATUS = "Package: tool\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
ORIGIN = Origin(
    tree=(Resource(name="tree", uri="git+https://example.org/t", digests={"gitCommit": "c" * 40}),),
    builder="https://example.org/builder",
)


def write(workshop: Workshop, tree: Tree, name: str) -> Mapping[str, str]:
    """Build a tree, and write the documents of one of its packages; returns them by suffix."""
    workshop.run(tree)
    planned = workshop.plan(tree)
    node = next(each for each in planned.nodes if each.id.package.name == name)
    settings = BuildSettings(
        destination=workshop.request.destination,
        images=planned.images,
        contexts=planned.contexts,
        values={"flavour": "debian"},
    )
    record = workshop.store.node(node.keys.layer)
    assert record is not None
    inventory = Inventory(workshop.store, settings, ORIGIN, workshop.events.append)
    paths = inventory.write(node, record, [artifact_of(workshop, node.node.spec)])
    return {path.name.removeprefix(f"{name}-t-1"): path.read_text() for path in paths}


def artifact_of(workshop: Workshop, spec: PackageSpec) -> Artifact:
    path = workshop.request.destination / f"{spec.id.fingerprint}.package.tar"
    data = path.read_bytes()
    return Artifact(
        package=spec.id,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        compression=Compression.NONE,
        files=(),
    )


def packages_in(text: str) -> list[str]:
    return [each["name"] for each in json.loads(text)["components"] if each["type"] == "library"]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_three_documents_lie_beside_the_artifact(workshop: Workshop) -> None:
    documents = write(workshop, tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a one"}), "a")

    assert sorted(documents) == sorted(kind.suffix for kind in KINDS)
    files = {each["fileName"] for each in json.loads(documents[".spdx.json"])["files"]}
    assert files == {"./opt/a"}
    (about,) = json.loads(documents[".provenance.json"])["subject"]
    data = (workshop.request.destination / "a-t-1.package.tar").read_bytes()
    assert about == {
        "name": "a-t-1.package.tar",
        "digest": {"sha256": hashlib.sha256(data).hexdigest()},
    }


def test_documents_of_an_archive_go_when_it_is_packed_anew_without_them(workshop: Workshop) -> None:
    write(workshop, tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a one"}), "a")
    places = [workshop.request.destination / f"a-t-1{kind.suffix}" for kind in KINDS]

    workshop.run(tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a one"}))
    assert [each.exists() for each in places] == [True] * len(places), "nothing was packed"

    workshop.run(tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a two"}))
    assert [each.exists() for each in places] == [False] * len(places)


def test_provenance_names_all_that_a_package_was_built_from(workshop: Workshop) -> None:
    folder = workshop.place / "tree" / "b"
    folder.mkdir(parents=True)
    (folder / "motd").write_text("hello")
    base = workshop.store.image("debian:trixie")
    assert base is not None

    documents = write(
        workshop,
        tree_of(
            {"a": [], "b": ["a"]},
            {"a": "mkdir /opt && write /opt/a one", "b": "mkdir /opt && write /opt/b two"},
        ),
        "b",
    )

    definition = json.loads(documents[".provenance.json"])["predicate"]["buildDefinition"]
    found = {
        each.get("annotations", {}).get("input"): (each["name"], each["digest"])
        for each in definition["resolvedDependencies"]
    }
    below = workshop.store.latest("t/a")
    assert below is not None
    assert found["file"] == ("motd", {"sha256": hashlib.sha256(b"hello").hexdigest()})
    layers = [
        each["digest"]["sha256"]
        for each in definition["resolvedDependencies"]
        if each.get("annotations", {}).get("input") == "requirement"
    ]
    assert {f"sha256:{each}" for each in layers} == {*base.layers, *below.layers}
    assert definition["externalParameters"]["tree"][0]["digest"] == {"gitCommit": "c" * 40}
    assert definition["internalParameters"]["network"] == "host"


def test_a_run_names_the_tree_that_nobody_tracks_by_its_content(workshop: Workshop) -> None:
    planned = workshop.plan(tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a one"}))
    folder = workshop.place / "tree"
    (folder / "a/build.yaml").write_text("image: debian:trixie")
    settings = BuildSettings(
        destination=workshop.request.destination,
        images=planned.images,
        contexts=planned.contexts,
        documents=True,
        trees=(folder,),
    )
    tools = Tools(engine=workshop.engine, store=workshop.store, report=workshop.events.append)

    outcome = run_plan(planned.nodes, planned.graph, tools, settings)

    assert not outcome.failures
    text = (settings.destination / "a-t-1.provenance.json").read_text()
    definition = json.loads(text)["predicate"]["buildDefinition"]
    own = {"name": "tree", "digest": dict(tree_resource(folder).digests)}
    assert definition["externalParameters"]["tree"] == [own]
    assert own in definition["resolvedDependencies"]


def test_the_base_image_is_named_by_the_digest_of_its_registry(workshop: Workshop) -> None:
    tree = tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a one"})
    workshop.run(tree)
    planned = workshop.plan(tree)
    image = replace(planned.images["debian:trixie"], source="sha256:" + "e" * 64)
    settings = BuildSettings(
        destination=workshop.request.destination, images={"debian:trixie": image}
    )
    record = workshop.store.node(planned.nodes[0].keys.layer)
    assert record is not None

    inputs = Inventory(workshop.store, settings, Origin(), workshop.events.append).inputs(
        planned.nodes[0], record
    )

    assert inputs.used[0].resource == Resource(
        name="debian:trixie",
        uri="docker://docker.io/library/debian:trixie",
        digests={"sha256": "e" * 64},
        notes={"content": image.content},
    )


def test_a_package_that_installs_others_lists_those_that_own_its_files(workshop: Workshop) -> None:
    workshop.image("debian:trixie", {"new": STATUS, "bin/sh": "sh"})
    steps = (
        "mkdir /var/lib/dpkg/info /usr/bin && mv /new /var/lib/dpkg/status",
        "write /var/lib/dpkg/info/tool.list /usr/bin/tool",
        "write /usr/bin/tool x",
    )
    tree = Tree({id_of("a"): package("a", steps=steps)})

    assert packages_in(write(workshop, tree, "a")[".cdx.json"]) == ["tool"]


def test_a_package_that_installs_none_lists_none(workshop: Workshop) -> None:
    workshop.image("debian:trixie", {"var/lib/dpkg/status": STATUS, "bin/sh": "sh"})

    documents = write(workshop, tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a one"}), "a")

    assert packages_in(documents[".cdx.json"]) == []


def test_a_whole_root_lists_all_packages_of_its_database(workshop: Workshop) -> None:
    workshop.image("debian:trixie", {"var/lib/dpkg/status": STATUS, "bin/sh": "sh"})
    tree = Tree({id_of("a"): package("a", steps=("mkdir /opt && write /opt/a one",), unpack=True)})

    assert packages_in(write(workshop, tree, "a")[".cdx.json"]) == ["tool"]


def test_a_folder_that_is_packed_has_a_database_of_its_own(workshop: Workshop) -> None:
    workshop.image("debian:trixie", {"new": STATUS, "bin/sh": "sh"})
    steps = ("mkdir /out/var/lib/dpkg && mv /new /out/var/lib/dpkg/status",)
    tree = Tree({id_of("a"): package("a", steps=steps, package_dir="/out")})

    assert packages_in(write(workshop, tree, "a")[".cdx.json"]) == ["tool"]


def test_a_database_that_cannot_be_read_is_a_warning(workshop: Workshop) -> None:
    workshop.image("debian:trixie", {"var/lib/rpm/Packages": "old", "bin/sh": "sh"})
    tree = Tree({id_of("a"): package("a", steps=("mkdir /opt && write /opt/a one",), unpack=True)})

    documents = write(workshop, tree, "a")

    warnings = [
        each.message for each in workshop.events if isinstance(each, Noted) and each.warning
    ]
    assert any("/var/lib/rpm/Packages is an rpm database" in each for each in warnings)
    assert "/var/lib/rpm/Packages is an rpm database" in documents[".spdx.json"]


def test_two_builds_in_two_places_give_the_same_documents(tmp_path: Path) -> None:
    tree = tree_of(
        {"a": [], "b": ["a"]},
        {"a": "mkdir /opt && write /opt/a one", "b": "mkdir /opt && write /opt/b two"},
    )

    one = write(Workshop(tmp_path / "one"), tree, "b")
    other = write(Workshop(tmp_path / "other"), tree, "b")

    assert one == other


def test_a_subpackage_is_described_as_itself(workshop: Workshop) -> None:
    part = Subpackage(name="part", category="t", version="1", includes=("^/opt/p$",), license="MIT")
    spec = package(
        "a",
        steps=("mkdir /opt && write /opt/p 1", "mkdir /opt && write /opt/q 2"),
        subpackages=(part.model_dump(),),
    )
    tree = Tree({id_of("a"): spec})
    write(workshop, tree, "a")
    planned = workshop.plan(tree)
    record = workshop.store.node(planned.nodes[0].keys.layer)
    assert record is not None
    settings = BuildSettings(destination=workshop.request.destination, images=planned.images)
    own = PackageSpec(
        definition=Definition(name="part", category="t", version="1"),
        build=None,
        folder=Path(),
        definition_file=Path(),
    )

    inventory = Inventory(workshop.store, settings, Origin(), workshop.events.append)
    paths = inventory.write(planned.nodes[0], record, [artifact_of(workshop, own)])

    spdx = json.loads(next(each for each in paths if each.name.endswith(".spdx.json")).read_text())
    assert (spdx["packages"][0]["name"], spdx["packages"][0]["licenseDeclared"]) == (
        "t/part",
        "MIT",
    )
    assert [each["fileName"] for each in spdx["files"]] == ["./opt/p"]


def test_a_destination_that_cannot_be_written_is_named(workshop: Workshop) -> None:
    tree = tree_of({"a": []}, {"a": "mkdir /opt && write /opt/a one"})
    workshop.run(tree)
    (workshop.request.destination / "a-t-1.cdx.json").mkdir()

    with pytest.raises(OutsideError) as caught:
        write(workshop, tree, "a")

    assert "a-t-1.cdx.json: cannot be written: " in str(caught.value)


def test_a_further_name_of_a_file_has_its_digests(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "one", "./a/one")
        link = tarfile.TarInfo("./a/two")
        link.type, link.linkname = tarfile.LNKTYPE, "./a/one"
        archive.addfile(link)
        symbolic = tarfile.TarInfo("./a/three")
        symbolic.type, symbolic.linkname = tarfile.SYMTYPE, "one"
        archive.addfile(symbolic)

    first = sbom_file("a/one", "one")
    assert list(archive_files(tmp_path / "x.tar")) == [first, SbomFile("a/two", *first[1:])]


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 600)

    with pytest.raises(ArchiveError):
        list(archive_files(tmp_path / "x.tar"))


def test_links_of_a_root_never_lead_out_of_it(tmp_path: Path) -> None:
    outside, root = tmp_path / "secret", tmp_path / "root"
    outside.write_text("secret")
    root.mkdir()
    (root / "absolute").symlink_to(outside)
    (root / "up").symlink_to("../secret")
    (root / "real").write_text("real")
    (root / "good").symlink_to("/real")
    stack = StackRoot([root])

    assert stack.open("absolute") is None
    assert stack.open("up") is None
    good = stack.open("good")
    assert good is not None
    with good:
        assert good.read() == b"real"


def test_links_that_go_round_are_an_error_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(EngineError) as caught:
        StackRoot([tmp_path]).open("a")

    assert str(caught.value) == "too many links on the way to 'a'"


def test_the_names_in_a_folder_come_from_all_layers(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for layer, name in ((upper, "new"), (lower, "old")):
        (layer / "d").mkdir(parents=True)
        (layer / "d" / name).touch()

    assert StackRoot([upper, lower], below="/").names("d") == ["new", "old"]
    assert StackRoot([upper, lower], below="d").names("") == ["new", "old"]
    assert StackRoot([upper, lower]).names("nowhere") == []
