"""The boot menu of ISO images, in GRUB's language (GRUB manual 2.06, "Shell-like scripting")."""

from collections.abc import Sequence

KERNEL = "/boot/kernel.xz"
INITRD = "/boot/rootfs.xz"
SQUASHFS = "/rootfs.squashfs"
FOLDER = "/boot/grub2"
"""Paths on an ISO, the first three by names that other software knows."""

CONFIGURATION = "iso-config"
"""The folder of an ISO with cloud-config files for the live system."""

EARLY = f"""search --no-floppy --file --set=root {KERNEL}
set prefix=($root){FOLDER}
"""
"""What a core runs first: it finds the ISO on whatever it was started from."""

SIGNED = f"""search --no-floppy --file --set=root {KERNEL}
configfile "(${{root}}){FOLDER}/grub.cfg"
"""
"""The same for a signed GRUB, which keeps its `prefix`: no module is there that it cannot load."""

_MENU = """# The boot menu of this ISO, for BIOS and UEFI.

set timeout={timeout}
set default=0

# A UEFI firmware shows its console on serial lines by itself.
if [ "${{grub_platform}}" = "pc" ]; then
  if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
  fi
fi

insmod all_video

menuentry "{title}" --id cos {{
  linux {kernel} {arguments}
  initrd {initrd}
}}

menuentry "{title} (nomodeset)" --id nomodeset {{
  linux {kernel} {arguments} nomodeset
  initrd {initrd}
}}
"""


def live_arguments(
    label: str, extra: Sequence[str], serial: Sequence[str], *, configured: bool
) -> str:
    """Return the kernel's arguments for the live system of an ISO with a volume label.

    The first ones are dracut's (dracut.cmdline(7), "Booting live images"); `serial` are the lines
    that are consoles besides the screen; `rd.cos.disable` keeps the root of an installed system
    from being looked for.
    """
    words = [
        "cdroot",
        f"root=live:CDLABEL={label}",
        "rd.live.dir=/",
        f"rd.live.squashimg={SQUASHFS.strip('/')}",
        "console=tty1",
        *(f"console={line}" for line in serial),
        "rd.cos.disable",
    ]
    if configured:
        words.append(f"cos.setup=/run/initramfs/live/{CONFIGURATION}")
    return " ".join((*words, *extra))


def live_menu(title: str, arguments: str, *, timeout: int) -> str:
    """Write the menu; `timeout` is in seconds."""
    return _MENU.format(
        title=title.replace('"', "'"),
        arguments=arguments,
        timeout=timeout,
        kernel=KERNEL,
        initrd=INITRD,
    )
