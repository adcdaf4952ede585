import pytest

from compiler.spec.fields import Reader, closest
from compiler.spec.package import BuildSpec, CopySource, Requirement

REQUIREMENT = Requirement(name="a", category="c", version=">=1")


def test_all_fields_of_a_build_are_read() -> None:
    stanza = {"name": "a", "category": "c", "version": ">=1", "hidden": True}
    reader = Reader()

    spec = reader.build(
        {
            "image": "i", "requires": [stanza], "conflicts": [stanza], "provides": [stanza],
            "prelude": ["p"], "steps": ["s"], "env": ["A=b"], "retrieve": ["r"], "join": [stanza],
            "copy": [{"package": stanza, "source": "/a", "destination": "/b"}, {"image": "j"}],
            "unpack": True, "package_dir": "/d", "includes": ["i"], "excludes": ["e"],
            "requires_final_images": True, "seed": "x",
        }
    )  # fmt: skip

    copies = (CopySource(package=REQUIREMENT, source="/a", destination="/b"), CopySource(image="j"))
    assert spec == BuildSpec(
        image="i", requires=(REQUIREMENT,), conflicts=(REQUIREMENT,), provides=(REQUIREMENT,),
        prelude=("p",), steps=("s",), env=("A=b",), retrieve=("r",), join=(REQUIREMENT,),
        copy=copies, unpack=True, package_dir="/d", includes=("i",), excludes=("e",),
        requires_final_images=True, seed="x",
    )  # fmt: skip
    assert [*reader.faults, *reader.doubts, *reader.warnings] == []


def test_keys_match_in_any_case_and_null_means_unset() -> None:
    reader = Reader()

    spec = reader.definition({"NAME": "a", "Version": "1", "description": None, "uri": None})

    assert (spec.name, spec.version, spec.description, spec.uri) == ("a", "1", "", ())
    assert not reader.faults


def test_numbers_and_booleans_are_text_where_only_the_build_reads_them() -> None:
    reader = Reader()

    spec = reader.build({"steps": [True, 1, 1.5, "x", None], "image": 7})

    assert (spec.steps, spec.image) == (("true", "1", "1.5", "x", ""), "7")
    assert not reader.faults


def test_a_requirement_without_a_name_keeps_a_package_from_being_built_only() -> None:
    reader = Reader()

    reader.build({"requires": [{"category": "c"}]})

    assert [(note.path, note.message) for note in reader.doubts] == [
        (("requires", 0), "needs a 'name'")
    ]
    assert not reader.faults


@pytest.mark.parametrize("name", ["gtk+", "c++", "lib.so_2-dev", "Ünï", "1", "a~b", "a:b", "@x"])
def test_names_that_existing_trees_may_have_are_fine(name: str) -> None:
    reader = Reader()

    assert reader.definition({"name": name, "version": "1:2.0~rc1+3_p1"}).name == name
    assert not reader.faults


def test_a_slip_is_recognised_and_a_word_of_its_own_is_not() -> None:
    known = frozenset(("steps", "image", "requires"))

    assert closest("step", known) == "steps"
    assert closest("Requieres", known) == "requires"
    assert closest("colour", known) is None
