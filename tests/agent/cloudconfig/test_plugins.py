"""What single keys of a step decide, and what they do on a root."""

import gzip
import os
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from compiler.agent.cloudconfig import accounts
from compiler.agent.cloudconfig.crypt import sha512_crypt
from compiler.agent.cloudconfig.disks.table import Entry, Table, added, expanded, parse_table
from compiler.agent.cloudconfig.facts import parse_release, values
from compiler.agent.cloudconfig.machine import Outside
from compiler.agent.cloudconfig.model import Git, GitAuth, User
from compiler.agent.cloudconfig.plugins import (
    environment,
    files,
    firstboot,
    git,
    hostname,
    keys,
    layout,
    modules,
    packages,
    pins,
    timesyncd,
    users,
)
from compiler.errors import CompilerError
from tests.agent.scratch import Scratch
from tests.agent.servers import serving


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    root = tmp_path / "root"
    for each in ("etc", "run", "root", "tmp", "home"):
        (root / each).mkdir(parents=True)
    return Scratch(root)


def step(text: str) -> str:
    """Write a file with one step in stage `t`."""
    return "stages:\n  t:\n  - " + text.replace("\n", "\n    ")


def run(scratch: Scratch, text: str) -> bool:
    scratch.put("/cfg.yaml", step(text))
    return scratch.run("t", "/cfg.yaml")


# passwords


@pytest.mark.parametrize("password", ["cos", "a", "ä" * 40, "x" * 64, "y" * 65, "z" * 200])
def test_passwords_are_hashed_as_openssl_does(password: str) -> None:
    argv = ["openssl", "passwd", "-6", "-salt", "abcdefgh", "-stdin"]
    asked = subprocess.run(argv, input=f"{password}\n".encode(), capture_output=True, check=True)

    assert sha512_crypt(password, "abcdefgh") == asked.stdout.decode().strip()


# accounts


def test_fields_that_would_make_other_rows_are_refused() -> None:
    for value in ("a:b", "a\nroot::0:0::/:/bin/sh", "a\0"):
        with pytest.raises(CompilerError, match="must not hold"):
            accounts.row_of(("name", value))
    with pytest.raises(CompilerError, match="needs a name"):
        accounts.row_of(("", "x"))


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "a b", "a\tb", "a,b", "-a", "+a", "~a", ".", ".."]
)
def test_names_that_would_be_paths_or_lists_are_no_names_of_accounts(name: str) -> None:
    with pytest.raises(CompilerError, match="cannot be the name of an account"):
        accounts.row_of((name, "x"))


@pytest.mark.parametrize("name", ["a.b", "a-b", "_x", "a$", "ä", "1a"])
def test_other_names_are_names_of_accounts(name: str) -> None:
    assert accounts.row_of((name, "x")) == f"{name}:x"


def test_numbers_of_people_follow_the_highest() -> None:
    assert accounts.next_number("") == 1000
    assert accounts.next_number("a:x:1000:\nb:x:1005:\nnobody:x:65534:\n") == 1006
    assert accounts.next_number("a:x:59999:\n") == 1000


def test_rows_of_others_stay_as_they_are() -> None:
    text = "+nis\n# note\nfoo:x:1:\nfoobar:x:2:\n"

    assert accounts.put(text, "foo:x:9:") == "+nis\n# note\nfoo:x:9:\nfoobar:x:2:\n"
    assert accounts.without_name(text, "foo") == "+nis\n# note\nfoobar:x:2:\n"
    assert accounts.put("a:x:1:", "b:x:2:") == "a:x:1:\nb:x:2:\n"


PASSWD = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n"
OLD = users.Accounts(PASSWD, "me:$6$old:1:2:3:4:5:6:\n", "me:x:1000:\nwheel:x:10:a\n")


def changed(name: str, user: User, owner: int | None = None) -> users.Accounts:
    return users.changed(OLD, name, user, users.Context(users.Defaults(), 20000, owner))


def test_a_user_who_is_there_keeps_all_but_password_and_groups() -> None:
    new = changed("me", User(passwd="$6$new", groups=("wheel",), homedir="/y"))

    assert new == users.Accounts(
        PASSWD, "me:$6$new:20000:2:3:4:5:6:\n", "me:x:1000:\nwheel:x:10:a,me\n"
    )


def test_a_user_who_is_there_without_a_new_password_keeps_the_old_one() -> None:
    assert changed("me", User()) == OLD
    assert changed("me", User(passwd="$6$old")) == OLD


def test_a_user_gets_the_number_of_a_home_that_is_nobodys() -> None:
    assert ":1500:1001:" in changed("new", User(), 1500).passwd
    assert "new:x:1001:1001:" in changed("new", User(), 1000).passwd
    assert "new:x:1001:1001:" in changed("new", User(), 0).passwd


def test_a_plain_password_is_hashed_and_a_lock_is_none() -> None:
    assert "new:$6$" in changed("new", User(passwd="secret")).shadow
    assert "new:!:20000:" in changed("new", User(passwd="secret", lock_passwd=True)).shadow
    assert "new:*:20000:" in changed("new", User(passwd="*")).shadow


def test_a_uid_that_is_no_number_is_an_error() -> None:
    with pytest.raises(CompilerError) as caught:
        changed("new", User(uid="0:0"))

    assert str(caught.value) == "'uid' must be a number, not '0:0'"


def test_a_password_that_is_the_same_changes_nothing() -> None:
    first = changed("new", User(passwd="secret"))
    context = users.Context(users.Defaults(), 20001, None)

    assert users.changed(first, "new", User(passwd="secret"), context) == first
    assert users.changed(first, "new", User(passwd="other"), context) != first


# texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n", {"A": "1"}),
        ("export A=b\n", {"A": '"b"'}),
        ("A='$x'\n", {"A": '"\\$x"'}),
        ('A="$PATH:/x"\n', {"A": '"$PATH:/x"'}),
        ("A=$PATH # note\n", {"A": '"$PATH"'}),
        ('A=say "hi"\n', {"A": '"say \\"hi\\""'}),
        ("A: b\n", {"A": '"b"'}),
        ("A=\n", {"A": '""'}),
        ("# A=1\n\n", {}),
        ("nothing\nA=1\n", None),
    ],
)
def test_variables_keep_what_they_mean(text: str, expected: dict[str, str] | None) -> None:
    assert environment.parsed(text) == expected


def test_values_are_quoted_for_a_shell(tmp_path: Path) -> None:
    value = 'a "b" $c `d` \\e'
    (tmp_path / "env").write_bytes(environment.laid_out({"A": environment.quoted(value)}))

    shown = subprocess.run(
        ["sh", "-c", '. ./env; printf %s "$A"'], cwd=tmp_path, capture_output=True, check=True
    )

    assert shown.stdout.decode() == value


def test_an_environment_that_cannot_be_read_is_dropped_and_it_is_said(scratch: Scratch) -> None:
    scratch.put("/etc/environment", "nothing\nB=1\n")

    assert run(scratch, "environment: {A: x}")

    assert scratch.text("/etc/environment") == 'A="x"\n'
    assert any("is dropped" in each for each in scratch.said)


def test_a_name_that_is_no_variable_is_an_error(scratch: Scratch) -> None:
    assert not run(scratch, "environment: {'A=1\n\nB': x}".replace("\n\n", " "))
    assert not (scratch.folder / "etc/environment").exists()


def test_timesyncd_keeps_comments_and_sections() -> None:
    text = "# top\n[Time]\n#NTP=\nNTP=a\n[Other]\nX=1\n"

    assert timesyncd.merged(text, {"NTP": "b", "FallbackNTP": "c"}) == (
        "# top\n\n[Time]\n#NTP=\nNTP         = b\nFallbackNTP = c\n\n[Other]\nX = 1\n\n"
    )


def test_hosts_of_other_addresses_stay() -> None:
    text = "127.0.0.1\tlocalhost\n127.0.0.11 x\n::1 localhost"

    assert hostname.hosts_with(text, "me") == (
        "127.0.0.1 localhost me\n127.0.0.11 x\n::1 localhost"
    )


@pytest.mark.parametrize("name", ["a b", "x" * 65, '"\\x01"', '" "'])
def test_a_name_that_no_machine_has_is_an_error(scratch: Scratch, name: str) -> None:
    scratch.put("/etc/hosts", "")

    assert not run(scratch, f"hostname: {name}")

    assert not (scratch.folder / "etc/hostname").exists()
    assert "is no name of a machine" in scratch.errors()[0]


def test_a_name_may_be_made_of_facts(scratch: Scratch) -> None:
    scratch.put("/etc/hosts", "")
    scratch.put("/etc/machine-id", "0123\n")

    assert run(scratch, "hostname: 'node-{{ .MachineID }}-{{ .Values.os.architecture }}'")

    assert scratch.text("/etc/hostname").startswith("node-0123-")


def test_facts_are_those_of_the_root(scratch: Scratch) -> None:
    scratch.put("/etc/os-release", 'ID=cos\nPRETTY_NAME="cOS 1"\nVERSION_ID=1\n')

    found = values(scratch.root, Outside(host_name=lambda: "node", random=lambda _: "r"))

    tree = found["Values"]
    assert isinstance(tree, dict)
    assert tree["os"]["name"] == "cOS 1"
    assert tree["node"]["hostname"] == "node"
    assert tree["Random"] == "r"


def test_release_files_have_quotes_and_comments() -> None:
    assert parse_release("#x\nA='b c'\nD=\"e\"\nF\n") == {"A": "b c", "D": "e"}


def test_a_flag_of_firstboot_may_need_no_value() -> None:
    assert firstboot.flag("Force", "true") == "--force"
    assert firstboot.flag("Locale", "C") == "--locale=C"


def test_a_module_that_is_loaded_is_left_alone() -> None:
    text = "snd_hda 1 0 - Live\next4 2 1 - Live\n"

    assert modules.is_loaded("snd-hda", text)
    assert not modules.is_loaded("snd", text)


# files


def test_contents_are_decoded_to_a_bound() -> None:
    packed = b64encode(gzip.compress(b"x", mtime=0)).decode()
    bomb = b64encode(gzip.compress(bytes(70 << 20), mtime=0)).decode()

    assert files.decoded(packed, "gz+b64") == b"x"
    assert files.decoded("YWJj\nZGVm", "b64") == b"abcdef"
    for content, encoding, message in (
        (bomb, "gzip+b64", "the content unpacks to more than 67108864 bytes"),
        ("YWJj", "gz+base64", "the content is not gzip"),
        (b64encode(gzip.compress(b"x" * 100, mtime=0)[:-9]).decode(), "gz+b64",
         "the content is not all of a gzip"),
    ):  # fmt: skip
        with pytest.raises(CompilerError) as caught:
            files.decoded(content, encoding)
        assert str(caught.value) == message


def test_an_error_names_file_line_and_step(scratch: Scratch) -> None:
    assert not run(scratch, "name: one\nfiles: [{path: '', content: x}]")

    assert scratch.errors() == ["error: /cfg.yaml:3:5: step 'one': a file needs a path"]


def test_a_file_leads_nowhere_else(scratch: Scratch) -> None:
    (scratch.folder / "out").symlink_to("../..")
    owner = f"owner: {os.geteuid()}, group: {os.getegid()}"

    assert run(scratch, f"files: [{{path: /out/../../x, content: y, permissions: 0600, {owner}}}]")

    assert scratch.text("/x") == "y"
    assert not (scratch.folder.parent / "x").exists()


def test_a_template_that_fails_is_used_as_it_is_and_it_is_said(scratch: Scratch) -> None:
    assert scratch.machine.render("{{ fail `no` }}") == "{{ fail `no` }}"
    assert scratch.machine.render("{{ .Values.none.at.all }}") == "<no value>"
    assert any("is no template" in each for each in scratch.said)


# keys and downloads


def test_keys_come_from_servers_and_are_tried_again(scratch: Scratch) -> None:
    tries = []

    def later(_asked: object) -> tuple[int, bytes]:
        tries.append(1)
        return (200, b"ssh-rsa A\n# note\n\nssh-rsa B\n") if len(tries) > 2 else (503, b"")

    scratch.put("/etc/passwd", f"me:x:{os.geteuid()}:{os.getegid()}::/home/me:/bin/sh\n")
    with serving({"/me.keys": later}) as server:
        outside = Outside(addresses={"github": server.address}, pause=lambda _: None)
        again = Scratch(scratch.folder, scratch.said, outside)
        assert run(again, "authorized_keys: {me: ['github:me', literal]}"), again.said

    assert scratch.text("/home/me/.ssh/authorized_keys") == "ssh-rsa A\nssh-rsa B\nliteral\n"


def test_keys_that_do_not_come_keep_out_no_others(scratch: Scratch) -> None:
    scratch.put("/etc/passwd", f"me:x:{os.geteuid()}:{os.getegid()}::/home/me:/bin/sh\n")
    with serving({}) as server:
        assert not run(scratch, f"authorized_keys: {{me: ['{server.address}/k', literal]}}")
        assert server.paths() == ["/k"] * 10

    assert scratch.text("/home/me/.ssh/authorized_keys") == "literal\n"


def test_an_account_of_a_forge_is_a_name() -> None:
    assert keys.address_of("gitlab:a-b", {}) == "https://gitlab.com/a-b.keys"
    assert keys.address_of("ssh-rsa x", {}) is None
    with pytest.raises(CompilerError, match="names no account of github"):
        keys.address_of("github:../x?y", {})


def test_a_user_who_is_not_there_gets_no_keys(scratch: Scratch) -> None:
    scratch.put("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")

    assert not run(scratch, "authorized_keys: {who: [k]}")
    assert scratch.errors() == ["error: /cfg.yaml:3:5: unknown user 'who'"]


def test_a_download_that_ends_early_leaves_the_old_file(scratch: Scratch) -> None:
    scratch.put("/tmp/f", "old")
    me = f"owner: {os.geteuid()}, group: {os.getegid()}"
    with serving({"/f": b"new"}) as server:
        assert not run(scratch, f"downloads: [{{path: /tmp/f, url: '{server.address}/g', {me}}}]")
        assert scratch.text("/tmp/f") == "old"
        assert run(scratch, f"downloads: [{{path: /tmp/f, url: '{server.address}/f', {me}}}]")

    assert scratch.text("/tmp/f") == "new"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://"])
def test_only_web_servers_are_asked(scratch: Scratch, url: str) -> None:
    assert not run(scratch, f"downloads: [{{path: /tmp/f, url: '{url}'}}]")
    assert not (scratch.folder / "tmp/f").exists()


# programs


def test_names_that_would_be_options_are_refused() -> None:
    with pytest.raises(CompilerError, match="is no name of a package"):
        packages.checked(("-oAPT::x",))
    with pytest.raises(CompilerError, match="must not start with '-'"):
        list(git._check_out(Git(url="--upload-pack=x", path="/x"), None))  # type: ignore[arg-type]


def test_a_system_that_nobody_knows_has_no_package_manager() -> None:
    with pytest.raises(CompilerError) as caught:
        packages.manager_of({"ID": "plan9"})

    assert str(caught.value) == "no package manager is known for 'plan9'"
    assert packages.manager_of({"ID": "x", "ID_LIKE": "y debian"}).refresh == "apt-get -y update"


def test_versions_are_locked_in_the_way_of_each_manager(scratch: Scratch) -> None:
    scratch.put("/etc/os-release", "ID=debian\n")

    assert run(scratch, "package_pins: {foo: 1.2*}")

    assert scratch.text("/etc/apt/preferences.d/cos-foo") == (
        "Package: foo\nPin: version 1.2*\nPin-Priority: 1001\n"
    )
    assert pins.lock("dnf", "foo", "1").program.argv == ("dnf", "versionlock", "add", "foo-1")  # type: ignore[union-attr]
    with pytest.raises(CompilerError, match="pacman cannot lock"):
        pins.lock("pacman", "foo", "1")


def test_secrets_of_git_are_in_no_argument() -> None:
    auth = GitAuth(username="me", password="pw", private_key="KEY", insecure=True)

    env = git.environment(auth, "/r")

    assert env["GIT_SSH_COMMAND"] == (
        "ssh -o BatchMode=yes -i /r/run/cos/git/key -o IdentitiesOnly=yes "
        "-o StrictHostKeyChecking=no"
    )
    assert "http.sslVerify" in env.values()
    assert git.secret_files(auth)[0].mode == 0o600
    assert all("pw" not in word for each in git.commands(Git(url="u", auth=auth), is_there=False)
               for word in each)  # fmt: skip


def test_a_checkout_is_reset_and_its_keys_are_gone_after_a_failure(
    scratch: Scratch, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    call = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(source)], check=True)
    for text in ("one", "two"):
        (source / "f").write_text(text)
        subprocess.run([*call, "add", "."], check=True)
        subprocess.run([*call, "commit", "-qm", text], check=True)
        ask = f"git: {{url: 'file://{source}', path: /co, branch: main, branch_only: true}}"
        assert run(scratch, ask), scratch.said
        assert scratch.text("/co/f") == text
        scratch.put("/co/f", "changed here")
        scratch.put("/co/own", "stays")

    assert scratch.text("/co/own") == "stays"
    assert not run(scratch, "git: {url: 'file:///none', path: /c2, auth: {private_key: K}}")
    assert not (scratch.folder / "run/cos/git/key").exists()


# disks

SHOWN = """Disk /dev/vda: 2097152 sectors, 1024.0 MiB
Sector size (logical/physical): 512/512 bytes
First usable sector is 34, last usable sector is 2097118
Partitions will be aligned on 2048-sector boundaries
Total free space is 1892285 sectors (924.0 MiB)

Number  Start (sector)    End (sector)  Size       Code  Name
   1            2048          206847   100.0 MiB   8300  root of it
"""


def test_a_table_is_read_as_it_is_shown() -> None:
    table = parse_table(SHOWN)

    assert table == Table(512, 2097118, 2048, (Entry(1, 2048, 206847, "8300", "root of it"),))
    assert (table.next_number, table.first_free, table.free_mib) == (2, 206848, 922)


def test_room_is_behind_the_last_partition_only() -> None:
    table = parse_table(SHOWN)

    assert added(table, 0) == (206848, 2097118)
    assert added(table, 100) == (206848, 411647)
    assert expanded(table, 200) == 411647
    for call, size, message in (
        (added, 1000, "a partition of 1000 MiB is too big: 922 MiB are free"),
        (expanded, 50, "partition 1 has 100 MiB already: it is never shrunk"),
        (expanded, 2000, "2000 MiB are too big: 922 MiB are free"),
    ):
        with pytest.raises(CompilerError) as caught:
            call(table, size)
        assert str(caught.value) == message
    with pytest.raises(CompilerError, match="no partition table"):
        parse_table("nothing")


def test_a_longer_partition_stays_what_it_was() -> None:
    info = "Partition GUID code: AB-C (Linux)\nPartition unique GUID: DE-F\n"

    assert layout.expansion(Entry(4, 10, 20, "8300", "n"), 99, info) == (
        "-d=4", "-n=4:10:99", "-t=4:AB-C", "-c=4:n", "-u=4:DE-F",
    )  # fmt: skip
