"""What the commands about signed metadata do: keys and places in, files out, and what is told."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict

import typer

from compiler.cli.key import public_keys, signing_key
from compiler.cli.rootfile import given, read_begun, read_root_file, write_root_file
from compiler.cli.settings import Settings
from compiler.cli.signed import is_folder, is_signed, opened, published, signing_with, writer
from compiler.errors import InputError, TrustError, UsageError
from compiler.repository.index import REPOSITORY
from compiler.repository.trust import (
    FOLDER,
    ROLES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Files,
    role_of,
)
from compiler.repository.trust import publisher as signer
from compiler.repository.trust import root as roots
from compiler.repository.trust.contents import freeze, thaw
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import FolderPlace, Place
from compiler.repository.trust.published import Published, latest_root
from compiler.repository.trust.reading import ends_of
from compiler.signing.keys import PrivateKey, PublicKey

_ONLINE = "online"
_SOON = timedelta(days=60)


class Keys(TypedDict):
    """The private keys that `rotate` is given, by name."""

    root_keys: list[str]
    keys: list[str]


class Changes(TypedDict):
    """What `rotate` is to change, as ROLE=VALUE."""

    replace: list[str]
    threshold: list[str]
    days: list[str]


def init_trust(  # noqa: PLR0913  (one parameter for each option)
    settings: Settings | None,
    repository: str,
    key: Sequence[str],
    root: Path,
    *,
    bins: int,
    keys: Sequence[str],
    others: Sequence[str],
    threshold: int | None,
    days: Sequence[str],
    unverified: bool,
) -> None:
    """Begin to sign a repository."""
    settings = settings or Settings()
    said = {"--root-public": others, "--root-threshold": threshold, "--days": days}
    given = [option for option, value in said.items() if value]
    if given and root.exists():
        hint = "leave them out, or begin another root with --root"
        raise UsageError(f"{root} is there: it says what {' and '.join(given)} would", hint=hint)
    signing = signing_with(settings, key, repository)
    ours = [signing_key(each) for each in keys]
    if root.exists():
        data = read_begun(root, ours)
    else:
        holders = _holders(ours, others)
        online = [each.public for each in signing.keys]
        policy = roots.make_policy(holders, online, root_threshold=threshold or 1)
        policy = {**policy, **_with_days(policy, _pairs("--days", days))}
        data = roots.first_root(policy, signing.now)
    data = roots.sign_root(data, ours) if ours else data
    with opened(settings, repository) as place:
        if is_signed(place, data):
            what = "repo sign" if is_folder(repository) else "create-repo --sign"
            hint = f"`cos repo rotate` changes keys, `cos {what}` signs what is new"
            raise TrustError(f"{repository}: is signed already", hint=hint)
        contents = (
            _contents(repository, unverified=unverified) if is_folder(repository) else _NOTHING
        )
        if not _carried(root, data):
            return
        files = signer.start(data, contents, _in(place, signing), bins=bins)
        with _written(root, data):
            place.write(files)
    _tell_past(settings, files)
    typer.echo(f"{repository}: signed, {_count(contents)}; clients need {root}")


def _in(place: Place, signing: Signing) -> Signing:
    """Sign for a place, whose files may lie in images."""
    return replace(signing, image_of=place.image_of)


def _holders(ours: Sequence[PrivateKey], others: Sequence[str]) -> list[PublicKey]:
    """Say whose keys sign the root; raises `UsageError` if nobody's do."""
    if not ours and not others:
        hint = "--root-key KEY signs it here, --root-public KEY says who signs elsewhere"
        raise UsageError("nobody is to sign the root", hint=hint)
    return [*(each.public for each in ours), *public_keys(others)]


def check_keys(settings: Settings | None, folder: Path, key: Sequence[str], root: Path) -> None:
    """Raise `TrustError` unless the repository in a folder can be signed with these keys."""
    place = FolderPlace(folder)
    signing = signing_with(settings or Settings(), key, str(folder))
    if place.read("timestamp.json") is None:
        raise place.unsigned()
    try:
        signer.check_signing(published(place, root), signing)
    except TrustError as error:
        message = f"{folder}: {error.message.removeprefix(f'{folder}: ')}{given(root, key)}"
        raise TrustError(message, hint=error.hint) from error


def _contents(repository: str, *, unverified: bool) -> signer.Contents:
    """Copy the index of a folder for clients, and describe what it holds: a repository."""
    if not (Path(repository) / REPOSITORY).exists():
        hint = "`cos create-repo` makes it one, then it can be signed"
        raise UsageError(f"{repository}: is no repository, it has no {REPOSITORY}", hint=hint)
    return freeze(Path(repository), unverified=unverified)


def _carried(root: Path, data: bytes) -> bool:
    """Tell whether a root can be used; a new one that others have to sign is written for them.

    Raises `TrustError` for one that was written before, and still waits for signatures.
    """
    try:
        roots.check_root(data)
    except TrustError as error:
        is_new = not root.exists()
        write_root_file(root, data)
        if not is_new:
            raise
        typer.echo(f"{root}: {error.message}; `cos repo sign-root {root}` adds one")
        return False
    return True


@contextmanager
def _written(root: Path, data: bytes) -> Iterator[None]:
    """Write a root file, which goes again if it is new and what it is for fails."""
    was_there = root.exists()
    write_root_file(root, data)
    try:
        yield
    except BaseException:
        if not was_there:
            root.unlink(missing_ok=True)
        raise


def sign(
    settings: Settings | None,
    repository: str,
    key: Sequence[str],
    root: Path,
    *,
    unverified: bool,
) -> None:
    """Sign what a folder holds."""
    settings = settings or Settings()
    if not is_folder(repository):
        hint = "`cos create-repo --sign` signs what it publishes"
        raise InputError(f"{repository}: is not a folder", hint=hint)
    folder = Path(repository)
    place = FolderPlace(folder)
    before = published(place, root)
    signing = signing_with(settings, key, repository)
    signer.check_signing(before, signing)
    contents = _contents(repository, unverified=unverified)
    changed = signer.differences(before, contents.artifacts)
    files = signer.sign_contents(before, replace(contents, artifacts=changed), signing)
    place.write(files)
    thaw(folder, published(place, root).targets.targets)
    _tell_past(settings, files)
    typer.echo(f"{repository}: signed, {_count(contents)}, {len(changed)} of them changed")


def refresh(
    settings: Settings | None, repository: str, key: Sequence[str], root: Path, *, older: bool
) -> None:
    """Sign the timestamp again; of a state that may not be the newest only with `older`."""
    settings = settings or Settings()
    signing = signing_with(settings, key, repository)
    with opened(settings, repository) as place:
        published(place, root, older=older)
        files = writer(place, root, signing, repository, older=older).write(signer.refresh)
        _tell_ends(published(place, root), signing.now)
    _tell_past(settings, files)
    typer.echo(f"{repository}: {', '.join(files)}")


def rotate(  # noqa: PLR0913  (one parameter for each option)
    settings: Settings | None,
    repository: str,
    root: Path,
    *,
    file: Path | None,
    restart: bool,
    older: bool,
    keys: Keys,
    changes: Changes,
    unverified: bool,
) -> None:
    """Publish the next root; over a state that may not be the newest only with `older`."""
    settings = settings or Settings()
    signing = signing_with(settings, keys["keys"], repository)
    with opened(settings, repository) as place:
        current = latest_root(place.read, read_root_file(root))
        is_new = file is not None and not file.exists()
        data = _next_root(current, changes, signing, file)
        data = roots.sign_root(data, [signing_key(each) for each in keys["root_keys"]], current)
        if file is not None:
            write_root_file(file, data)
            if is_new and not _is_complete(file, data, current):
                return
        version = roots.check_root(data, current).signed.version
        if restart:
            roots.check_restart(data, current)
            contents = _to_restart(repository, unverified=unverified)
            by, bins = _in(place, signing), _bins(repository)
            files = signer.start(data, contents, by, bins=bins)
            place.write(files)
        else:
            published(place, root, older=older)
            writing = writer(place, root, signing, repository, older=older)
            files = writing.write(lambda before, by: signer.rotate(before, data, by))
        write_root_file(root, data)
        if restart and is_folder(repository):
            thaw(Path(repository), published(place, root).targets.targets)
    _tell_past(settings, files)
    typer.echo(f"{repository}: root {version}; {root} is that root now, the one before works, too")
    if restart and not is_folder(repository):
        typer.echo(f"{repository}: nothing is signed yet; {_PUBLISH} publishes what is yours")


def _is_complete(file: Path, data: bytes, current: bytes) -> bool:
    """Tell whether a root can be published; says what is missing if others have to sign, too."""
    try:
        roots.check_root(data, current)
    except TrustError as error:
        told = f"{file}: {error.message}; `cos repo sign-root {file}` adds one, --next publishes it"
        typer.echo(told)
        return False
    return True


def sign_root(file: Path, keys: Sequence[str], before: Path | None) -> None:
    """Add signatures to a root file; raises `UsageError` for keys that nobody asks to sign it."""
    earlier = read_root_file(before) if before else None
    data, given = read_root_file(file), [(each, signing_key(each)) for each in keys]
    for name, key in given:
        if not any(roots.names_all(each, [key]) for each in (data, earlier) if each):
            hint = "which key is it? --before names the root that this one follows, whose keys sign"
            raise UsageError(f"{file}: {name} is none of its root keys", hint=hint)
    data = roots.sign_root(data, [key for _, key in given], earlier)
    write_root_file(file, data)
    try:
        roots.check_root(data, earlier)
    except TrustError as error:
        typer.echo(f"{file}: signed; {error.message}")
    else:
        typer.echo(f"{file}: signed by enough keys")


_NOTHING = signer.Contents(index={})
"""What a docker repository is begun with; `create-repo --sign --force-push` signs what is there."""


_PUBLISH = "`cos create-repo --type docker --push-images --force-push --prune --sign --root`"


def _to_restart(repository: str, *, unverified: bool) -> signer.Contents:
    """Say what is signed at a new beginning: what a folder holds, and nothing of a registry.

    What lies in a registry may be what the thief put there.
    """
    return _contents(repository, unverified=unverified) if is_folder(repository) else _NOTHING


def _bins(repository: str) -> int:
    """Count the bins of a folder that was signed; the usual number if there are none."""
    names = {role_of(path.name) for path in (Path(repository) / FOLDER).glob("*.bin-*.json")}
    count = len([name for name in names if name.startswith("bin-")])
    return count if count in {2**power for power in range(1, 9)} else signer.BINS


def _next_root(current: bytes, changes: Changes, signing: Signing, file: Path | None) -> bytes:
    """Make the next root, or take the one that was made elsewhere."""
    if file is not None and file.exists():
        if any(changes.values()):
            raise UsageError(f"{file} is there: it says what changes, no other option does")
        return read_root_file(file)
    return roots.next_root(current, _policies(current, changes), signing.now)


def _policies(current: bytes, changes: Changes) -> dict[str, roots.RolePolicy]:
    """Say how the roles that change are signed for from now on."""
    policies: dict[str, roots.RolePolicy] = {}
    replaced: dict[str, list[str]] = {}
    for role, name in _pairs("--replace", changes["replace"]):
        replaced.setdefault(role, []).append(name)
    thresholds = dict(_pairs("--threshold", changes["threshold"]))
    days = dict(_pairs("--days", changes["days"]))
    for role in ROLES:
        if role in replaced:
            policies[role] = roots.policy_of(current, role, public_keys(replaced[role]))
        elif role in {*thresholds, *days}:
            policies[role] = roots.policy_of(current, role)
        if role in thresholds:
            policies[role] = replace(policies[role], threshold=_number(role, thresholds[role]))
        if role in days:
            policies[role] = replace(policies[role], days=_number(role, days[role]))
    return policies


def _with_days(
    policy: Mapping[str, roots.RolePolicy], days: Sequence[tuple[str, str]]
) -> dict[str, roots.RolePolicy]:
    """Give roles other periods."""
    return {role: replace(policy[role], days=_number(role, text)) for role, text in days}


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """Read ROLE=VALUE; `online` stands for three roles."""
    found = []
    for text in given:
        role, _, value = text.partition("=")
        if not value or role not in {*ROLES, _ONLINE}:
            roles = ", ".join((*ROLES, _ONLINE))
            raise UsageError(f"{option} is ROLE=VALUE, not {text[:60]!r}", hint=f"roles: {roles}")
        named = (TARGETS, SNAPSHOT, TIMESTAMP) if role == _ONLINE else (role,)
        found += [(each, value) for each in named]
    return found


def _number(role: str, text: str) -> int:
    """Read a small number."""
    if not (text.isascii() and text.isdecimal() and len(text) < len("100000")):
        raise UsageError(f"{role}: {text[:40]!r} is no number")
    return int(text)


def _tell_ends(published: Published, now: datetime) -> None:
    """Warn of what only other keys can sign before it ends."""
    for role, end in published.expires.items():
        if role in {ROOT, TARGETS, SNAPSHOT} and end - now < _SOON / (1 if role == ROOT else 4):
            typer.echo(f"warning: the {role} is good until {end:%Y-%m-%d} only", err=True)


def _tell_past(settings: Settings, files: Files) -> None:
    """Warn of what is signed for a time that is over, which no client takes."""
    stamp = settings.source_date_epoch
    ends = ends_of(files)
    role = min(ends, key=lambda each: ends[each])
    if stamp is not None and ends[role] < datetime.now(UTC):
        begun = f"SOURCE_DATE_EPOCH is {datetime.fromtimestamp(stamp, UTC):%Y-%m-%d}"
        what = f"so the {role} that was signed was good until {ends[role]:%Y-%m-%d}"
        typer.echo(f"warning: {begun}, {what}: no client takes it", err=True)


def _count(contents: signer.Contents) -> str:
    """Say how much there is."""
    return f"{len(contents.index) + len(contents.artifacts)} files"
