"""The configuration of a client: where its files are."""

from pathlib import Path

import pytest

from compiler.errors import Faults
from compiler.system.config import Config, Surroundings, load_config
from compiler.system.protect import read_protection

TEXT = "name: main\ntype: disk\nurls: [/repository]\nenable: true\nroot: main.root.json\n"


class System:
    """A root with links to a folder outside of it, which has all that they could lead to."""

    def __init__(self, place: Path) -> None:
        self.root, self.outside = place / "root", place / "outside"
        self.folder = self.root / "etc/conf.d"
        for folder in (self.folder, self.outside):
            folder.mkdir(parents=True)
        (self.outside / "main.yaml").write_text(TEXT)
        (self.outside / "etc.yml").write_text("name: etc\ndirs: [/etc]\n")
        self.file = place / "luet.yaml"

    def config(self) -> Config:
        """Load the configuration, all of whose files are in the root."""
        self.file.write_text(
            f"system: {{rootfs: {self.root}}}\nconfig_from_host: false\n"
            "repos_confdir: [/etc/conf.d]\n"
        )
        return load_config(Surroundings(named=self.file)).config


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A root with a folder for configuration."""
    return System(tmp_path)


def test_a_folder_of_a_system_that_is_a_link_leads_nowhere_outside(system: System) -> None:
    system.folder.rmdir()
    system.folder.symlink_to(system.outside)

    config = system.config()

    assert config.repositories == ()
    assert config.host_path("/etc/conf.d") == system.root / str(system.outside).lstrip("/")


def test_a_file_of_a_system_that_is_a_link_leads_nowhere_outside(system: System) -> None:
    (system.folder / "main.yaml").symlink_to(system.outside / "main.yaml")

    with pytest.raises(Faults) as caught:
        system.config()

    (fault,) = caught.value.exceptions
    assert str(system.root) + str(system.outside) in str(fault)


def test_links_within_a_system_are_followed_as_in_it(system: System) -> None:
    (system.root / "usr").mkdir()
    (system.root / "usr/main.yaml").write_text(TEXT)
    (system.folder / "main.yaml").symlink_to("/usr/main.yaml")
    (system.folder / "main.root.json").symlink_to("/usr/key.json")

    config = system.config()

    (repository,) = config.repositories
    assert repository.root == "/usr/key.json"
    assert config.host_path(repository.root) == system.root / "usr/key.json"


def test_what_a_system_protects_is_read_inside_of_it(system: System) -> None:
    link = system.folder / "etc.yml"
    link.symlink_to("/usr/etc.yml")
    (system.root / "usr").mkdir()
    (system.root / "usr/etc.yml").write_text("name: usr\ndirs: [/usr]\n")
    config = system.config()

    assert read_protection([system.folder], config.real).prefixes == ("/usr",)
    (system.root / "usr/etc.yml").unlink()
    with pytest.raises(Exception, match=r"usr/etc\.yml: cannot be read: No such file"):
        read_protection([system.folder], config.real)


def test_paths_of_this_machine_stay_as_they_are(system: System) -> None:
    config = Config()

    assert config.inside("/etc/../x") == Path("/etc/../x")
    assert config.real(system.folder) == system.folder
    assert system.config().real(system.outside) == system.outside


def test_keys_of_luet_that_change_nothing_here_are_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "luet.yaml"
    file.write_text(
        "general: {show_build_output: false, debug: true}\nlogging: {color: false}\n"
        "solver: {max_attempts: 7, rate: 0.7}\nplugin: [x]\nrepos_confdir: []\n"
        "repositories: [{name: a, type: disk, urls: [/x], metapath: /y}]\n"
    )

    loaded = load_config(Surroundings(named=file))

    keys = "general.show_build_output, solver.max_attempts, plugin, metapath"
    assert loaded.warnings == (f"set, but of no effect here: {keys}",)


def test_the_folder_for_what_is_needed_for_a_while_counts_where_it_is_given(
    tmp_path: Path,
) -> None:
    file = tmp_path / "luet.yaml"
    file.write_text("repos_confdir: []\n")
    options = {"system.tmpdir_base": "/usr/local/tmp"}

    assert load_config(Surroundings(named=file)).config.scratch is None
    given = load_config(Surroundings(named=file, options=options))
    assert (given.config.scratch, given.warnings) == (Path("/usr/local/tmp"), ())
