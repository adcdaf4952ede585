"""A stage of the system: folders in order, then what the kernel command line says."""

from pathlib import Path

import pytest

from compiler.agent import setup
from tests.agent.scratch import Scratch, make_root

pytestmark = pytest.mark.container


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(make_root(tmp_path / "root"))


def noting(word: str, *stages: str) -> str:
    lines = [f"  {each}: [{{commands: ['echo {each} {word} >> /tmp/o']}}]" for each in stages]
    return "\n".join(("stages:", *lines, ""))


ALL = ("boot.before", "boot", "boot.after")


def test_every_folder_runs_whole_before_the_next_and_the_command_line_last(
    scratch: Scratch,
) -> None:
    for folder in ("/usr/local/cloud-config", "/oem", "/system/oem"):
        scratch.put(f"{folder}/f.yaml", noting(folder, *ALL))
    scratch.put("/given.yaml", noting("given", *ALL))
    words = [f"stages.{each}[0].commands[0]='echo {each} line >> /tmp/o'" for each in ALL]
    scratch.put("/proc/cmdline", f"ro cos.setup=/given.yaml {' '.join(words)} quiet\n")

    setup.run("boot", scratch.machine, scratch.inputs, {})

    ran = scratch.text("/tmp/o").splitlines()
    folders = ("/system/oem", "/oem", "/usr/local/cloud-config")
    assert ran == [
        "boot.before given",
        *(f"{stage} {folder}" for folder in folders for stage in ALL),
        "boot given",
        "boot.after given",
        *(f"{stage} line" for stage in ALL),
    ]
    assert scratch.log.errors == 0


def test_more_folders_may_be_named_by_the_environment(scratch: Scratch) -> None:
    scratch.put("/more/f.yaml", noting("more", "boot"))

    setup.run("boot", scratch.machine, scratch.inputs, {"CLOUD_INIT_PATHS": "/none /more"})

    assert scratch.text("/tmp/o") == "boot more\n"


def test_more_folders_may_be_named_by_files_of_settings(scratch: Scratch) -> None:
    scratch.put("/more/f.yaml", noting("more", "boot"))
    scratch.put("/other/f.yaml", noting("other", "boot"))
    scratch.put("/etc/environment", "CLOUD_INIT_PATHS=/none\n")
    scratch.put("/etc/cos/config", "# ours\nexport CLOUD_INIT_PATHS='/more /other'\nno sense\n")

    setup.run("boot", scratch.machine, scratch.inputs, {})
    setup.run("boot", scratch.machine, scratch.inputs, {"CLOUD_INIT_PATHS": "/other"})

    assert scratch.text("/tmp/o") == "boot more\nboot other\nboot other\n"


def test_a_file_of_settings_that_is_none_stops_no_boot(scratch: Scratch) -> None:
    scratch.put("/oem/f.yaml", noting("oem", "boot"))
    (scratch.folder / "etc/cos/config").mkdir(parents=True)

    setup.run("boot", scratch.machine, scratch.inputs, {})

    assert scratch.text("/tmp/o") == "boot oem\n"


def test_links_to_files_count_and_links_to_folders_do_not(scratch: Scratch) -> None:
    scratch.put("/system/features/x.yaml", noting("feature", "boot"))
    scratch.put("/system/oem/features/x.yaml", "")
    (scratch.folder / "system/oem/features/x.yaml").unlink()
    (scratch.folder / "system/oem/features/x.yaml").symlink_to("/system/features/x.yaml")
    (scratch.folder / "system/oem/again").symlink_to("/system/oem")

    setup.run("boot", scratch.machine, scratch.inputs, {})

    assert scratch.text("/tmp/o") == "boot feature\n"


def test_a_command_line_names_nothing_beside_the_root(scratch: Scratch, tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text(noting("outside", "boot"))
    scratch.put("/proc/cmdline", f"cos.setup={tmp_path}/outside.yaml\n")

    setup.run("boot", scratch.machine, scratch.inputs, {})

    assert not (scratch.folder / "tmp/o").exists()
    assert scratch.log.errors


def test_a_system_without_configuration_is_no_error(scratch: Scratch) -> None:
    setup.run("boot", scratch.machine, scratch.inputs, {})

    assert scratch.log.errors == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ro cos.setup=https://x/y cos.setup=/a", ["https://x/y", "/a"]),
        ('cos.setup="/a b" cos.setup=', ["/a b"]),
        ("it's cos.setup=/a", ["/a"]),
        ("xcos.setup=/a", []),
    ],
)
def test_what_the_command_line_names(line: str, expected: list[str]) -> None:
    assert setup.setups(line) == expected
