"""Docker Content Trust: signs tags of a repository on a Notary server, for `docker trust inspect`.

It is the older way beside `compiler.signing`. The `notary` program keeps the keys and the metadata
(TUF, as of Notary 0.6) in the folder that docker itself uses; here it is decided what it is to do.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from compiler.errors import OutsideError, TrustError, UsageError
from compiler.oci import Descriptor, Digest, Reference, hex_of
from compiler.process import Command, Finished, run

_TARGETS, _RELEASES = "targets", "targets/releases"
"""The roles that docker looks in, the second one first, which is there if several people sign."""

_TARGET = re.compile(r"(?P<tag>\S+)\s+(?P<sha256>[0-9a-f]{64})\s+(?P<size>\d+)\s+(?P<role>\S+)")
"""A line of `notary list`."""
_NEW = "does not have trust data for"
_OFFLINE = ("could not reach", "might not be the latest version", "client is offline")
"""What notary says where it then goes on with what it knew before."""
_LOG_LINE = re.compile(r'time="[^"]*" level=\w+ msg="(?P<said>.*)"')
_TIMEOUT = 120.0

_DOCKERS = {
    "NOTARY_ROOT_PASSPHRASE": "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE",
    "NOTARY_TARGETS_PASSPHRASE": "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
    "NOTARY_SNAPSHOT_PASSPHRASE": "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
    "NOTARY_DELEGATION_PASSPHRASE": "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
}
"""What notary and docker call the passphrases of the keys in the environment."""

_TO_BEGIN = ("NOTARY_ROOT_PASSPHRASE", "NOTARY_TARGETS_PASSPHRASE", "NOTARY_SNAPSHOT_PASSPHRASE")
_TO_SIGN = {_TARGETS: "NOTARY_TARGETS_PASSPHRASE", _RELEASES: "NOTARY_DELEGATION_PASSPHRASE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustServer:
    """A Notary server, the folder with keys and metadata, and what notary finds in its environment.

    `authority` is a file with the only certificates that are trusted for the connection.
    """

    url: str
    folder: Path
    environ: Mapping[str, str]
    authority: Path | None = None


@dataclass(frozen=True, slots=True)
class _Signed:
    """What is signed for a tag, and in which role."""

    sha256: str
    size: int
    role: str = field(default="", compare=False)


def trust_server(
    url: str, environ: Mapping[str, str], *, authority: Path | None = None
) -> TrustServer:
    """Find what belongs to a server where docker has it; raises `UsageError` for other addresses.

    Keys and metadata are in `$DOCKER_CONFIG/trust` or `~/.docker/trust`; the certificate beside it
    in `tls/HOST/ca.crt`, unless `authority` names one.
    """
    address = url if "://" in url else f"https://{url}"
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.netloc:
        raise UsageError(
            f"{url[:120]!r} is not the address of a Notary server: https://HOST[:PORT]"
        )
    home = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/", ".docker")
    dockers_own = Path(home, "tls", parts.netloc, "ca.crt")
    return TrustServer(
        url=address.rstrip("/"),
        folder=Path(home, "trust"),
        environ=_passphrases(environ),
        authority=authority or (dockers_own if dockers_own.exists() else None),
    )


def sign_tags(
    server: TrustServer, repository: Reference, tags: Mapping[str, Descriptor]
) -> Sequence[str]:
    """Sign which manifest each tag names; returns the tags for which that was not signed before.

    A repository that the server does not know gets its keys first. Changes that were staged with
    notary and never published are dropped. Raises `TrustError` when keys or passphrases are
    missing, `OutsideError` when the server cannot be reached.
    """
    notary = _Notary(server, f"{repository.registry}/{repository.repository}")
    known = notary.signed()
    wanted = {tag: _Signed(hex_of(each.digest), each.size) for tag, each in sorted(tags.items())}
    changed = {tag: each for tag, each in wanted.items() if (known or {}).get(tag) != each}
    if not changed:
        return ()
    role = _TARGETS if known is None else notary.role()
    _check_passphrases(server, _TO_BEGIN if known is None else (_TO_SIGN[role],))
    if known is None:
        notary.begin()
    notary.publish(
        ("addhash", notary.gun, tag, str(each.size), "--sha256", each.sha256, "--roles", role)
        for tag, each in changed.items()
    )
    return tuple(changed)


def unsign_tags(server: TrustServer, repository: Reference, tags: Iterable[str]) -> Sequence[str]:
    """Take back what is signed for tags, in every role that docker believes; returns those tags.

    Raises as `sign_tags` does.
    """
    notary = _Notary(server, f"{repository.registry}/{repository.repository}")
    asked, gone = frozenset(tags), set[str]()
    for _ in _TO_SIGN:  # what docker finds for a tag in one role may hide what another one has
        known = notary.signed() or {}
        roles = {tag: known[tag].role for tag in sorted(asked & known.keys())}
        if not roles:
            break
        _check_passphrases(server, sorted({_TO_SIGN[role] for role in roles.values()}))
        notary.publish(("remove", notary.gun, tag, "--roles", role) for tag, role in roles.items())
        gone.update(roles)
    return tuple(sorted(gone))


def signed_tags(server: TrustServer, repository: Reference) -> Mapping[str, Digest]:
    """Ask which manifest is signed for each tag; none where the server knows no such repository.

    Raises `TrustError` for what notary does not believe, `OutsideError` when the server cannot be
    reached.
    """
    known = _Notary(server, f"{repository.registry}/{repository.repository}").signed()
    return {tag: Digest(f"sha256:{each.sha256}") for tag, each in (known or {}).items()}


@dataclass(frozen=True, slots=True)
class _Notary:
    """Runs `notary` for one repository, which it calls by its GUN."""

    server: TrustServer
    gun: str

    def signed(self) -> Mapping[str, _Signed] | None:
        """Ask what is signed now, as docker would see it; None if the server knows nothing."""
        lines: list[str] = []
        finished = self._run(lines, "list", self.gun, "--roles", _RELEASES, "--roles", _TARGETS)
        if finished.code and any(_NEW in line for line in lines):
            return None
        self._check(finished, lines)
        matches = [match for line in lines if (match := _TARGET.fullmatch(line.strip()))]
        return {match["tag"]: _signed(match) for match in matches}

    def begin(self) -> None:
        """Make the keys of a new repository; the server keeps the one of the snapshots.

        So has docker it, which lets others publish without that key. This publishes as well.
        """
        self._do("init", self.gun)
        self._do("key", "rotate", self.gun, "snapshot", "--server-managed")

    def role(self) -> str:
        """Tell which role docker believes first."""
        lines = self._do("delegation", "list", self.gun)
        several = any(line.split()[:1] == [_RELEASES] for line in lines)
        return _RELEASES if several else _TARGETS

    def publish(self, changes: Iterable[Sequence[str]]) -> None:
        """Stage changes, each a command of notary, and sign them: all of them or none."""
        self._do("reset", self.gun, "--all")
        try:
            for change in changes:
                self._do(*change)
            self._do("publish", self.gun)
        except BaseException:
            self._run([], "reset", self.gun, "--all")
            raise

    def _do(self, *arguments: str) -> Sequence[str]:
        """Run notary to a good end; returns its lines."""
        lines: list[str] = []
        self._check(self._run(lines, *arguments), lines)
        return lines

    def _run(self, lines: list[str], *arguments: str) -> Finished:
        """Run notary, whatever comes of it."""
        place = ("--server", self.server.url, "--trustDir", str(self.server.folder))
        authority = self.server.authority
        secure = ("--tlscacert", str(authority.absolute())) if authority else ()
        argv = ("notary", *place, *secure, *arguments)
        command = Command(argv=argv, env=self.server.environ, timeout=_TIMEOUT)
        return run(command, on_line=lines.append)

    def _check(self, finished: Finished, lines: Sequence[str]) -> None:
        """Raise for a failure, and where notary only repeats what it knew before."""
        said = [match["said"] if (match := _LOG_LINE.match(line)) else line for line in lines]
        what = f"{self.gun}: cannot be signed on {self.server.url}"
        doubts = [line for line in said if any(sign in line for sign in _OFFLINE)]
        if doubts:
            raise OutsideError(f"{what}: {doubts[0]}", hint=_offline_hint(self.server, doubts[0]))
        if finished.code:
            failures = [line.strip(" *") for line in said if line.strip()]
            text = failures[-1] if failures else f"notary failed with exit code {finished.code}"
            raise TrustError(f"{what}: {text}", hint=_failure_hint(self.server, text))


def _offline_hint(server: TrustServer, said: str) -> str:
    """Say what helps where a server was not reached, by what Go's libraries tell of it."""
    if "unknown authority" in said:
        if server.authority is not None:
            return f"{server.authority} has to hold the certificate of the server's authority"
        place = server.folder.parent / "tls" / urlsplit(server.url).netloc / "ca.crt"
        return f"put the certificate of its authority into {place}"
    if "certificate is valid for" in said or "doesn't contain any IP SANs" in said:
        return "give its address as its certificate has it, or have the certificate made anew"
    if "has expired or is not yet valid" in said:
        return "check the clock of this machine; if it is right, the server needs a new certificate"
    return "check the address, and that the server runs"


def _failure_hint(server: TrustServer, said: str) -> str:
    """Say what helps where notary refuses."""
    if "configure TLS" in said and server.authority is not None:
        return f"{server.authority} has to hold certificates, as PEM"
    return f"the keys are in {server.folder}/private; is the passphrase right?"


def _signed(line: re.Match[str]) -> _Signed:
    """Read what is signed out of a line of `notary list`."""
    return _Signed(line["sha256"], int(line["size"]), line["role"])


def _passphrases(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Tell notary what docker was told."""
    told = {ours: environ.get(ours) or environ.get(dockers) for ours, dockers in _DOCKERS.items()}
    return {**environ, **{name: value for name, value in told.items() if value}}


def _check_passphrases(server: TrustServer, needed: Sequence[str]) -> None:
    """Refuse to start what would stop halfway to ask for a passphrase."""
    missing = [name for name in needed if not server.environ.get(name)]
    if missing:
        others = ", ".join(sorted({_DOCKERS[name] for name in missing}))
        raise TrustError(
            f"no passphrase for the keys: {', '.join(missing)} must be set",
            hint=f"docker's own names will do: {others}",
        )
