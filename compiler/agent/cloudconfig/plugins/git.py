"""`git`: a checkout that is brought to the state of a server."""

import base64
from collections.abc import Iterator

from compiler.agent.cloudconfig.actions import Actions, MakeFolder, Remove, RunTool, Task, WriteFile
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.cloudconfig.model import Git, GitAuth, Step
from compiler.agent.programs import Program
from compiler.errors import CompilerError

_BRANCH = "master"
_MODE = 0o755
_SECRETS = "/run/cos/git"


def tasks(step: Step) -> Iterator[Task]:
    """Clone, or fetch and reset."""
    if step.git.url and step.git.path:
        yield lambda machine: _check_out(step.git, machine)


def _check_out(git: Git, machine: Machine) -> Actions:
    for each in (git.url, git.branch):
        if each.startswith("-"):
            raise CompilerError(f"{each!r} must not start with '-'")
    yield MakeFolder(path=git.path, mode=_MODE, keep=True)
    folder = machine.programs.path_for("git", git.path)
    secrets = secret_files(git.auth)
    env = environment(git.auth, machine.programs.path_for("git", "/").rstrip("/"))
    try:
        yield from secrets
        for words in commands(git, is_there=machine.root.exists(f"{git.path}/.git")):
            yield RunTool(Program(argv=("git", "-C", folder, *words), env=env))
    finally:
        yield from (Remove(each.path) for each in secrets)


def commands(git: Git, *, is_there: bool) -> Iterator[tuple[str, ...]]:
    """List the calls of git: what is there already is overwritten, what is beside it stays."""
    branch = git.branch or _BRANCH
    wanted = f"+refs/heads/{branch}:refs/remotes/origin/{branch}"
    if not is_there:
        yield ("init", "--quiet")
    yield ("config", "remote.origin.url", git.url)
    fetched = wanted if git.branch_only else "+refs/heads/*:refs/remotes/origin/*"
    yield ("config", "remote.origin.fetch", fetched)
    yield ("fetch", "--quiet", "origin", fetched)
    yield ("checkout", "--quiet", "--force", "-B", branch, f"refs/remotes/origin/{branch}")


def secret_files(auth: GitAuth) -> tuple[WriteFile, ...]:
    """Put keys where ssh reads them: in memory, for root alone."""
    texts = (("key", auth.private_key), ("known_hosts", auth.public_key))
    return tuple(
        WriteFile(
            path=f"{_SECRETS}/{name}", data=f"{text.rstrip()}\n".encode(), mode=0o600, parents=0o700
        )
        for name, text in texts
        if text
    )


def environment(auth: GitAuth, root: str) -> dict[str, str]:
    """Tell git by its environment what nobody else should see in its arguments."""
    settings = {"safe.directory": "*"}
    if auth.insecure:
        settings["http.sslVerify"] = "false"
    if auth.username or auth.password:
        pair = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
        settings["http.extraHeader"] = f"Authorization: Basic {pair}"
    env = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": str(len(settings))}
    for index, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return {**env, "GIT_SSH_COMMAND": ssh_command(auth, f"{root}{_SECRETS}")}


def ssh_command(auth: GitAuth, folder: str) -> str:
    """Call ssh with the keys that were given, and with no questions."""
    words = ["ssh", "-o", "BatchMode=yes"]
    if auth.private_key:
        words += ["-i", f"{folder}/key", "-o", "IdentitiesOnly=yes"]
    if auth.public_key:
        words += ["-o", f"UserKnownHostsFile={folder}/known_hosts"]
    if auth.insecure:
        words += ["-o", "StrictHostKeyChecking=no"]
    return " ".join(words)
