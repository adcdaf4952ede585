"""For which processors a program is: what a system is told by.

Format: System V ABI, "ELF Header": byte 5 is 1 for little-endian numbers, bytes 18 and 19 are
`e_machine`.
"""

ELF_HEAD = 20
"""Bytes of a file that are enough."""

PROGRAMS = frozenset(
    f"{folder}/{name}"
    for folder in ("usr/bin", "bin", "usr/lib/systemd")
    for name in ("env", "bash", "dash", "busybox", "systemd")
)
"""Programs of which any system has some: they tell for which processors it is."""

_MAGIC = b"\x7fELF"
_MACHINES = {3: "386", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 258: "loong64",
             21: "ppc64le", 22: "s390x"}  # fmt: skip
"""Numbers of ELF's e_machine, in the words of GOARCH."""


def architecture_of(head: bytes) -> str:
    """Tell for which processors a program is, by its first 20 bytes; "" for what is no program."""
    if len(head) < ELF_HEAD or not head.startswith(_MAGIC):
        return ""
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"ELF machine {number}")
