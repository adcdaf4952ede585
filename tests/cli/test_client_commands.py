"""`cos install`, `upgrade`, `uninstall` and what else changes or asks a system, as processes."""

import json
import os
import pty
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
import yaml

from compiler.spec.package import PackageId
from compiler.system.change import Change
from compiler.system.root import System
from compiler.system.transaction import apply
from tests.cli.machine import Machine, add_shell
from tests.cli.test_main import CHECKOUT
from tests.system.crash import RecordingDisk, Stopped


def test_a_package_comes_with_what_it_needs(machine: Machine) -> None:
    done = machine.do("install", "-y", "t/app")

    assert machine.installed() == ["t/app-1", "t/lib-1"]
    assert (machine.read("usr/app"), machine.read("usr/lib")) == ("1", "1")
    assert done.stdout == ""
    assert done.stderr.splitlines()[1:4] == [
        "  install  t/app  1  main",
        "  install  t/lib  1  main",
        "2 packages",
    ]


def test_what_is_there_is_not_installed_again(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")

    assert machine.do("install", "-y", "t/app").stderr.endswith("there is nothing to install\n")


@pytest.mark.parametrize("short", ["i", "install"])
def test_commands_have_the_short_names_of_luet(machine: Machine, short: str) -> None:
    machine.do(short, "-y", "t/lib")

    assert machine.do("s", "--installed", "-q").stdout == "t/lib-1\n"
    assert machine.do("rm", "-y", "t/lib").returncode == 0
    assert machine.installed() == []


def test_nothing_is_changed_where_nobody_can_be_asked(machine: Machine) -> None:
    message = machine.refused("install", "t/app", code=2)

    assert message == "there is no terminal to ask on (-y changes things without asking)"
    assert machine.installed() == []


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, ["t/lib-1"]), ("n", 1, [])])
def test_the_person_at_the_terminal_decides(
    machine: Machine, answer: str, code: int, left: list[str]
) -> None:
    machine.do("search")  # writes the configuration
    person, terminal = pty.openpty()
    os.write(person, f"{answer}\n".encode())

    done = subprocess.run(
        [sys.executable, "-m", "compiler", "--config", "luet.yaml", "install", "t/lib"],
        cwd=machine.place, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdin=terminal,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(terminal)
    os.close(person)

    assert done.returncode == code
    assert "1 package\nGo on? [y/N] " in done.stderr
    assert done.stdout == ""
    assert machine.installed() == left


def test_two_commands_never_change_one_system_at_once(machine: Machine) -> None:
    with System(machine.root, "/db") as system, system.lock():
        message = machine.refused("install", "-y", "t/lib", code=3)

    assert message == (
        f"{machine.root}: another cos is changing this system (try again when it has ended)"
    )


def test_an_unknown_package_is_named_with_one_that_is_like_it(machine: Machine) -> None:
    message = machine.refused("install", "-y", "t/apps")

    assert message == "there is no package t/apps (did you mean 't/app'?)\n  t/apps is asked for"


@pytest.mark.parametrize("command", [("t/app",), ("app",), ("--nodeps", "t/app")])
def test_without_a_repository_it_is_said_what_adds_one(
    machine: Machine, command: tuple[str, ...]
) -> None:
    machine.repositories.clear()

    message = machine.refused("install", "-y", *command)

    assert message == "there is no repository to install from (`cos repo add` adds one)"


def test_without_a_repository_nothing_is_called_up_to_date(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")
    machine.repositories[0]["enable"] = False
    switched_off = machine.do("upgrade", "-y").stderr
    machine.repositories.clear()

    for command in (("upgrade",), ("install", "t/app")):
        assert machine.do(*command, "-y").stderr == (
            "warning: there is no repository, so nothing newer can be known of"
            " (`cos repo add` adds one)\n"
        )
    assert "(`cos repo list` shows those that are switched off, `cos repo add` adds" in switched_off


@pytest.mark.parametrize("known", [True, False])
def test_the_folder_of_a_system_that_nothing_could_be_installed_into_is_not_left_behind(
    machine: Machine, tmp_path: Path, *, known: bool
) -> None:
    if not known:
        machine.repositories.clear()
    (tmp_path / "there").mkdir()

    for place in ("typo", "there/below"):
        machine.refused("--system-target", tmp_path / place, "install", "-y", "t/nothing")

    assert not (tmp_path / "typo").exists()
    assert list((tmp_path / "there").iterdir()) == []


def test_what_a_failed_installation_put_into_a_new_system_stays(
    machine: Machine, tmp_path: Path
) -> None:
    machine.shop.build("bad", files={"usr/bad": "x"}, finalizer="install: ['false']")
    machine.shop.repository()

    machine.refused("--system-target", tmp_path / "new", "install", "-y", "t/bad")

    assert (tmp_path / "new/usr/bad").read_text() == "x"
    machine.settings["system"] = {"rootfs": str(tmp_path / "new"), "database_path": "/db"}
    assert machine.installed() == ["t/bad-1"]


def test_an_installation_does_not_upgrade_what_is_there(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")
    machine.stock("app-2", "lib-2")

    machine.do("install", "-y", "t/other")

    assert machine.installed() == ["t/app-1", "t/lib-1", "t/other-1"]


def test_an_installation_upgrades_what_is_there_when_asked(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")
    machine.stock("app-2", "lib-2")

    machine.do("install", "-y", "--upgrade", "t/other")

    assert machine.installed() == ["t/app-2", "t/lib-2", "t/other-1"]


def test_an_installation_without_dependencies_takes_the_package_alone(machine: Machine) -> None:
    machine.do("install", "-y", "--nodeps", "t/app")

    assert machine.installed() == ["t/app-1"]


def test_an_installation_of_dependencies_leaves_the_package_out(machine: Machine) -> None:
    machine.do("install", "-y", "--onlydeps", "t/app")

    assert machine.installed() == ["t/lib-1"]


def test_downloading_fills_the_cache_and_changes_nothing(machine: Machine) -> None:
    machine.do("install", "-y", "--download-only", "t/app")
    for archive in machine.shop.artifacts.glob("*.package.tar"):
        archive.unlink()

    assert machine.installed() == []
    machine.do("install", "-y", "t/app")
    assert machine.installed() == ["t/app-1", "t/lib-1"]


def test_cleaning_up_empties_the_cache(machine: Machine) -> None:
    machine.do("install", "-y", "t/other")

    done = machine.do("cleanup")

    assert done.stderr == "1 files removed, 0.0 MB\n"
    assert not [each for each in (machine.root / "db/packages").rglob("*") if each.is_file()]


def test_a_file_of_another_package_is_overwritten_by_force_only(machine: Machine) -> None:
    machine.shop.build("thief", files={"usr/other": "stolen"})
    machine.shop.repository()
    machine.do("install", "-y", "t/other")

    message = machine.refused("install", "-y", "t/thief")

    assert message == (
        "a file conflict:\n    /usr/other: t/thief-1 brings it, and so does t/other-1"
        " (--force lets the later package overwrite)"
    )
    assert machine.read("usr/other") == "1"
    forced = machine.do("install", "-y", "--force", "t/thief")
    assert machine.read("usr/other") == "stolen"
    assert "warning: /usr/other: t/thief-1 overwrites the file of t/other-1" in forced.stderr


def test_an_upgrade_brings_the_newest_of_everything(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")
    machine.stock("app-2", "app-3", "lib-2")

    machine.do("upgrade", "-y")

    assert machine.installed() == ["t/app-3", "t/lib-2"]
    assert machine.do("upgrade", "-y").stderr == "everything is up to date\n"


@pytest.mark.parametrize(
    ("claim", "wanted", "chosen"),
    [("9", ">=1", "t/lib-1"), ("9", ">=2", "t/rival-1"), ("1", "1", "t/rival-1")],
)
def test_an_installation_takes_the_real_package_unless_the_provider_is_named(
    machine: Machine, claim: str, wanted: str, chosen: str
) -> None:
    provides = f"provides: [{{category: t, name: lib, version: '{claim}'}}]"
    machine.shop.build("rival", more=provides)
    requires = f"requires: [{{category: t, name: lib, version: '{wanted}'}}]"
    machine.shop.build("tool", more=requires)
    machine.shop.repository()

    machine.do("install", "-y", "t/tool")

    assert machine.installed() == sorted([chosen, "t/tool-1"])


def test_an_upgrade_keeps_a_package_although_another_claims_to_be_it(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")
    machine.shop.build("rival", more="provides: [{category: t, name: lib, version: '9'}]")
    machine.stock("lib-2")

    machine.do("upgrade", "-y")

    assert machine.installed() == ["t/app-1", "t/lib-2"]


def test_a_package_built_anew_in_its_version_is_named_and_taken_when_asked(
    machine: Machine,
) -> None:
    machine.do("install", "-y", "t/other")
    machine.stock("other-1", other="built anew")

    told = machine.do("upgrade", "-y")

    assert told.stderr.splitlines()[-2:] == [
        "built anew in the same version: t/other-1 (--sync takes them)",
        "everything is up to date",
    ]
    assert machine.read("usr/other") == "1"
    machine.do("upgrade", "-y", "--sync")
    assert machine.read("usr/other") == "built anew"


def test_what_no_repository_has_any_more_goes_when_asked(machine: Machine) -> None:
    machine.do("install", "-y", "t/app", "t/other")
    del machine.shop.packages["other-1"]
    machine.stock()

    machine.do("upgrade", "-y")
    assert machine.installed() == ["t/app-1", "t/lib-1", "t/other-1"]
    machine.do("upgrade", "-y", "--clean")

    assert machine.installed() == ["t/app-1", "t/lib-1"]


def test_protected_files_stay_and_every_new_one_is_put_beside(machine: Machine) -> None:
    protect = machine.place / "protect.d"
    protect.mkdir()
    (protect / "etc.yml").write_text("name: etc\ndirs: [/etc]\n")
    for version in "123":
        machine.shop.build("conf", version=version, files={"etc/conf": version})
    machine.shop.repository()
    machine.do("install", "-y", "t/conf@1")
    (machine.root / "etc/conf").write_text("mine")

    machine.do("install", "-y", "t/conf@2")
    done = machine.do("install", "-y", "t/conf@3")

    names = sorted(path.name for path in (machine.root / "etc").iterdir())
    assert names == ["._cfg0001_conf", "._cfg0002_conf", "conf"]
    assert [machine.read(f"etc/{name}") for name in names] == ["2", "3", "mine"]
    assert "warning: /etc/conf: was kept, the new one is /etc/._cfg0002_conf" in done.stderr
    machine.do("--skip-config-protect", "reinstall", "-y", "t/conf")
    assert machine.read("etc/conf") == "3"


def test_what_the_system_itself_protects_stays_too(machine: Machine) -> None:
    machine.settings["config_protect_confdir"] = ["/etc/protect.d"]
    (machine.root / "etc/protect.d").mkdir(parents=True)
    (machine.root / "etc/protect.d/opt.yml").write_text("name: opt\ndirs: [/opt]\n")
    for version in "12":
        machine.shop.build("conf", version=version, files={"opt/conf": version})
    machine.shop.repository()
    machine.do("install", "-y", "t/conf@1")
    (machine.root / "opt/conf").write_text("mine")

    machine.do("upgrade", "-y")

    assert machine.read("opt/conf") == "mine"
    assert machine.read("opt/._cfg0001_conf") == "2"


def test_an_upgrade_asks_repositories_that_were_asked_just_now(machine: Machine) -> None:
    machine.repositories[0]["cached"] = True
    machine.stock("app-1", "lib-1")
    machine.do("install", "-y", "t/app")
    machine.stock("app-2")

    machine.do("upgrade", "-y")

    assert machine.installed() == ["t/app-2", "t/lib-1"]


def test_protected_files_with_changes_are_kept_when_their_package_goes(machine: Machine) -> None:
    (machine.place / "protect.d").mkdir()
    (machine.place / "protect.d/etc.yml").write_text("name: etc\ndirs: [/etc]\n")
    machine.shop.build("conf", files={"etc/conf": "1", "usr/conf": "1"})
    machine.shop.repository()
    machine.do("install", "-y", "t/conf")
    (machine.root / "etc/conf").write_text("mine")

    machine.do("uninstall", "-y", "-k", "t/conf")

    assert machine.read("etc/conf") == "mine"
    assert not (machine.root / "usr/conf").exists()


def test_it_is_said_that_a_protected_file_with_changes_goes(machine: Machine) -> None:
    (machine.place / "protect.d").mkdir()
    (machine.place / "protect.d/etc.yml").write_text("name: etc\ndirs: [/etc]\n")
    machine.shop.build("conf", files={"etc/conf": "1", "etc/other": "1"})
    machine.shop.repository()
    machine.do("install", "-y", "t/conf")
    (machine.root / "etc/conf").write_text("mine")

    done = machine.do("uninstall", "-y", "t/conf")

    assert "warning: /etc/conf: was removed, although it was modified\n" in done.stderr
    assert "/etc/other" not in done.stderr
    assert not (machine.root / "etc").exists()


def test_folders_that_others_made_or_share_stay(machine: Machine) -> None:
    machine.shop.build("one", files={"opt/shared/one": "1", "srv/own/one": "1", "tmp/one": "1"})
    machine.shop.build("two", files={"opt/shared/two": "2"})
    machine.shop.repository()
    (machine.root / "tmp").mkdir()
    machine.do("install", "-y", "t/one", "t/two")

    machine.do("uninstall", "-y", "t/one")

    assert (machine.root / "tmp").is_dir()
    assert machine.read("opt/shared/two") == "2"
    assert not (machine.root / "srv").exists()


def test_what_others_need_is_removed_with_them_or_without_care_only(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")

    message = machine.refused("uninstall", "-y", "t/lib")

    assert message == (
        "what is to be removed is needed by t/app-1"
        " (name that too, or use --full-clean; --nodeps removes it nevertheless)\n"
        "  t/app-1 requires t/lib@>=1"
    )
    machine.do("uninstall", "-y", "--nodeps", "t/lib")
    assert machine.installed() == ["t/app-1"]


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("t/lib", "t/app"), ["t/other-1"]),
        (("--full-clean", "t/lib"), ["t/other-1"]),
        (("--full", "t/app"), ["t/other-1"]),
        (("t/app",), ["t/lib-1", "t/other-1"]),
        (("--force", "t/nothing", "t/other"), ["t/app-1", "t/lib-1"]),
        (("--conflictscheck=false", "t/lib"), ["t/app-1", "t/other-1"]),
        (("--no-conflictscheck", "t/lib"), ["t/app-1", "t/other-1"]),
        (("--nodeps=true", "--full=false", "t/lib"), ["t/app-1", "t/other-1"]),
    ],
)
def test_packages_are_removed_as_the_options_say(
    machine: Machine, arguments: tuple[str, ...], left: list[str]
) -> None:
    machine.do("install", "-y", "t/app", "t/other")

    machine.do("uninstall", "-y", *arguments)

    assert machine.installed() == left


def test_packages_are_replaced_in_one_step(machine: Machine) -> None:
    machine.do("install", "-y", "t/other")

    machine.do("replace", "-y", "t/other", "--for", "t/app,t/secret")

    assert machine.installed() == ["t/app-1", "t/lib-1", "t/secret-1"]


def test_a_conflict_is_told_with_what_is_installed(machine: Machine) -> None:
    machine.shop.build("enemy", more="conflicts: [{category: t, name: other, version: '>=0'}]")
    machine.shop.repository()
    machine.do("install", "-y", "t/other")

    message = machine.refused("install", "-y", "t/enemy")

    assert message == (
        "what is asked for: no version of t/other suits all that want it (there is 1)\n"
        "  t/other is installed\n  t/enemy is asked for\n  t/enemy-1 conflicts with t/other@>=0"
    )
    machine.do("replace", "-y", "t/other", "--for", "t/enemy")
    assert machine.installed() == ["t/enemy-1"]


def test_a_package_is_reinstalled_over_what_somebody_did_to_it(machine: Machine) -> None:
    machine.do("install", "-y", "t/other")
    (machine.root / "usr/other").write_text("damaged")

    machine.do("reinstall", "-y", "t/other")

    assert machine.read("usr/other") == "1"
    assert machine.refused("reinstall", code=2) == "name packages, or give --installed"


def test_missing_files_are_found_and_brought_back(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")
    (machine.root / "usr/lib").unlink()

    found = machine.do("oscheck")

    assert found.stdout == "t/lib-1: 1 missing\n  /usr/lib\n"
    assert machine.do("-q", "oscheck").stdout == "t/lib-1\n"
    machine.do("oscheck", "--reinstall", "-y")
    assert machine.read("usr/lib") == "1"
    assert machine.do("oscheck").stderr == "nothing is missing\n"


def test_packages_without_what_they_need_are_warned_of(machine: Machine) -> None:
    machine.do("install", "-y", "t/app")
    machine.do("uninstall", "-y", "--nodeps", "t/lib")

    found = machine.do("-q", "oscheck", "--reinstall", "-y")

    assert (found.stdout, found.stderr) == (
        "", "warning: t/app-1 requires t/lib@>=1, and nothing that is installed is that\n"
    )  # fmt: skip


def test_changed_files_are_found_and_brought_back_where_that_is_asked(machine: Machine) -> None:
    machine.do("install", "-y", "t/app", "t/other")
    (machine.root / "usr/lib").write_text("damaged")
    (machine.root / "usr/other").unlink()

    assert machine.do("oscheck").stdout == "t/other-1: 1 missing\n  /usr/other\n"
    found = machine.do("oscheck", "--contents", "--reinstall", "-y")

    assert found.stdout.startswith(
        "t/lib-1: 1 changed\n  /usr/lib (changed)\nt/other-1: 1 missing\n  /usr/other\n"
    )
    assert (machine.read("usr/lib"), machine.read("usr/other")) == ("1", "1")
    assert machine.do("oscheck", "--contents").stderr == "nothing is missing or changed\n"


def test_protected_files_may_be_changed(machine: Machine) -> None:
    machine.do("install", "-y", "t/other")
    (machine.root / "usr/other").write_text("mine")
    folder = machine.place / "protect.d"
    folder.mkdir()
    (folder / "usr.yml").write_text("name: usr\ndirs: [/usr/]\n")

    assert machine.do("oscheck", "--contents").stderr == "nothing is missing or changed\n"


def test_what_is_there_already_is_reclaimed(machine: Machine) -> None:
    (machine.root / "usr").mkdir()
    (machine.root / "usr/other").write_text("1")

    done = machine.do("reclaim")

    assert (done.stdout, done.stderr.splitlines()[-1]) == (
        "t/other-1 (1 of 1 files)\n",
        "1 reclaimed",
    )
    assert machine.installed() == ["t/other-1"]


def test_what_would_be_reclaimed_is_listed_and_nothing_entered(machine: Machine) -> None:
    (machine.root / "usr").mkdir()
    (machine.root / "usr/other").write_text("1")

    said = machine.do("reclaim", "--dry-run")

    assert (said.stdout, said.stderr.splitlines()[-1]) == (
        "t/other-1 (1 of 1 files)\n",
        "1 would be reclaimed",
    )
    assert machine.installed() == []


def test_the_database_is_shown_and_changed_without_touching_files(machine: Machine) -> None:
    metadata = machine.shop.artifacts / "app-t-1.metadata.yaml"

    machine.do("database", "create", metadata)

    shown = list(yaml.safe_load_all(machine.do("database", "get", "t/app", "--files").stdout))
    assert [each["name"] for each in shown] == ["app"]
    assert shown[0]["files"] == ["usr/app"]
    assert shown[0]["requires"] == [{"name": "lib", "category": "t", "version": ">=1"}]
    everything = yaml.safe_load(machine.do("database", "get-all-installed").stdout)
    assert [each["name"] for each in everything] == ["app"]
    message = machine.refused("database", "remove", "t/app", code=2)
    assert message == "t/app: needs its version: category/name@version"
    machine.do("database", "remove", "t/app@1")
    assert machine.installed() == []


@pytest.mark.parametrize("name", ["t/app", "t/lib@2", "app", "t/app-1"])
def test_of_what_is_not_installed_the_database_shows_nothing(machine: Machine, name: str) -> None:
    machine.do("install", "-y", "t/lib")

    done = machine.do("database", "get", name, "--files")

    assert (done.stdout, done.stderr) == ("", "")


def test_a_search_has_the_shape_that_programs_know_from_luet(machine: Machine) -> None:
    machine.do("install", "-y", "t/lib")

    found = machine.do("search", "-o", "json", "t/lib")

    assert json.loads(found.stdout) == {
        "packages": [
            {
                "category": "t",
                "files": ["usr/lib"],
                "hidden": False,
                "installed": True,
                "name": "lib",
                "repository": "main",
                "target": "",
                "version": "1",
            }
        ]
    }
    assert machine.do("search", "-o", "yaml", "nothing").stdout == "packages: null\n"
    assert machine.do("search", "-o", "json", "nothing").stdout == '{"packages": null}\n'


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), ["app", "lib", "other"]),
        (("--hidden",), ["app", "lib", "other", "secret"]),
        (("t/[ao]",), ["app", "other"]),
        (("--files", "usr/app"), ["app"]),
        (("--by-label", "kind"), ["lib"]),
        (("--by-label-regex", "kind=l.*y"), ["lib"]),
        (("--revdeps", "t/lib"), ["app"]),
        (("--installed",), ["other"]),
    ],
)
def test_packages_are_found(machine: Machine, arguments: tuple[str, ...], names: list[str]) -> None:
    machine.do("install", "-y", "t/other")

    assert [each["name"] for each in machine.found(*arguments)] == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "-o", "xml"), "--output is terminal, json or yaml, not 'xml'"),
        (("config", "-o", "xml"), "--output is terminal, json or yaml, not 'xml'"),
        (("search", "--files"), "--files needs something to look for"),
        (("search", "--files", "--by-label", "x"), "--by-label and --files do not go together"),
        (("install", "-y", "a/b/c"),
         "'a/b/c' names no package"
         " (write 'category/name', 'category/name@1.0' or 'category/name@>=1.0')"),
        (("install", "-y", "t/app", "--finalizer-env", "X"),
         "--finalizer-env is NAME=VALUE, not 'X'"),
        (("--system-target", "/nowhere", "search"),
         "/nowhere: is not a folder (make the folder of the system first)"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told(machine: Machine, arguments: tuple[str, ...], message: str) -> None:
    assert machine.refused(*arguments, code=2) == message


@pytest.mark.parametrize(
    "arguments",
    [
        ("install", "t/app"),
        ("upgrade",),
        ("uninstall", "t/app"),
        ("replace", "t/app", "--for", "t/lib"),
        ("reinstall", "t/app"),
        ("oscheck", "--reinstall"),
    ],
)
def test_every_command_that_runs_finalizers_takes_their_environment(
    machine: Machine, arguments: tuple[str, ...]
) -> None:
    told = machine.refused(*arguments, "--finalizer-env", "X", code=2)

    assert told == "--finalizer-env is NAME=VALUE, not 'X'"


def test_options_and_the_environment_go_before_the_configuration(
    machine: Machine, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"

    machine.do("--system-target", elsewhere, "--system-dbpath=/own", "install", "-y", "t/lib")

    assert (elsewhere / "usr/lib").read_text() == "1"
    assert (elsewhere / "own/cos.db").exists()
    machine.env = {"LUET_GENERAL__HTTP_TIMEOUT": "7", "COS_SYSTEM__ROOTFS": str(elsewhere)}
    shown = json.loads(machine.do("config", "-o", "json").stdout)
    assert (shown["general"]["http_timeout"], shown["system"]["rootfs"]) == (7, str(elsewhere))


def test_a_system_in_memory_remembers_nothing(machine: Machine) -> None:
    machine.do("--system-engine", "memory", "install", "-y", "t/lib")

    assert machine.read("usr/lib") == "1"
    assert machine.installed() == []


def test_what_is_wrong_in_a_configuration_is_told_with_its_line(machine: Machine) -> None:
    folder = machine.place / "repos.conf.d"
    folder.mkdir()
    (folder / "bad.yaml").write_text("name: bad\ntype: ftp\nurls: [x]\n")
    (folder / "worse.yaml").write_text("name: [\n")

    done = machine.cos("search")

    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        f"error: {folder}/bad.yaml:2:7: type: is one of disk, http, docker, not 'ftp'"
    )
    assert done.stderr.splitlines()[1].startswith(f"error: {folder}/worse.yaml:2:1: ")


def test_what_is_said_follows_quiet_and_the_log_format(machine: Machine) -> None:
    quiet = machine.do("-q", "install", "-y", "t/lib")
    loud = machine.do("--log-format", "json", "uninstall", "-y", "t/lib")

    assert (quiet.stdout, quiet.stderr) == ("", "")
    events = [json.loads(line) for line in loud.stderr.splitlines()]
    assert [each["message"] for each in events] == ["  remove  t/lib  1", "1 package"]


def test_what_nobody_named_and_comes_in_place_of_something_is_told(machine: Machine) -> None:
    old = "{category: t, name: old, version: '>=0'}"
    machine.shop.build("old", files={"usr/old": "1"})
    machine.shop.build("new", files={"usr/new": "1"}, more=f"provides: [{old}]")
    machine.shop.build("user", files={"usr/user": "1"}, more=f"requires: [{old}]")
    machine.shop.build("dep", files={"usr/dep": "1"})
    need = "requires: [{category: t, name: extra, version: '>=0'}]"
    machine.shop.build("alone", files={"usr/alone": "1"}, more=need)
    machine.shop.build("extra", files={"usr/extra": "1"})
    machine.shop.repository()
    machine.do("install", "-y", "t/new", "t/user", "t/dep")

    told = machine.do("replace", "-y", "t/new", "--for", "t/dep").stderr

    assert "warning: t/old-1 comes in place of t/new-1: t/user-1 requires t/old@>=0\n" in told
    assert machine.installed() == ["t/dep-1", "t/old-1", "t/user-1"]
    for named in ("t/new", "t/old"):
        gone = machine.installed()[1]
        assert "warning" not in machine.do("replace", "-y", gone[:-2], "--for", named).stderr
    assert "warning" not in machine.do("replace", "-y", "t/dep", "--for", "t/alone").stderr
    assert machine.installed() == ["t/alone-1", "t/extra-1", "t/old-1", "t/user-1"]


@pytest.mark.container
def test_finalizers_run_in_the_system_with_their_environment(machine: Machine) -> None:
    add_shell(machine.root)
    machine.settings["finalizer_envs"] = [{"key": "FROM", "value": "config"}]
    machine.shop.build(
        "fin",
        finalizer="install:\n- echo {{.Values.name}} $FROM $MORE > /usr/told\n"
        "uninstall:\n- echo bye > /usr/told\n",
        files={"usr/fin": "1"},
    )
    machine.shop.repository()

    machine.do("install", "-y", "t/fin", "--finalizer-env", "MORE=line")

    assert machine.read("usr/told") == "fin config line\n"
    machine.do("reinstall", "-y", "t/fin", "--finalizer-env", "MORE=word")
    assert machine.read("usr/told") == "fin config word\n"
    machine.shop.build(
        "fin",
        finalizer="install: ['echo up $MORE > /usr/told']\nuninstall: ['echo bye > /usr/told']\n",
        files={"usr/fin": "2"},
        version="2",
    )
    machine.shop.repository()
    machine.do("upgrade", "-y", "--finalizer-env", "MORE=higher")
    assert machine.read("usr/told") == "up higher\n"
    machine.do("uninstall", "-y", "t/fin")
    assert machine.read("usr/told") == "bye\n"


@pytest.mark.container
def test_finalizers_run_in_the_order_of_needs_also_through_packages_that_have_none(
    machine: Machine,
) -> None:
    add_shell(machine.root)
    line = "{}: ['echo {}{{{{.Values.name}}}} >> /told']".format
    tell = f"{line('install', '+')}\n{line('uninstall', '-')}"
    need = "requires: [{{category: t, name: {}, version: '>=0'}}]".format
    machine.shop.build("fa", finalizer=tell, files={"usr/fa": "1"}, more=need("fb"))
    machine.shop.build("fb", files={"usr/fb": "1"}, more=need("fc"))
    machine.shop.build("fc", finalizer=tell, files={"usr/fc": "1"})
    machine.shop.repository()

    machine.do("install", "-y", "t/fa")
    machine.do("uninstall", "-y", "t/fa", "--full-clean")

    assert machine.read("told").split() == ["+fc", "+fa", "-fa", "-fc"]


@pytest.mark.container
def test_no_finalizer_runs_for_a_replacement_that_cannot_be_made(machine: Machine) -> None:
    add_shell(machine.root)
    machine.shop.build("fin", finalizer="uninstall: ['echo bye > /told']", files={"usr/fin": "1"})
    machine.shop.build("new", files={"opt/x/f": "1"})
    machine.shop.repository()
    machine.do("install", "-y", "t/fin")
    (machine.root / "opt").mkdir()
    (machine.root / "opt/x").write_text("a file of somebody else")

    message = machine.refused("replace", "-y", "t/fin", "--for", "t/new")

    assert "opt/x" in message
    assert machine.installed() == ["t/fin-1"]
    assert not (machine.root / "told").exists()


@pytest.mark.container
def test_what_stays_after_its_farewell_since_a_move_failed_is_finalized_again(
    machine: Machine,
) -> None:
    add_shell(machine.root)
    machine.shop.build(
        "fin",
        finalizer="install: ['echo on >> /told']\n"
        "uninstall: ['echo off >> /told; echo in the way > /usr/new']\n",
        files={"usr/fin": "1"},
    )
    machine.shop.build("new", files={"usr/new": "1"})
    machine.shop.repository()
    machine.do("install", "-y", "t/fin")

    message = machine.refused("replace", "-y", "t/fin", "--for", "t/new", code=3)

    assert message == f"{machine.root}: file exists (/usr/new)"
    assert machine.installed() == ["t/fin-1"]
    assert machine.read("told").split() == ["on", "off", "on"]


@pytest.mark.container
def test_what_stays_after_its_farewell_is_finalized_with_the_variables_of_the_command(
    machine: Machine,
) -> None:
    add_shell(machine.root)
    machine.settings["finalizer_envs"] = [{"key": "FROM", "value": "config"}]
    machine.shop.build(
        "fin",
        finalizer="install: ['echo on $FROM $X >> /told']\n"
        "uninstall: ['echo off $FROM $X >> /told; echo in the way > /usr/new']\n",
        files={"usr/fin": "1"},
    )
    machine.shop.build("new", files={"usr/new": "1"})
    machine.shop.repository()
    machine.do("install", "-y", "t/fin", "--finalizer-env", "X=first")

    machine.refused("replace", "-y", "t/fin", "--for", "t/new", "--finalizer-env", "X=f", code=3)

    assert machine.read("told").splitlines() == ["on config first", "off config f", "on config f"]


@pytest.mark.container
def test_what_had_been_stopped_is_ended_with_the_variables_of_the_command_that_ends_it(
    machine: Machine, tmp_path: Path
) -> None:
    add_shell(machine.root)
    machine.shop.build("fin", finalizer="uninstall: ['echo $X > /told']", files={"usr/fin": "1"})
    machine.shop.repository()
    machine.do("install", "-y", "t/fin")
    package = (PackageId("t", "fin", "1"),)
    change = Change(remove=package, parting=package)
    disk = RecordingDisk(machine.root, tmp_path / "copies", stop=1)  # once it is written down
    with System(machine.root, "/db") as system, suppress(Stopped), closing(disk):
        apply(change, system, disk=disk)

    machine.do("upgrade", "-y", "--finalizer-env", "X=later")

    assert machine.read("told") == "later\n"
    assert machine.installed() == []


@pytest.mark.container
def test_a_finalizer_that_waits_runs_with_the_variables_of_the_command_that_it_waited_for(
    machine: Machine,
) -> None:
    add_shell(machine.root)
    text = 'install:\n- test -n "$X" && echo $X > /usr/told\n'
    machine.shop.build("fin", finalizer=text, files={"usr/fin": "1"})
    machine.shop.repository()
    machine.refused("install", "-y", "t/fin")

    machine.do("upgrade", "-y", "--finalizer-env", "X=now")

    assert machine.read("usr/told") == "now\n"


@pytest.mark.container
def test_a_finalizer_that_waits_runs_with_the_next_command(machine: Machine) -> None:
    add_shell(machine.root)
    text = "install:\n- test -e /usr/go && echo done > /usr/told\n"
    machine.shop.build("fin", finalizer=text, files={"usr/fin": "1"})
    machine.shop.repository()
    machine.refused("install", "-y", "t/fin")
    (machine.root / "usr/go").write_text("")

    machine.do("upgrade", "-y")

    assert machine.read("usr/told") == "done\n"


@pytest.mark.container
def test_a_finalizer_that_fails_leaves_its_package_and_is_told_at_last(machine: Machine) -> None:
    add_shell(machine.root)
    machine.shop.build("fin", finalizer="install:\n- exit 3\n", files={"usr/fin": "1"})
    machine.shop.repository()

    message = machine.refused("install", "-y", "t/fin", "t/other")

    assert message == (
        "a finalizer failed: t/fin-1 (the packages are installed; see the warnings above)"
    )
    assert machine.installed() == ["t/fin-1", "t/other-1"]
