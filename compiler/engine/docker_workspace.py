"""Takes the workspace to containers that cannot see it, and back; and what we hand to steps."""

import io
import tarfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from compiler.archive import Clamp, Kind
from compiler.archive.safety import Devices
from compiler.archive.scan import stream_entries
from compiler.archive.tar import folder_content, write_tar
from compiler.archive.unpack import unpack_tar
from compiler.engine import WORKSPACE
from compiler.engine.docker_container import Container
from compiler.engine.docker_images import HANDED
from compiler.engine.flatten import remove
from compiler.engine.host import Shown

Scratch = Callable[[], AbstractContextManager[Path]]

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)


def send_workspace(workspace: Path, box: Container, scratch: Scratch) -> None:
    """Fill the workspace of a container with ours."""
    with scratch() as place:
        file = place / "workspace.tar"
        entries = stream_entries(workspace, _AS_THEY_ARE)
        with file.open("wb") as sink:
            write_tar(
                (entry for entry in entries if entry.kind is not Kind.WHITEOUT),
                folder_content(workspace),
                sink,
            )
        with file.open("rb") as archive:
            box.put(WORKSPACE, archive)


def bring_workspace(workspace: Path, box: Container, scratch: Scratch) -> None:
    """Make our workspace what that of a container became."""
    with scratch() as place:
        file, fresh = place / "workspace.tar", place / "workspace"
        with file.open("wb") as archive:
            box.get(f"{WORKSPACE}/.", archive)
        fresh.mkdir()
        unpack_tar(file, fresh, devices=Devices.MAKE)
        for old in list(workspace.iterdir()):
            remove(old)
        for new in list(fresh.iterdir()):
            new.rename(workspace / new.name)


def hand_over(files: Sequence[Shown], box: Container) -> None:
    """Give a container the files that steps are told of."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for shown in files:
            info = tarfile.TarInfo(shown.target.removeprefix(f"{HANDED}/"))
            data = shown.source.read_bytes()
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    packed.seek(0)
    box.put(HANDED, packed)
