"""Every datasource, against a small metadata server; and answers that mean harm."""

import base64
import gzip
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from compiler.agent.cloudconfig.datasource import Found, clouds
from compiler.agent.cloudconfig.datasource.azure import azure, report_ready
from compiler.agent.cloudconfig.datasource.choose import first_found, providers
from compiler.agent.cloudconfig.datasource.local import guest_variable
from compiler.agent.cloudconfig.datasource.userdata import plain
from compiler.agent.cloudconfig.machine import Outside
from compiler.errors import CompilerError, OutsideError
from tests.agent.scratch import Scratch
from tests.agent.servers import Answer, Asked, Server, serving

CONFIG = b"#cloud-config\nhostname: x\n"
EC2: Mapping[str, Answer] = {
    "/latest/meta-data/hostname": b"host\n",
    "/latest/meta-data/public-ipv4": b"1.2.3.4",
    "/latest/meta-data/placement/availability-zone": b"zone",
    "/latest/meta-data/public-keys/0/openssh-key": b"ssh-rsa A me\n",
    "/latest/user-data": CONFIG,
}
EC2_FOUND = Found(
    provider="AWS",
    userdata=CONFIG,
    hostname="host",
    keys=("ssh-rsa A me",),
    facts={"public_ipv4": "1.2.3.4", "availability_zone": "zone"},
)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    root = tmp_path / "root"
    for each in ("etc", "run", "root", "tmp"):
        (root / each).mkdir(parents=True)
    return Scratch(root)


@pytest.fixture
def server() -> Iterator[tuple[dict[str, Answer], Server]]:
    answers: dict[str, Answer] = {}
    with serving(answers) as running:
        yield answers, running


Fake = tuple[dict[str, Answer], Server]


def with_header(name: str, value: str, data: bytes) -> Answer:
    """Answer only those who send a header."""
    return lambda asked: (200, data) if asked.headers.get(name) == value else (403, b"")


def test_aws_is_asked_with_the_token_that_it_gives(server: Fake) -> None:
    answers, running = server
    answers["/latest/api/token"] = b"token\n"
    for path, data in EC2.items():
        assert isinstance(data, bytes)
        answers[path] = with_header("x-aws-ec2-metadata-token", "token", data)

    found = clouds.aws({"aws": running.address})

    assert found == EC2_FOUND
    assert running.asked[0].method == "PUT"
    assert running.asked[0].headers["x-aws-ec2-metadata-token-ttl-seconds"] == "300"


def test_aws_without_tokens_and_openstack_have_the_same_paths(server: Fake) -> None:
    answers, running = server
    answers.update(EC2)

    assert clouds.aws({"aws": running.address}) == EC2_FOUND
    found = clouds.openstack({"openstack": running.address})
    assert (found.provider, found.hostname, found.userdata) == ("OpenStack", "host", CONFIG)


def test_gcp_wants_its_header_and_has_users_in_front_of_keys(server: Fake) -> None:
    answers, running = server
    for path, data in {
        "/computeMetadata/v1/instance/hostname": b"host",
        "/computeMetadata/v1/project/attributes/ssh-keys": b"me:ssh-rsa A\nyou:ssh-rsa B\n",
        "/computeMetadata/v1/instance/attributes/user-data": CONFIG,
    }.items():
        answers[path] = with_header("metadata-flavor", "Google", data)

    found = clouds.gcp({"gcp": running.address})

    assert found == Found(
        provider="GCP", userdata=CONFIG, hostname="host", keys=("ssh-rsa A", "ssh-rsa B")
    )


def test_hetzner_has_keys_as_json(server: Fake) -> None:
    answers, running = server
    answers.update({
        "/hetzner/v1/metadata/hostname": b"host",
        "/hetzner/v1/metadata/public-keys": b'["ssh-rsa A", 1, "ssh-rsa B"]',
        "/hetzner/v1/metadata/instance-id": b"42",
        "/hetzner/v1/userdata": CONFIG,
    })  # fmt: skip

    found = clouds.hetzner({"hetzner": running.address})

    assert found == Found(
        provider="Hetzner",
        userdata=CONFIG,
        hostname="host",
        keys=("ssh-rsa A", "ssh-rsa B"),
        facts={"instance_id": "42"},
    )


@pytest.mark.parametrize(("userdata", "kept"), [(CONFIG, CONFIG), (b"#!ipxe\nboot\n", b"")])
def test_packet_has_one_object_and_its_boot_script_is_no_user_data(
    server: Fake, userdata: bytes, kept: bytes
) -> None:
    answers, running = server
    data = {"id": "42", "hostname": "host", "ssh_keys": ["ssh-rsa A"]}
    answers.update({"/metadata": json.dumps(data).encode(), "/userdata": userdata})

    found = clouds.packet({"packet": running.address})

    assert found == Found(
        provider="Packet",
        userdata=kept,
        hostname="host",
        keys=("ssh-rsa A",),
        facts={"instance_id": "42"},
    )


@pytest.mark.container
def test_scaleway_gives_user_data_to_root_only(server: Fake) -> None:
    answers, running = server

    def to_root(asked: Asked) -> tuple[int, bytes]:
        return (200, CONFIG) if asked.port < 1024 else (403, b"")

    answers["/conf"] = (
        b"HOSTNAME=host\nID=42\nSSH_PUBLIC_KEYS=1\nSSH_PUBLIC_KEYS_0_KEY='ssh-rsa A'\n"
    )
    answers["/user_data/cloud-init"] = to_root

    found = clouds.scaleway({"scaleway": running.address})

    assert found == Found(
        provider="Scaleway",
        userdata=CONFIG,
        hostname="host",
        keys=("ssh-rsa A",),
        facts={"instance_id": "42"},
    )


SIMPLE = {
    "vultr": (clouds.vultr, "Vultr", "/v1/hostname", "/v1/public-keys", "/latest/user-data"),
    "digitalocean": (
        clouds.digitalocean,
        "DigitalOcean",
        "/metadata/v1/hostname",
        "/metadata/v1/public-keys",
        "/metadata/v1/user-data",
    ),
    "metaldata": (
        clouds.metaldata,
        "metaldata",
        "/get/meta/hostname",
        "/get/meta/authorized-keys",
        "/get/user",
    ),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_services_with_one_answer_a_path(server: Fake, name: str) -> None:
    answers, running = server
    ask, provider, hostname, keys, userdata = SIMPLE[name]
    answers.update({hostname: b"host", keys: b"ssh-rsa A\n\nssh-rsa B\n", userdata: CONFIG})

    found = ask({name: running.address})

    assert found == Found(
        provider=provider, userdata=CONFIG, hostname="host", keys=("ssh-rsa A", "ssh-rsa B")
    )


def test_azure_has_one_object_and_wants_to_hear_that_the_machine_is_up(server: Fake) -> None:
    answers, running = server
    compute = {
        "osProfile": {"computerName": "host"},
        "vmId": "42",
        "publicKeys": [{"keyData": "ssh-rsa\r\nA"}, {}],
        "userData": base64.b64encode(CONFIG).decode(),
    }
    instance = json.dumps({"compute": compute, "network": {}}).encode()
    path = "/metadata/instance?api-version=2021-01-01"
    answers[path] = with_header("metadata", "true", instance)
    fields = {"Incarnation": "1", "ContainerId": "c-1", "InstanceId": "i.1"}
    goal = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    answers["/machine/?comp=goalstate"] = f"<GoalState>{goal}</GoalState>".encode()
    answers["/machine?comp=health"] = b""

    found = azure({"azure": running.address})
    report_ready({"azure_wire": running.address})

    assert found == Found(
        provider="Azure",
        userdata=CONFIG,
        hostname="host",
        keys=("ssh-rsa A",),
        facts={"instance_id": "42"},
    )
    report = running.asked[-1]
    assert report.headers["x-ms-version"] == "2012-11-30"
    assert b"<ContainerId>c-1</ContainerId>" in report.body
    assert b"<State>Ready</State>" in report.body


GUEST = {
    "": ("#cloud-config\nhostname: x", ""),
    "base64": (base64.b64encode(CONFIG).decode(), "base64"),
    "gzip": (base64.b64encode(gzip.compress(CONFIG, mtime=0)).decode(), "gzip+base64"),
}


@pytest.mark.parametrize("case", GUEST)
def test_vmware_has_variables_in_three_encodings(case: str) -> None:
    data, encoding = GUEST[case]
    variables = {"userdata": data, "userdata.encoding": encoding}

    assert guest_variable("userdata", lambda name: variables.get(name, "")) == CONFIG


def test_an_encoding_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(OutsideError) as caught:
        guest_variable("userdata", lambda name: "x" if name == "userdata" else "rot13")

    assert str(caught.value) == "unknown encoding 'rot13' of guestinfo.userdata"


def test_packed_user_data_is_unpacked_up_to_a_bound() -> None:
    assert plain(gzip.compress(CONFIG)) == CONFIG
    with pytest.raises(OutsideError) as caught:
        plain(gzip.compress(bytes(50 << 20)))
    assert str(caught.value) == "the user data unpacks to more than 16777216 bytes"


# what is found is kept and applied


def applied(scratch: Scratch, provider: str, address: str, more: str = "") -> bool:
    outside = Outside(addresses={provider: address}, host_name=lambda: "node")
    again = Scratch(scratch.folder, scratch.said, outside)
    again.put("/cfg.yaml", f"stages: {{t: [{{datasource: {{providers: [{provider}]{more}}}}}]}}\n")
    return again.run("t", "/cfg.yaml")


def test_what_is_found_is_kept_and_applied(scratch: Scratch, server: Fake) -> None:
    answers, running = server
    answers.update(EC2)
    scratch.put("/etc/passwd", f"root:x:{os.geteuid()}:{os.getegid()}::/root:/bin/sh\n")
    scratch.put("/etc/hosts", "127.0.0.1 localhost\n")

    assert applied(scratch, "aws", running.address, ", path: /oem"), scratch.said

    assert scratch.text("/run/config/provider") == "AWS"
    assert scratch.text("/run/config/hostname") == "host"
    assert scratch.text("/run/config/public_ipv4") == "1.2.3.4"
    assert scratch.text("/run/config/ssh/authorized_keys") == "ssh-rsa A me\n"
    assert scratch.text("/oem/userdata").encode() == CONFIG
    assert scratch.text("/oem/userdata.yaml").encode() == CONFIG
    assert scratch.text("/etc/hostname") == "host\n"
    assert scratch.text("/etc/hosts") == "127.0.0.1 localhost host\n"
    assert scratch.text("/root/.ssh/authorized_keys") == "ssh-rsa A me\n"


def test_user_data_that_is_neither_configuration_nor_script_is_only_kept(
    scratch: Scratch, server: Fake
) -> None:
    answers, running = server
    answers.update({**EC2, "/latest/user-data": b"hello"})
    scratch.put("/etc/hosts", "")

    assert applied(scratch, "aws", running.address)

    assert scratch.text("/run/config/userdata") == "hello"
    assert not (scratch.folder / "run/config/userdata.yaml").exists()


def test_a_name_for_user_data_leads_nowhere_else(scratch: Scratch, server: Fake) -> None:
    answers, running = server
    answers.update(EC2)

    assert not applied(scratch, "aws", running.address, ", userdata_name: ../../x")

    assert scratch.errors() == [
        "error: /cfg.yaml:1:14: the userdata_name '../../x' must not hold '/'"
    ]


def test_nobody_who_answers_is_an_error(scratch: Scratch, server: Fake) -> None:
    assert not applied(scratch, "gcp", server[1].address)

    assert scratch.errors() == ["error: /cfg.yaml:1:14: no metadata/userdata found by gcp"]
    assert (scratch.folder / "run/config").is_dir()


def test_a_provider_that_nobody_knows_is_an_error(scratch: Scratch) -> None:
    with pytest.raises(CompilerError, match="unknown datasource provider 'clod'"):
        providers(["clod"], "", scratch.machine)


def test_the_first_in_order_wins_and_the_disc_is_asked_before(scratch: Scratch) -> None:
    def late(name: str) -> Found:
        time.sleep(0.2)
        return Found(provider=name)

    asked = {"one": lambda: late("one"), "two": lambda: Found(provider="two")}

    assert first_found(asked, scratch.machine) == Found(provider="one")
    assert list(providers(["aws", "cdrom", "aws"], "", scratch.machine)) == ["cdrom", "aws"]


# answers that mean harm


HOSTILE: Mapping[str, Answer] = {
    "large": bytes(1 << 20),
    "redirect": lambda _asked: (302, b"http://127.0.0.1:1/"),
    "error": lambda _asked: (500, b"x"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_answer_that_cannot_be_meant_is_no_answer(server: Fake, kind: str) -> None:
    answers, running = server
    answers["/latest/meta-data/hostname"] = HOSTILE[kind]

    with pytest.raises(OutsideError):
        clouds.openstack({"openstack": running.address})


def test_a_server_that_says_nothing_is_given_up_after_two_seconds(server: Fake) -> None:
    answers, running = server

    def late(_asked: Asked) -> tuple[int, bytes]:
        time.sleep(4)
        return 200, b"x"

    answers["/latest/meta-data/hostname"] = late
    started = time.monotonic()

    with pytest.raises(OutsideError):
        clouds.openstack({"openstack": running.address})

    assert time.monotonic() - started < 3.5


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[]", b"nothing", b'{"hostname": [1]}', b"\xff"])
def test_json_of_another_shape_breaks_nothing(server: Fake, data: bytes) -> None:
    answers, running = server
    answers["/metadata"] = data

    try:
        found = clouds.packet({"packet": running.address})
    except OutsideError:
        return

    assert found == Found(provider="Packet", facts={"instance_id": ""})


def test_control_characters_of_a_service_reach_no_file(server: Fake) -> None:
    answers, running = server
    answers["/latest/meta-data/hostname"] = b"ho\x1b[31mst\x00\r\n"

    assert clouds.openstack({"openstack": running.address}).hostname == "ho[31mst"
