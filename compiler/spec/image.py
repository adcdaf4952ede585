"""What people say about a system image, whichever spelling of a manifest they used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from compiler.errors import CompilerError
from compiler.spec.source import ImageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySpec:
    """A repository that a manifest names; types and priorities as in a client's configuration."""

    name: str
    urls: tuple[str, ...]
    type: str = ""
    priority: int = 0
    arch: str = ""
    enable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpec:
    """What a manifest says about disks."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """In MiB, of `efi`, `oem`, `state`, `recovery`, `persistent`, and `size` of the whole disk."""
    recovery: Mapping[str, tuple[ImageSource, ...]] = field(default_factory=dict)
    """What holds `recovery.squashfs`, by the processors that it is for (GOARCH)."""
    deploy_command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """A system image as its author describes it, whichever spelling was used.

    Paths of overlays and cloud-config files are meant from the folder of the manifest.
    """

    name: str = ""
    platform: str = ""
    """Which of several platforms it is for, as `linux/arm64`; empty: as its sources are."""
    date: bool = False
    label: str = ""
    title: str = ""
    timeout: int | None = None
    kernel: str = "vmlinuz"
    initrd: str = "initrd"
    rootfs: tuple[ImageSource, ...] = ()
    uefi: tuple[ImageSource, ...] = ()
    image: tuple[ImageSource, ...] = ()
    overlay_rootfs: tuple[ImageSource, ...] = ()
    overlay_uefi: tuple[ImageSource, ...] = ()
    overlay_image: tuple[ImageSource, ...] = ()
    cloud_init: tuple[str, ...] = ()
    extra_arguments: tuple[str, ...] = ()
    squashfs_options: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    repositories: tuple[RepositorySpec, ...] = ()
    repository_packages: tuple[ImageSource, ...] = ()
    """Packages that hold the configuration of repositories."""
    build: tuple[str, ...] = ()
    """Packages that are built besides those of the image."""
    disk: DiskSpec = field(default_factory=DiskSpec)
    warnings: tuple[CompilerError, ...] = ()
