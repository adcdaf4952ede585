"""What the life-cycle commands are told: built in, by files, by the environment, and by flags.

Each of these wins over those before it. Files have the syntax of a shell's assignments and are
read, never run. Names of files and variables are those of cOS-toolkit 0.5 to 0.8; those that
elemental 2.3 has for the same things are read as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from compiler.agent.assignments import assignments
from compiler.agent.life.phases import LifeError, Phase
from compiler.layout import Label

DEFAULTS: Mapping[str, str] = {
    "UPGRADE_IMAGE": "system/cos",
    "RECOVERY_IMAGE": "recovery/cos",
    "CHANNEL_UPGRADES": "true",
    "VERIFY": "true",
    "COS_FEATURESDIR": "/system/features",
    "COSIGN_PUBLIC_KEY_LOCATION": "/etc/cos/cosign.pub",
    "IMAGE_RESERVE": "256",
    "CACHE_SIZE": "4096",
    "HOST_DIR": "/host",
    "STATE_LABEL": str(Label.STATE),
    "OEM_LABEL": str(Label.OEM),
    "RECOVERY_LABEL": str(Label.RECOVERY),
    "PERSISTENT_LABEL": str(Label.PERSISTENT),
    "GRUB_LABEL": str(Label.GRUB),
    "ACTIVE_LABEL": str(Label.ACTIVE),
    "PASSIVE_LABEL": str(Label.PASSIVE),
    "SYSTEM_LABEL": str(Label.SYSTEM),
}

_OTHERS = (
    "GRUB_ENTRY_NAME",
    "COS_DISK",
    "COS_INSTALL_DEVICE",
    "COS_INSTALL_NO_FORMAT",
    "COS_INSTALL_FORCE_EFI",
    "COS_INSTALL_FORCE_GPT",
    "COS_INSTALL_FORCE",
    "COS_INSTALL_POWER_OFF",
    "COS_INSTALL_REBOOT",
    "COS_INSTALL_DEBUG",
    "COS_INSTALL_CONFIG_URL",
    "COS_INSTALL_TTY",
    "COS_INSTALL_ISO_URL",
    "DISABLE_BOOT_ENTRY",
    "EJECT_CD",
    "SYSTEM",
    "COS_PARTITION_LAYOUT",
    "COS_DEBUG",
    "COSIGN_REPOSITORY",
    "CURRENT",
    "IMAGE",
    "UPGRADE_RECOVERY",
    "UPGRADE_BOOTLOADER",
    "INTERACTIVE",
    "POWER_OFF",
    "PERSISTENCE_RESET",
    "RESET_PERSISTENT",
    "RESET_OEM",
    "DEFAULT_IMAGE_SIZE",
    "CLOUD_INIT_PATHS",
    "STRICT",
    "SILENCE_HOOKS",
    "NO_COSIGN",
    "FORCE",
    "INSECURE_REGISTRIES",
    "PERSISTENT_PATHS",
    "EPHEMERAL_PATHS",
    "PERSISTENT_BIND",
    "OVERLAY",
    "CACHE_DIR",
    "SNAPSHOTS",
    "SNAPSHOT_LABELS",
)

ALIASES: Mapping[str, str] = {
    "ELEMENTAL_INSTALL_TARGET": "COS_INSTALL_DEVICE",
    "COS_INSTALL_SYSTEM": "SYSTEM",
    "ELEMENTAL_INSTALL_SYSTEM": "SYSTEM",
    "ELEMENTAL_INSTALL_CLOUD_INIT": "COS_INSTALL_CONFIG_URL",
    "ELEMENTAL_INSTALL_ISO": "COS_INSTALL_ISO_URL",
    "ELEMENTAL_INSTALL_NO_FORMAT": "COS_INSTALL_NO_FORMAT",
    "ELEMENTAL_INSTALL_FORCE": "COS_INSTALL_FORCE",
    "ELEMENTAL_UPGRADE_SYSTEM": "SYSTEM",
    "ELEMENTAL_RESET_SYSTEM": "SYSTEM",
    "ELEMENTAL_UPGRADE_RECOVERY": "UPGRADE_RECOVERY",
    "ELEMENTAL_RESET_PERSISTENT": "RESET_PERSISTENT",
    "ELEMENTAL_RESET_OEM": "RESET_OEM",
    "ELEMENTAL_REBOOT": "COS_INSTALL_REBOOT",
    "ELEMENTAL_POWEROFF": "COS_INSTALL_POWER_OFF",
    "ELEMENTAL_INSTALL_DISABLE_BOOT_ENTRY": "DISABLE_BOOT_ENTRY",
    "ELEMENTAL_RESET_DISABLE_BOOT_ENTRY": "DISABLE_BOOT_ENTRY",
    "COS_INSTALL_EJECT_CD": "EJECT_CD",
    "ELEMENTAL_EJECT_CD": "EJECT_CD",
    "COS_INSTALL_PARTITION_LAYOUT": "COS_PARTITION_LAYOUT",
    "MAX_SNAPS": "SNAPSHOTS",
    "ELEMENTAL_SNAPSHOTTER_MAX_SNAPS": "SNAPSHOTS",
    "ELEMENTAL_INSTALL_SNAPSHOT_LABELS": "SNAPSHOT_LABELS",
    "ELEMENTAL_UPGRADE_SNAPSHOT_LABELS": "SNAPSHOT_LABELS",
    "ELEMENTAL_RESET_SNAPSHOT_LABELS": "SNAPSHOT_LABELS",
}
"""Other names of the same things; they count before the name that they stand for."""

KNOWN = frozenset((*DEFAULTS, *_OTHERS, *ALIASES, *ALIASES.values()))

_LABEL = re.compile(r"rd\.cos\.([a-z]+)label=(.+)")
_TRUE, _FALSE = {"true", "yes", "1", "on"}, {"false", "no", "0", "off", ""}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings that have a value; `doubts` are lines of files that say nothing."""

    values: Mapping[str, str]
    doubts: tuple[str, ...] = field(default=())

    def text(self, name: str) -> str:
        """Return a setting, and "" for one that nobody has set."""
        return self.values.get(name, "")

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words of a setting, separated by blanks or commas."""
        return tuple(re.split(r"[\s,]+", self.text(name).strip())) if self.text(name) else ()

    def flag(self, name: str) -> bool:
        """Return whether a setting says yes; raises `LifeError` for what is neither."""
        text = self.text(name).lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise LifeError(f"{name} is true or false, not {text[:40]!r}", Phase.CONFIG)

    def pairs(self, name: str) -> dict[str, str]:
        """Return what stands as KEY=VALUE,…; raises `LifeError` for anything else."""
        words = [word.strip() for word in self.text(name).split(",") if word.strip()]
        for word in words:
            if not word.partition("=")[0].strip() or "=" not in word:
                hint = "KEY=VALUE,KEY=VALUE"
                message = f"{name} has a key and a value each, not {word[:40]!r}"
                raise LifeError(message, Phase.CONFIG, hint=hint)
        return {key.strip(): text.strip() for key, _, text in (w.partition("=") for w in words)}

    def number(self, name: str) -> int:
        """Return a number that is not negative, 0 if it is not set; raises `LifeError`."""
        text = self.text(name) or "0"
        if not (text.isascii() and text.isdigit() and len(text) <= 9):  # noqa: PLR2004
            raise LifeError(f"{name} is a number, not {text[:40]!r}", Phase.CONFIG)
        return int(text)


def gather(
    files: Mapping[str, str],
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    cmdline: str = "",
) -> Settings:
    """Put together what all say; `files` are texts by their path, in the order of `FILES`.

    On the kernel command line the boot menu says which labels the machine was installed with.
    """
    values = dict(DEFAULTS)
    doubts: list[str] = []
    for path, text in files.items():
        values |= _known(dict(assignments(text, path, doubts)))
    values |= _labels(cmdline)
    values |= _known(environ)
    values |= flags
    return Settings(values, tuple(doubts))


def _labels(cmdline: str) -> dict[str, str]:
    """Read `rd.cos.oemlabel=NAME` and the like."""
    found = (_LABEL.fullmatch(word) for word in cmdline.split())
    named = {f"{each[1].upper()}_LABEL": each[2] for each in found if each}
    return {name: label for name, label in named.items() if name in DEFAULTS}


def _known(given: Mapping[str, str]) -> dict[str, str]:
    """Keep what is a setting, under its own name."""
    found = {name: text for name, text in given.items() if name in KNOWN and name not in ALIASES}
    named = {ALIASES[name]: text for name, text in given.items() if name in ALIASES}
    return {**found, **named}
