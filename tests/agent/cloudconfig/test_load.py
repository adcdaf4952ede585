"""Faults of files are told with their place; what others write beside is no fault."""

import pytest

from compiler.agent.cloudconfig.load import LoadFaults, load
from compiler.agent.cloudconfig.model import Config
from compiler.agent.cloudconfig.source import Source
from compiler.agent.cloudconfig.written import plain

FAULTS = {
    "stages:\n  boot:\n  - files:\n    - path: /a\n      permissions: '0644'\n": (
        "f.yaml:5:20: 'permissions' must be a whole number, not text (write it without quotes)"
    ),
    "stages:\n- boot\n": "f.yaml:2:1: 'stages' must be a map, not a list",
    "- a\n": "f.yaml:1:1: the file must be a map, not a list",
    "text\n": "f.yaml:1:1: the file must be a map, not text",
    "stages:\n  boot:\n    commands: [a]\n": "f.yaml:3:5: 'boot' must be a list, not a map",
    "stages:\n  boot:\n  - commands: echo\n": "f.yaml:3:15: 'commands' must be a list, not text",
    "stages:\n  boot:\n  - commands:\n    - [a]\n": (
        "f.yaml:4:7: an entry of 'commands' must be text, not a list"
    ),
    "stages:\n  boot:\n  - step\n": "f.yaml:3:5: an entry of 'boot' must be a map, not text",
    "stages:\n  boot:\n  - dns: {nameservers: 1}\n": (
        "f.yaml:3:24: 'nameservers' must be a list, not a number"
    ),
    "stages:\n  boot:\n  - users: {a: {lock_passwd: 'no'}}\n": (
        "f.yaml:3:30: 'lock_passwd' must be true or false, not text (write it without quotes)"
    ),
    "stages:\n  boot:\n  - files: [{owner: -1}]\n": (
        "f.yaml:3:21: 'owner' must be a number from 0 to 4294967295"
    ),
    "stages:\n  boot:\n  - files: [{owner: 1.5}]\n": (
        "f.yaml:3:21: 'owner' must be a whole number, not a fraction"
    ),
    "a: b: c\n": (
        "f.yaml:1:5: is not YAML: mapping values are not allowed in this context "
        "(quote text that holds ': ')"
    ),
    "a: [\n": (
        "f.yaml:2:1: is not YAML: did not find expected node content while parsing a flow node "
        "(check the indentation and the quotes of this line and the one before)"
    ),
    "a: 1\na: 2\n": "f.yaml:2:1: key 'a' is given twice (first at 1:1)",
    "\x01": "f.yaml:1:1: holds the control character U+0001 (is this a text file?)",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_told_with_its_line_and_column(text: str) -> None:
    with pytest.raises(LoadFaults) as caught:
        load(Source("f.yaml", text))

    assert [str(each) for each in caught.value.errors] == [FAULTS[text]]


def test_all_faults_are_told_in_their_order() -> None:
    text = "stages:\n  a:\n  - files: x\n    commands: y\n  b: z\n"

    with pytest.raises(LoadFaults) as caught:
        load(Source("f", text))

    places = [(each.location.line, each.location.column) for each in caught.value.errors
              if each.location]  # fmt: skip
    assert places == [(3, 12), (4, 15), (5, 6)]


def test_unknown_keys_are_noted_with_what_was_probably_meant() -> None:
    text = "nmae: x\nstages:\n  boot:\n  - systctl: {a: b}\n    permissons: 1\n    zzz: {}\n"

    loaded = load(Source("f.yaml", text))

    assert [str(each) for each in loaded.unknown] == [
        "f.yaml:1:1: unknown key 'nmae' is ignored (did you mean 'name'?)",
        "f.yaml:4:5: unknown key 'systctl' is ignored (did you mean 'sysctl'?)",
        "f.yaml:5:5: unknown key 'permissons' is ignored",
        "f.yaml:6:5: unknown key 'zzz' is ignored",
    ]


def test_numbers_and_booleans_are_text_as_they_were_written() -> None:
    text = "stages:\n  b:\n  - environment: {A: 0644, B: yes, C: 1_0, D: ~, E: 0x1F, F: 1.50}\n"

    environment = load(Source("f", text)).config.stages["b"][0].environment

    assert environment == {"A": "0644", "B": "yes", "C": "1_0", "D": "", "E": "0x1F", "F": "1.50"}


def test_keys_are_text_as_they_were_written() -> None:
    text = "stages:\n  b:\n  - environment: {N: yes, y: no, on: off, 0x10: 1}\n"

    environment = load(Source("f", text)).config.stages["b"][0].environment

    assert environment == {"N": "yes", "y": "no", "on": "off", "0x10": "1"}


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "name: x\n", "stages:\n"])
def test_a_file_may_say_nothing(text: str) -> None:
    assert load(Source("f", text)).config.stages == {}


def test_null_means_unset_everywhere() -> None:
    text = "stages:\n  a:\n  -\n  - files:\n    dns:\n    users: {x: }\n  b:\n"

    config = load(Source("f", text)).config

    assert [each.name for each in config.stages["a"]] == ["", ""]


def test_only_the_first_document_counts() -> None:
    config = load(Source("f", "name: one\n---\n- [\n")).config

    assert config.name == "one"


def test_anchors_and_merge_keys_work() -> None:
    text = "x: &x {path: /a, permissions: 0600}\nstages:\n  s:\n  - files: [{<<: *x, content: 1}]\n"

    file = load(Source("f", text)).config.stages["s"][0].files[0]

    assert (file.path, file.permissions, file.content) == ("/a", 0o600, "1")


def test_a_cloud_config_for_others_has_no_effect_and_says_so() -> None:
    text = "#cloud-config\nusers: [default]\nhostname: x\n"

    loaded = load(Source("f.yaml", text))

    assert loaded.config == Config()
    assert [str(each) for each in loaded.warnings] == [
        "f.yaml:2:9: an entry of 'users' must be a map, not text "
        "(nothing of this #cloud-config takes effect)"
    ]


@pytest.mark.parametrize(
    ("head", "counts"),
    [
        ("#cloud-config\n", True),
        ("# by me\n#cloud-config\n", True),
        ("#cloud-config \r\n", True),
        ("# x\n" * 9 + "#cloud-config\n", True),
        ("# x\n" * 10 + "#cloud-config\n", False),
        ("\n#cloud-config\n", False),
        ("#cloud-config-archive\n", False),
    ],
)
def test_the_header_stands_among_the_first_comments(head: str, counts: object) -> None:
    config = load(Source("f", f"{head}hostname: x\n")).config

    assert ("initramfs" in config.stages) is counts


def test_permissions_of_a_cloud_config_are_octal_text() -> None:
    text = "#cloud-config\nwrite_files: [{path: /a, permissions: '0o600'}, {path: /b}]\n"

    files = load(Source("f", text)).config.stages["boot"][0].files

    assert [each.permissions for each in files] == [0o600, 0o644]
    with pytest.raises(LoadFaults) as caught:
        load(Source("f", "#cloud-config\nwrite_files: [{path: /a, permissions: rw}]\n"))
    assert str(caught.value.errors[0]) == (
        "f:1:1: the permissions 'rw' of '/a' are no octal number"
    )


DOTS = {
    "stages.boot[0].hostname=foo": {"boot": [{"hostname": "foo"}]},
    'stages.a[0].commands[0]="echo a b"': {"a": [{"commands": ["echo a b"]}]},
    "stages.a[0].commands[7]=b stages.a[0].commands[2]=a": {"a": [{"commands": ["a", "b"]}]},
    "stages.rootfs.after[0].commands[0]=x": {"rootfs.after": [{"commands": ["x"]}]},
    "stages.a[0].files[0].permissions=0600": {"a": [{"files": [{"permissions": 384}]}]},
    "stages.a[0].environment.A=007": {"a": [{"environment": {"A": "007"}}]},
    "stages.a[0].git.branch_only": {"a": [{"git": {"branch_only": True}}]},
    "ro quiet root=LABEL=X a..b=1 stages stages.=x stages[0]=1 .x=2 x[=3": {},
    "stages.a[0].name=x stages.a[0].name.y=z": {"a": [{"name": "x"}]},
    "it's stages.a[0].name=x": {"a": [{"name": "x"}]},
}


@pytest.mark.parametrize("text", DOTS)
def test_words_of_the_command_line_are_a_configuration(text: str) -> None:
    config = load(Source("cmdline", text), dots=True).config

    assert plain(config).get("stages", {}) == DOTS[text]


def test_words_that_cannot_be_meant_are_a_fault() -> None:
    with pytest.raises(LoadFaults) as caught:
        load(Source("/proc/cmdline", "stages.a[0].files[0].permissions=rw"), dots=True)

    assert str(caught.value.errors[0]) == (
        "/proc/cmdline: 'permissions' must be a whole number, not text"
    )
