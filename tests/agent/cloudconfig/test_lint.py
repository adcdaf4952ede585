"""What a file says in vain."""

import base64
import gzip

import pytest

from compiler.agent.cloudconfig.lint import lint
from compiler.agent.cloudconfig.load import load
from compiler.agent.cloudconfig.source import Source

PACKED = base64.b64encode(gzip.compress(b"a", mtime=0)).decode()


def found(*texts: str) -> list[str]:
    configs = [load(Source(f"{number}.yaml", text)) for number, text in enumerate(texts)]
    return [str(each) for each in lint(configs)]


def step(text: str, stage: str = "boot") -> str:
    inner = "\n".join(f"    {line}" for line in text.splitlines())
    return f"stages:\n  {stage}:\n  - name: it\n{inner}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node: '['", "4:11: '[' is no regular expression: unterminated character set"
         " at position 0"),
        ("only_os: 'a('", "4:14: 'a(' is no regular expression: missing ), unterminated"
         " subpattern at position 1"),
        ("if_files:\n  every: [/a]", "5:14: unknown if_files check type 'every' (one of all, any,"
         " none)"),
        ("only_service_manager: runit", "4:27: unknown service manager 'runit' (one of systemd,"
         " openrc)"),
        ("datasource:\n  providers: [aws, gpc]", "5:24: unknown datasource provider 'gpc' (one of"
         " aws, azure, cdrom, config-drive, digitalocean, file, gcp, hetzner, metaldata, openstack,"
         " packet, scaleway, vmware, vultr)"),
        ("files:\n- content: a", "5:7: an entry of 'files' has no path"),
        ("directories:\n- permissions: 0755", "5:7: an entry of 'directories' has no path"),
        ("downloads:\n- path: /a", "5:7: an entry of 'downloads' has no url"),
        ("files:\n- path: /a\n  encoding: zip", "6:17: unknown encoding 'zip': the content is taken"
         " as text (one of b64, base64, gz, gzip, gz+b64, gz+base64, gzip+b64, gzip+base64)"),
        ("files:\n- path: /a\n  encoding: b64\n  content: '%'", "7:16: the content is not base64:"
         " Only base64 data is allowed"),
        ("ensure_entities:\n- entity: |\n    kind: usr", "5:15: unknown kind of entity 'usr' (one"
         " of user, shadow, group, gshadow)"),
        ("ensure_entities:\n- entity: '['", "5:15: the entity "),
        ("commands:\n- echo\n- echo {{ .Values", "6:7: is no template, and is used as it is: "),
        ("if: '{{ if }}'", "4:9: is no template, and is used as it is: "),
        ("files:\n- path: /a\n  permissions: 644", "6:20: the permissions 644 are decimal, the mode"
         " 1204 (write 0644)"),
        ("after:\n- name: other.step", "5:7: no step here is called 'other.step' (it is FILE.STEP,"
         " by their names; files that go together are checked together)"),
    ],
)  # fmt: skip
def test_what_is_in_vain_is_told_with_its_place(text: str, message: str) -> None:
    (said,) = found(step(text))

    assert said.startswith(f"0.yaml:{message}")


@pytest.mark.parametrize(
    "text",
    [
        "node: '^a[0-9]+$'\nonly_arch: amd64|arm64",
        "if_files:\n  all: [/a]\n  any: [/b]\n  none: [/c]",
        f"files:\n- path: /a\n  permissions: 0644\n  encoding: gz+b64\n  content: {PACKED}",
        "files:\n- path: /a\n  permissions: 420\n  content: '{{ .Values.node.hostname }}'",
        "files:\n- path: /a\n  encoding: b64\n  content: e3sgYg==",
        "ensure_entities:\n- entity: |\n    kind: user\n    username: '{{ .Values.os.name }}'",
        "datasource:\n  providers: [cdrom, aws]",
    ],
)
def test_what_has_an_effect_is_not_told(text: str) -> None:
    assert found(step(text)) == []


@pytest.mark.parametrize(
    ("stage", "hint"),
    [
        ("bot", "boot"),
        ("boot.befor", "boot.before"),
        ("after_install-chroot", "after-install-chroot"),
        ("mine", ""),
    ],
)
def test_a_stage_that_was_probably_misspelt_is_told(stage: str, hint: str) -> None:
    expected = [f"0.yaml:3:3: nothing runs a stage {stage!r} by itself (did you mean {hint!r}?)"]

    assert found(step("hostname: a", stage)) == (expected if hint else [])


@pytest.mark.parametrize(
    "stage", ["rootfs", "boot.before", "reconcile.after", "after-upgrade-chroot", "before-reset"]
)
def test_stages_that_run_are_known(stage: str) -> None:
    assert found(step("hostname: a", stage)) == []


def test_a_step_may_follow_one_of_another_file() -> None:
    first = f"name: first\n{step('hostname: a')}"
    second = step("after:\n- name: first.it")

    assert found(first, second) == []
    assert len(found(second)) == 1


def test_what_has_no_place_in_the_text_is_told_of_the_file() -> None:
    text = "#cloud-config\nwrite_files:\n- path: /a\n  encoding: zip\n"

    (said,) = found(text)

    assert said.startswith("0.yaml: unknown encoding 'zip'")
