"""A virtual machine: its console is kept in a file, and commands run in it over SSH."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TextIO

USER, PASSWORD = "root", "cos"
BOOT = 400
"""Seconds that a boot may take before it counts as failed; some tens are usual."""

_PATIENCE = 60
"""Seconds for a login, which a busy machine takes its time for."""

_OVMF = Path("/usr/share/OVMF")
_NOISE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\r")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a machine is made of. Drives are qcow2 or raw by the ending of their names."""

    drives: Sequence[Path] = ()
    cdroms: Sequence[Path] = ()
    usb: Path | None = None
    efi: bool = False
    secure: bool = False
    """Whether its EFI starts only what the keys of Microsoft have signed."""

    processors: int = 1  # machines run side by side
    memory: int = 1536  # MiB
    network: bool = True
    paravirtual: bool = True
    """Whether it has disks and a network card of virtio, else of SATA and an Intel E1000."""

    cache: str = "unsafe"
    """How disks are written (QEMU, "-drive cache="). By `writeback`, a cut of power loses nothing
    that the machine has brought to its disk; by `unsafe`, which is quicker, it may lose all."""

    more: Sequence[str] = ()


@dataclass(frozen=True)
class Done:
    """How a command in a machine ended, and what it printed: both streams, as one text."""

    code: int
    text: str


@dataclass
class Machine:
    """A machine with a folder of its own; it runs between `start` and `kill`, or in a `with`.

    `saved` is the file that `save` of a machine of the same hardware wrote: then the first start
    is no boot, and goes on from there.
    """

    folder: Path
    hardware: Hardware
    saved: Path | None = None
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    _seen: int = 0
    _port: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    @property
    def log(self) -> Path:
        """The file with everything that the machine printed on its console, of all its boots."""
        return self.folder / "console.log"

    def start(self) -> None:
        """Switch it on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._seen = len(self.console())
        self._port = _free_port()
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        self.saved = None

    def save(self, memory: Path) -> None:
        """Write what it holds in memory to a file, and switch it off as it stands."""
        with self._orders() as talk:
            _order(talk, "migrate-set-parameters", {"max-bandwidth": 1 << 40})
            _order(talk, "migrate", {"uri": f"exec:cat > {shlex.quote(str(memory))}"})
            while (state := _order(talk, "query-migrate")["status"]) != "completed":
                assert state in {"setup", "active", "device"}, state
                time.sleep(0.2)
        self._quit()

    @contextmanager
    def _orders(self) -> Iterator[TextIO]:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._monitor))
            with line.makefile("rw", encoding="utf-8") as talk:
                _order(talk, "qmp_capabilities")
                yield talk

    def _quit(self) -> None:
        """End QEMU, which writes what it keeps of the disks' files; nobody tells the machine."""
        with self._orders() as talk:
            _order(talk, "quit")
        self.wait_off()

    def kill(self) -> None:
        """Cut its power."""
        self._hang_up()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def copy_as_if_cut(self, disk: Path) -> None:
        """Copy its first disk as a cut of power would leave it now; the machine goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            subprocess.run(["cp", "--sparse=always", self.hardware.drives[0], disk], check=True)
        finally:
            self._process.send_signal(signal.SIGCONT)

    def wait_off(self, seconds: float = 120) -> None:
        """Wait until it has switched itself off."""
        assert self._process is not None
        self._process.wait(seconds)
        self._process = None
        self._hang_up()

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def console(self) -> str:
        """Everything that was printed on the console, without colours."""
        try:
            return _NOISE.sub("", self.log.read_text("utf-8", "replace"))
        except FileNotFoundError:
            return ""

    def new_console(self) -> str:
        """What was printed on the console since it was started."""
        return self.console()[self._seen :]

    def wait_console(self, pattern: str, seconds: float = BOOT) -> re.Match[str]:
        """Wait for a text on the console; what it matched is not looked at again."""
        end = time.monotonic() + seconds
        while True:
            text = self.console()
            if found := re.compile(pattern).search(text, self._seen):
                self._seen = found.end()
                return found
            self._check(f"{pattern!r} on the console", end)
            time.sleep(0.3)

    def type(self, text: str) -> None:
        """Type on the console."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._line))
            line.sendall(text.encode())
            time.sleep(0.2)

    def wait_up(self, seconds: float = BOOT) -> None:
        """Wait until commands can be run."""
        end = time.monotonic() + seconds
        while self._ssh("true", _PATIENCE).code != 0:
            self._check("an answer by SSH", end)
            time.sleep(1)

    def run(self, command: str, seconds: float = 300) -> Done:
        """Run a command line in the machine's shell."""
        return self._ssh(command, seconds)

    def check(self, command: str, seconds: float = 300) -> str:
        """Run a command that must succeed; return what it printed, without blanks around it."""
        done = self.run(command, seconds)
        assert done.code == 0, f"`{command}` ended with {done.code}:\n{done.text}\n{self.tail()}"
        return done.text.strip()

    def reboot(self, command: str = "systemctl reboot", seconds: float = BOOT) -> None:
        """Boot anew, by a command that does so, and wait until commands can be run."""
        before = self._boot_id()
        done = self._ssh(command, 120)
        assert done.code in {0, 255}, f"`{command}` ended with {done.code}:\n{done.text}"
        self.wait_rebooted(before, seconds)

    def cut_and_boot(self) -> None:
        """Cut its power, switch it on again, and wait until commands can be run.

        A tenth quicker than `reboot`, and harder: what was said to be done has to be on the disk.
        """
        if self.hardware.cache == "unsafe":
            self._quit()
        self.kill()
        self.start()
        self.wait_up()

    def boot_id(self) -> str:
        """What tells this boot from others."""
        return self._boot_id()

    def wait_rebooted(self, before: str, seconds: float = BOOT) -> None:
        """Wait until it runs in a boot other than `before`."""
        end = time.monotonic() + seconds
        while self._boot_id() in {"", before}:
            self._hang_up()
            self._check("another boot", end)
            time.sleep(1)

    def put(self, local: Path, remote: str) -> None:
        """Copy a file into the machine."""
        with local.open("rb") as file:
            done = subprocess.run(
                [*self._client(), f"cat > {shlex.quote(remote)}"],
                env=self._env(),
                stdin=file,
                capture_output=True,
                timeout=900,
                check=False,
            )
        assert done.returncode == 0, done.stderr

    def tail(self, lines: int = 40) -> str:
        """The end of the console, for somebody who wants to know why."""
        return "\n".join(self.console().splitlines()[-lines:])

    def _boot_id(self) -> str:
        done = self._ssh("cat /proc/sys/kernel/random/boot_id", _PATIENCE)
        return done.text.strip() if done.code == 0 else ""

    def _check(self, wanted: str, end: float) -> None:
        assert self.is_on, f"the machine went off instead of giving {wanted}:\n{self.tail()}"
        assert time.monotonic() < end, f"no {wanted}; {self.log} ends with:\n{self.tail()}"

    def _ssh(self, command: str, seconds: float) -> Done:
        try:
            done = subprocess.run(
                [*self._client(), command],
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return Done(255, (error.stdout or b"").decode("utf-8", "replace"))
        return Done(done.returncode, done.stdout.decode("utf-8", "replace"))

    def _client(self) -> list[str]:
        options = {
            "UserKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "LogLevel": "ERROR",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "30",
            "ServerAliveCountMax": "20",
            "PubkeyAuthentication": "no",
            "ControlMaster": "auto",
            "ControlPersist": "600",
            "ControlPath": str(self._call),
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", *flags, "-p", str(self._port), f"{USER}@127.0.0.1"]

    def _env(self) -> dict[str, str]:
        answer = self.folder / "password"
        if not answer.exists():
            answer.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
            answer.chmod(0o700)
        return {**os.environ, "SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}

    @property
    def _call(self) -> Path:
        """The socket of the one connection that all commands of a boot share.

        It stands where its path is short: ssh puts seventeen characters behind it for a while.
        """
        return Path(tempfile.gettempdir(), f"cos-ssh-{os.getpid()}-{self._port}")

    def _hang_up(self) -> None:
        """End the connection, which would outlive the boot that it was made to."""
        if self._call.exists():
            words = ["ssh", "-F", "none", "-o", f"ControlPath={self._call}", "-O", "exit", "there"]
            subprocess.run(words, capture_output=True, timeout=_PATIENCE, check=False)

    @property
    def _line(self) -> Path:
        return self.folder / "line"

    @property
    def _monitor(self) -> Path:
        return self.folder / "monitor"

    def _command(self) -> list[str]:
        parts = self.hardware
        board = "q35,smm=on" if parts.secure else "q35"
        words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", board]
        words += ["-accel", "tcg", "-smp", str(parts.processors), "-m", str(parts.memory)]
        words += ["-display", "none", "-device", "virtio-rng-pci"]
        words += ["-chardev", f"socket,id=line,path={self._line},server=on,wait=off,"]
        words[-1] += f"logfile={self.log},logappend=on"
        words += ["-serial", "chardev:line"]
        words += ["-qmp", f"unix:{self._monitor},server=on,wait=off"]
        if parts.network:
            forward = f"hostfwd=tcp:127.0.0.1:{self._port}-:22"
            card = "virtio-net-pci" if parts.paravirtual else "e1000"
            words += ["-nic", f"user,model={card},{forward}"]
        words += [*self._firmware(), *self._disks(), *parts.more]
        if self.saved is not None:
            words += ["-incoming", f"exec:cat {shlex.quote(str(self.saved))}"]
        return words

    def _disks(self) -> list[str]:
        words = []
        for number, drive in enumerate(self.hardware.drives):
            kind = "raw" if drive.suffix in {".raw", ".iso"} else "qcow2"
            words += ["-drive", f"if=none,id=d{number},file={drive},format={kind}"]
            words[-1] += f",cache={self.hardware.cache},discard=unmap"
            kind = "virtio-blk-pci" if self.hardware.paravirtual else "ide-hd"
            words += ["-device", f"{kind},drive=d{number},bootindex={number + 1}"]
        for number, iso in enumerate(self.hardware.cdroms):
            words += ["-drive", f"if=none,id=c{number},file={iso},format=raw,media=cdrom"]
            index = len(self.hardware.drives) + number + 1
            words += ["-device", f"ide-cd,drive=c{number},bootindex={index}"]
        if self.hardware.usb is not None:
            words += ["-device", "qemu-xhci", "-drive"]
            words += [f"if=none,id=stick,file={self.hardware.usb},format=raw,readonly=on"]
            words += ["-device", "usb-storage,drive=stick,bootindex=0"]
        return words

    def _firmware(self) -> list[str]:
        if not self.hardware.efi:
            return []
        own = self.folder / "efi-vars.fd"
        if not own.exists():
            fresh = _OVMF / ("OVMF_VARS_4M.ms.fd" if self.hardware.secure else "OVMF_VARS_4M.fd")
            own.write_bytes((self.saved.with_name(own.name) if self.saved else fresh).read_bytes())
        code = _OVMF / ("OVMF_CODE_4M.secboot.fd" if self.hardware.secure else "OVMF_CODE_4M.fd")
        first = f"if=pflash,unit=0,format=raw,readonly=on,file={code}"
        words = ["-drive", first, "-drive", f"if=pflash,unit=1,format=raw,file={own}"]
        if self.hardware.secure:
            words += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        return words


def _order(
    talk: TextIO, name: str, arguments: Mapping[str, object] | None = None
) -> Mapping[str, object]:
    """Give an order to QEMU's monitor; return its answer (QEMU, "QMP Reference Manual")."""
    talk.write(json.dumps({"execute": name, "arguments": arguments or {}}) + "\n")
    talk.flush()
    for answer in map(json.loads, talk):
        assert "error" not in answer, f"{name}: {answer['error']}"
        if "return" in answer:
            found: Mapping[str, object] = answer["return"]
            return found
    raise AssertionError(f"{name}: the machine went off")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
