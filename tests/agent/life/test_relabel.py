"""SELinux: new trees are labelled by their own policy and, if they have one, their own program."""

import shutil
from pathlib import Path

import pytest

from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.relabel import contexts_of, relabel
from tests.agent.life.lab import Bench, make_system

SETFILES = '#!/bin/sh\necho "$@" > /labelled\n'


def with_policy(tree: Path, config: str, policy: str) -> Path:
    """Give a tree a policy, and the configuration that names one."""
    contexts = tree / f"etc/selinux/{policy}/contexts/files"
    contexts.mkdir(parents=True)
    (contexts / "file_contexts").write_text("/.* system_u:object_r:etc_t:s0\n")
    (tree / "etc/selinux/config").write_text(config)
    return tree


def with_program(tree: Path, text: str) -> Path:
    """Give a tree a shell, and a script in the place of setfiles."""
    (tree / "bin").mkdir()
    shutil.copy("/bin/busybox", tree / "bin/sh")
    (tree / "usr/sbin").mkdir(parents=True)
    (tree / "usr/sbin/setfiles").write_text(text)
    (tree / "usr/sbin/setfiles").chmod(0o755)
    return tree


def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "machine", "/dev/null")


@pytest.mark.container
def test_a_tree_is_labelled_by_its_own_program_with_its_own_policy(tmp_path: Path) -> None:
    tree = with_policy(make_system(tmp_path / "tree"), "SELINUXTYPE=mls\n", "mls")
    with_program(tree, SETFILES)
    (tree / ".autorelabel").touch()

    relabel(bench(tmp_path).host, tree)

    said = (tree / "labelled").read_text()
    assert said == "-q /etc/selinux/mls/contexts/files/file_contexts /\n"
    assert not (tree / ".autorelabel").exists(), "on a read-only root it would never end"


@pytest.mark.container
def test_a_tree_that_cannot_be_labelled_is_told_with_an_exit_code_of_its_own(
    tmp_path: Path,
) -> None:
    tree = with_policy(make_system(tmp_path / "tree"), "SELINUXTYPE=targeted\n", "targeted")
    with_program(tree, "#!/bin/sh\necho what is this >&2\nexit 1\n")

    with pytest.raises(LifeError) as caught:
        relabel(bench(tmp_path).host, tree)

    assert caught.value.phase is Phase.SELINUX
    assert "the tree cannot be labelled" in caught.value.message


def test_a_tree_without_a_policy_stays_as_it_is(tmp_path: Path) -> None:
    tree = make_system(tmp_path / "tree")
    (tree / ".autorelabel").touch()

    relabel(bench(tmp_path).host, tree)

    assert not (tree / ".autorelabel").exists()


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("SELINUX=permissive\nSELINUXTYPE=targeted\n", True),
        ("SELINUXTYPE = targeted\n", True),  # not understood: the usual one
        ("# SELINUXTYPE=mls\n", True),
        ("SELINUXTYPE=mls\n", False),
        ("SELINUXTYPE=../../..\n", True),  # nor is this
    ],
)
def test_the_policy_is_the_one_that_the_configuration_names(
    tmp_path: Path, config: str, *, found: bool
) -> None:
    tree = with_policy(tmp_path, config, "targeted")

    place = "etc/selinux/targeted/contexts/files/file_contexts"
    assert contexts_of(tree) == (place if found else None)
