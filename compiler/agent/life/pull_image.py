"""`cos-agent pull-image`: the files of an image in a folder, verified as an upgrade verifies it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compiler.agent.life.host import Host
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.settings import Settings
from compiler.agent.life.source import Opening, open_system, parse_wanted, without_check


def pull_image(host: Host, settings: Settings) -> None:
    """Unpack a source into a new folder: all of it or nothing. Raises `LifeError`."""
    host.need_root()
    wanted = parse_wanted(settings.text("SOURCE_NAME"))
    target = Path(settings.text("FOLDER")).absolute()
    _check(target)
    if doubt := without_check(settings):
        host.log.warning(doubt)
    with host.alone(), during(Phase.COPY, str(target)), _beside(target) as scratch:
        opening = Opening(host=host, settings=settings, cache=scratch / "fetched")
        tree = scratch / "tree"
        tree.mkdir(mode=0o755)
        with open_system(wanted, opening) as system:
            host.log.info(f"Unpacking {wanted} to {target}")
            system.fill(tree)
            digest = system.digest
        tree.rename(target)
    if digest:
        host.log.info(f"Digest: {digest}")


def _check(target: Path) -> None:
    """Raise `LifeError` for what is no place of a new folder."""
    with during(Phase.COPY):
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise LifeError(f"{target} is no folder", Phase.COPY)
        if target.is_dir() and any(target.iterdir()):
            hint = "name one that is empty, or that is not there yet"
            raise LifeError(f"{target} is not empty", Phase.REFUSED, hint=hint)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Lend a folder on the disk of the target, with what is unpacked and fetched; it goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)
