"""The command lines of the life-cycle commands: which flags stand for which settings.

`compiler.agent.cli` loads this module when one of them is called.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.agent.assignments import FILES
from compiler.agent.life.host import Host
from compiler.agent.life.phases import Phase, during
from compiler.agent.life.settings import Settings, gather
from compiler.agent.log import Level, Log
from compiler.errors import ExitCode, Interrupted

_CMDLINE = "/proc/cmdline"

Describe = Callable[[argparse.ArgumentParser], None]
Run = Callable[[Host, Settings], object]


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag and what it says: a setting, with a value of its own or the one that it is given."""

    names: tuple[str, ...]
    setting: str
    text: str
    value: str = ""
    """What the flag means; "" if a value follows it."""
    many: bool = False

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add it to a command line."""
        place = f"set:{self.names[0]}"
        if self.value:
            parser.add_argument(
                *self.names, dest=place, action="store_const", const=self.value, help=self.text
            )
        elif self.many:
            parser.add_argument(
                *self.names, dest=place, action="append", metavar=self.setting, help=self.text
            )
        else:
            parser.add_argument(*self.names, dest=place, metavar=self.setting, help=self.text)


_STRICT = Flag(("--strict",), "STRICT", "a hook that fails is an error", "true")
_SILENT = Flag(("--silence-hooks",), "SILENCE_HOOKS", "say nothing of what hooks do", "true")
_NO_VERIFY = Flag(("--no-verify",), "VERIFY", "take what nobody has signed", "false")
_NO_COSIGN = Flag(("--no-cosign",), "NO_COSIGN", "the same as --no-verify", "true")
_VERIFY = Flag(("--verify", "--cosign"), "VERIFY", "take only what is signed; the default", "true")
_KEY = Flag(("--key", "--cosign-key"), "COSIGN_PUBLIC_KEY_LOCATION", "the key that is trusted")
_SCHEMES = "channel:, oci:, dir: or file:"
_SYSTEM = Flag(
    ("--system", "--system.uri"),
    "SYSTEM",
    f"where the system comes from, as {_SCHEMES}",
)
_REBOOT = Flag(("--reboot",), "COS_INSTALL_REBOOT", "boot at the end", "true")
_POWER_OFF = Flag(("--poweroff",), "COS_INSTALL_POWER_OFF", "power off at the end", "true")
_PATHS = Flag(("--cloud-init-paths",), "CLOUD_INIT_PATHS", "further folders with hooks")
_SIZE = Flag(
    ("--image-size",), "DEFAULT_IMAGE_SIZE", "MiB of an image, in place of what its content takes"
)
_DEBUG = Flag(("--debug",), "COS_DEBUG", "say every program that is run", "true")
_FORCE = Flag(("--force",), "FORCE", "overwrite what is there", "true")
_INSECURE = Flag(
    ("--insecure-registry",), "INSECURE_REGISTRIES", "a registry without TLS", many=True
)
_COMMON = (_STRICT, _SILENT, _NO_VERIFY, _NO_COSIGN, _VERIFY, _KEY, _SYSTEM, _REBOOT, _POWER_OFF,
           _PATHS, _SIZE, _DEBUG, _FORCE, _INSECURE)  # fmt: skip
_SNAPSHOTS = Flag(
    ("--snapshots", "--max-snaps"), "SNAPSHOTS", "systems that stay: active, passive, older ones"
)
_LABELS = Flag(
    ("--snapshot-labels",), "SNAPSHOT_LABELS", "what the record says of the system: KEY=VALUE,…"
)
_NO_ENTRY = Flag(
    ("--disable-boot-entry",), "DISABLE_BOOT_ENTRY", "make no boot entry of EFI", "true"
)

_INSTALL = (
    _NO_ENTRY,
    _SNAPSHOTS,
    _LABELS,
    Flag(("--eject-cd",), "EJECT_CD", "eject the CD when the machine goes down", "true"),
    Flag(("--no-format",), "COS_INSTALL_NO_FORMAT", "use partitions that were prepared", "true"),
    Flag(("--force-efi",), "COS_INSTALL_FORCE_EFI", "install for EFI, whatever runs here", "true"),
    Flag(("--force-gpt",), "COS_INSTALL_FORCE_GPT", "a GPT for BIOS, too", "true"),
    Flag(("-c", "--config", "--cloud-init"), "COS_INSTALL_CONFIG_URL",
         "a file or address of cloud-config; repeatable", many=True),
    Flag(("--tty",), "COS_INSTALL_TTY", "a further console for the kernel"),
    Flag(("-i", "--iso"), "COS_INSTALL_ISO_URL", "install from an ISO: a file or an address"),
    Flag(("--partition-layout",), "COS_PARTITION_LAYOUT", "a file that says sizes of partitions"),
    Flag(("--persistent-path",), "PERSISTENT_PATHS", "a path that is kept; repeatable", many=True),
    Flag(("--ephemeral-path",), "EPHEMERAL_PATHS",
         "a path that can be written until the next boot; repeatable", many=True),
    Flag(("--cache",), "CACHE_DIR", "a folder for what is fetched"),
)  # fmt: skip
_UPGRADE = (
    _SNAPSHOTS,
    _LABELS,
    Flag(("--recovery",), "UPGRADE_RECOVERY", "upgrade the recovery system", "true"),
    Flag(("--bootloader",), "UPGRADE_BOOTLOADER", "install the boot loader anew, too", "true"),
)
_RESET = (
    _NO_ENTRY,
    _LABELS,
    Flag(("--reset-persistent",), "RESET_PERSISTENT", "empty the persistent partition", "true"),
    Flag(("--reset-oem",), "RESET_OEM", "empty the partition of the owner's settings", "true"),
)


def _flags(parser: argparse.ArgumentParser, flags: tuple[Flag, ...], run: str) -> None:
    for flag in flags:
        flag.add(parser)
    parser.set_defaults(call=_caller(flags, run), given={})


def _install(parser: argparse.ArgumentParser) -> None:
    docker = Flag(("--docker-image",), "SYSTEM", "install a container image")
    _flags(parser, (*_COMMON, *_INSTALL, docker), "install")
    parser.add_argument("device", nargs="?", metavar="DEVICE")


def _from_source(parser: argparse.ArgumentParser, flags: tuple[Flag, ...], run: str) -> None:
    _flags(parser, flags, run)
    parser.add_argument("--docker-image", action="store_true", help="IMAGE is a container image")
    parser.add_argument("--directory", action="store_true", help="IMAGE is a folder")
    parser.add_argument("--file", action="store_true", help="IMAGE is a squashfs, image or tar")
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="a package, if nothing else")


def _upgrade(parser: argparse.ArgumentParser) -> None:
    _from_source(parser, (*_COMMON, *_UPGRADE), "upgrade")


def _deploy(parser: argparse.ArgumentParser) -> None:
    _from_source(parser, _COMMON, "deploy")


def _reset(parser: argparse.ArgumentParser) -> None:
    _flags(parser, (*_COMMON, *_RESET), "reset")


def _rebrand(parser: argparse.ArgumentParser) -> None:
    title = Flag(("--title", "--grub-entry-name"), "GRUB_ENTRY_NAME", "what the menu says")
    _flags(parser, (title, _DEBUG), "rebrand")


def _status(parser: argparse.ArgumentParser) -> None:
    output = Flag(("-o", "--output"), "OUTPUT", "terminal, json or yaml")
    _flags(parser, (output, _DEBUG), "status")


def _feature(parser: argparse.ArgumentParser) -> None:
    _flags(parser, (_DEBUG,), "feature")
    parser.add_argument("action", choices=("list", "enable", "disable"))
    parser.add_argument("feature", nargs="*", metavar="FEATURE")


def _suc_upgrade(parser: argparse.ArgumentParser) -> None:
    host = Flag(("--host",), "HOST_DIR", "where the machine's root is in this container")
    _flags(parser, (*_COMMON, host), "suc_upgrade")


def _pull_image(parser: argparse.ArgumentParser) -> None:
    flags = (_NO_VERIFY, _NO_COSIGN, _VERIFY, _KEY, _INSECURE, _DEBUG)
    _flags(parser, flags, "pull_image")
    parser.add_argument("image", metavar="IMAGE", help=f"an image; else {_SCHEMES}")
    parser.add_argument("folder", metavar="FOLDER", help="is made; if it is there it is empty")


def _init(parser: argparse.ArgumentParser) -> None:
    force = Flag(("-f", "--force"), "FORCE", "replace files that are there, and the initrd", "true")
    initrd = Flag(("--no-initrd",), "NO_INITRD", "make no initrd", "true")
    _flags(parser, (force, initrd, _DEBUG), "init")


_COMMANDS: Mapping[str, Describe] = {
    "install": _install,
    "upgrade": _upgrade,
    "reset": _reset,
    "deploy": _deploy,
    "rebrand": _rebrand,
    "feature": _feature,
    "status": _status,
    "suc-upgrade": _suc_upgrade,
    "pull-image": _pull_image,
    "init": _init,
}


def describe(command: str, parser: argparse.ArgumentParser) -> None:
    """Describe the command line of a command."""
    _COMMANDS[command](parser)


def _caller(flags: tuple[Flag, ...], module: str) -> Callable[[argparse.Namespace, Log], int]:
    def call(options: argparse.Namespace, log: Log) -> int:
        given = {**_said(options, flags), **_positional(options)}
        settings = settings_of(Path("/"), given)
        debug = settings.flag("COS_DEBUG") or settings.flag("COS_INSTALL_DEBUG")
        voice = Voice(log, Level.DEBUG if debug else Level.INFO)
        for doubt in settings.doubts:
            voice.debug(doubt)
        work: Any = importlib.import_module(f"compiler.agent.life.{module}")
        run: Run = getattr(work, module)
        with stopping(), during(Phase.OTHER):
            done = run(Host(log=voice), settings)
        return done if isinstance(done, int) else ExitCode.DONE

    return call


@contextmanager
def stopping() -> Iterator[None]:
    """Let a lost connection or a stop unwind the command, so that nothing stays mounted.

    What runs is ended like by Ctrl-C, which hooks do not take for a failure of theirs.
    """
    heard = signal.SIGINT

    def stop(number: int, _frame: object) -> None:
        nonlocal heard
        heard = signal.Signals(number)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped by {heard.name}") from error
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Voice(Log):
    """Says on standard output how far a command is, and all else where `log` says it."""

    def __init__(self, log: Log, level: Level) -> None:
        super().__init__(log.info, level)
        self._log = log

    def info(self, text: str) -> None:
        """Say what is done."""
        sys.stdout.write(f"{text.encode('utf-8', 'backslashreplace').decode()}\n")
        sys.stdout.flush()


def _said(options: argparse.Namespace, flags: tuple[Flag, ...]) -> dict[str, str]:
    found = {}
    for flag in flags:
        value = getattr(options, f"set:{flag.names[0]}")
        if value is not None:
            found[flag.setting] = " ".join(value) if isinstance(value, list) else value
    return found


def _positional(options: argparse.Namespace) -> dict[str, str]:
    """Turn what stands without a flag into settings."""
    found: dict[str, str] = {}
    if getattr(options, "device", None):
        found |= {"COS_INSTALL_DEVICE": options.device, "DEVICE_BY_FLAG": "true"}
    for flag, scheme in (("docker_image", "oci"), ("directory", "dir"), ("file", "file")):
        if getattr(options, flag, False) is True:
            found["SOURCE_KIND"] = scheme
    if getattr(options, "image", None):
        found["SOURCE_NAME"] = options.image
    if hasattr(options, "folder"):
        found["FOLDER"] = options.folder
    if hasattr(options, "action"):
        found |= {"ACTION": options.action, "FEATURE": " ".join(options.feature)}
    return found


def settings_of(root: Path, given: Mapping[str, str]) -> Settings:
    """Read the settings of a machine, with those that flags have given over them."""
    files = {}
    for path in (*FILES, _CMDLINE):
        try:
            files[path] = (root / path.lstrip("/")).read_text(errors="replace")
        except OSError:
            continue
    cmdline = files.pop(_CMDLINE, "")
    return gather(files, os.environ, given, cmdline)
