"""What a cloud-config file says, as frozen values.

The reader (`reader.py`) and the JSON schema (`schema.py`) are made from these classes: the names of
their fields are the keys, except where their metadata name another.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class File:
    """A file whose content is replaced, with the folders above it that are missing."""

    path: str = ""
    content: str = ""
    encoding: str = ""
    permissions: int = 0
    owner: int = 0
    group: int = 0
    ownerstring: str = ""


@dataclass(frozen=True)
class Folder:
    """A folder that is made, or gets another mode and owner."""

    path: str = ""
    permissions: int = 0
    owner: int = 0
    group: int = 0
    ownerstring: str = ""


@dataclass(frozen=True)
class Download:
    """A file that is fetched; seconds at most."""

    path: str = ""
    url: str = ""
    permissions: int = 0
    owner: int = 0
    group: int = 0
    ownerstring: str = ""
    timeout: int = 0


@dataclass(frozen=True)
class Dns:
    """What the resolver is told."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True)
class User:
    """An account of a person."""

    name: str = ""
    passwd: str = ""
    lock_passwd: bool = False
    ssh_authorized_keys: tuple[str, ...] = ()
    gecos: str = ""
    homedir: str = ""
    no_create_home: bool = False
    primary_group: str = ""
    groups: tuple[str, ...] = ()
    no_user_group: bool = False
    system: bool = False
    no_log_init: bool = False
    shell: str = ""
    uid: str = ""


@dataclass(frozen=True)
class Entity:
    """A row of an account file: YAML text, rendered as a template before it is read."""

    path: str = ""
    entity: str = ""


@dataclass(frozen=True)
class Override:
    """A drop-in file of a unit."""

    service: str = ""
    content: str = ""
    name: str = ""


@dataclass(frozen=True)
class Systemctl:
    """What systemd is told about units."""

    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True)
class Datasource:
    """Where the data of this one machine comes from."""

    providers: tuple[str, ...] = ()
    path: str = ""
    userdata_name: str = ""


@dataclass(frozen=True)
class Device:
    """A disk, by the label of a file system on it or by its path."""

    label: str = ""
    path: str = ""


@dataclass(frozen=True)
class Expand:
    """How large the last partition becomes, in MiB; 0 is all there is."""

    size: int = 0


@dataclass(frozen=True)
class Partition:
    """A partition to add; MiB, 0 is all there is."""

    fs_label: str = field(default="", metadata={"key": "fsLabel"})
    p_label: str = field(default="", metadata={"key": "pLabel"})
    size: int = 0
    filesystem: str = ""
    bootable: bool = False


@dataclass(frozen=True)
class Layout:
    """Changes of the partitions of a disk."""

    device: Device | None = None
    add_partitions: tuple[Partition, ...] = ()
    expand: Expand | None = field(default=None, metadata={"key": "expand_partition"})


@dataclass(frozen=True)
class GitAuth:
    """How a git server knows us, and we it."""

    username: str = ""
    password: str = ""
    private_key: str = ""
    insecure: bool = False
    public_key: str = ""


@dataclass(frozen=True)
class Git:
    """A checkout that is made, or brought to the state of the server."""

    url: str = ""
    path: str = ""
    branch: str = ""
    branch_only: bool = False
    auth: GitAuth = GitAuth()


@dataclass(frozen=True)
class Packages:
    """What the package manager of the system is told."""

    refresh: bool = False
    upgrade: bool = False
    install: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """A container image whose files are unpacked."""

    source: str = ""
    target: str = ""
    platform: str = ""


@dataclass(frozen=True)
class After:
    """A step that goes before this one, as `NAME OF THE FILE.NAME OF THE STEP`."""

    name: str = ""


@dataclass(frozen=True)
class Step:
    """One step of a stage: its conditions, and what it does."""

    name: str = ""
    after: tuple[After, ...] = ()
    condition: str = field(default="", metadata={"key": "if"})
    node: str = ""
    if_files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    only_os: str = ""
    only_os_version: str = ""
    only_arch: str = ""
    only_service_manager: str = ""
    dns: Dns = Dns()
    downloads: tuple[Download, ...] = ()
    git: Git = Git()
    ensure_entities: tuple[Entity, ...] = ()
    directories: tuple[Folder, ...] = ()
    files: tuple[File, ...] = ()
    commands: tuple[str, ...] = ()
    delete_entities: tuple[Entity, ...] = ()
    hostname: str = ""
    sysctl: dict[str, str] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    authorized_keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    timesyncd: dict[str, str] = field(default_factory=dict)
    systemctl: Systemctl = Systemctl()
    environment: dict[str, str] = field(default_factory=dict)
    environment_file: str = ""
    systemd_firstboot: dict[str, str] = field(default_factory=dict)
    datasource: Datasource = Datasource()
    layout: Layout = Layout()
    package_pins: dict[str, str] = field(default_factory=dict)
    packages: Packages = Packages()
    unpack_images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Config:
    """A whole file: the steps of each stage, in the order written."""

    name: str = ""
    stages: dict[str, tuple[Step, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class InitFile:
    """A file as `#cloud-config` has it: its permissions are text."""

    path: str = ""
    content: str = ""
    encoding: str = ""
    owner: str = ""
    permissions: str = ""


@dataclass(frozen=True)
class GrowPart:
    """The disks whose last partition takes all the room."""

    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class InitConfig:
    """The keys of `#cloud-config` that count; all others are ignored."""

    name: str = ""
    users: tuple[User, ...] = ()
    ssh_authorized_keys: tuple[str, ...] = ()
    runcmd: tuple[str, ...] = ()
    hostname: str = ""
    write_files: tuple[InitFile, ...] = ()
    growpart: GrowPart = GrowPart()
    stages: dict[str, tuple[Step, ...]] = field(default_factory=dict)
