"""`cos completion`: what a shell needs to complete commands and options."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from compiler.cli import ALIASES, COMMANDS
from compiler.errors import UsageError

app = typer.Typer(add_completion=False, help="Completion of commands in shells.")

_COMMON = ("--concurrency", "--config", "--debug", "--help", "--log-format", "--quiet", "--store",
           "--system-target", "--version")  # fmt: skip

_BASH = """\
# completion of cos for bash: source it, or put it into /etc/bash_completion.d
_cos() {
    local word=${COMP_WORDS[COMP_CWORD]} path="cos" each wanted=""
    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $each" in
@STEPS@
        esac
    done
    case "$path" in
@WORDS@
    esac
    COMPREPLY=($(compgen -W "$wanted" -- "$word"))
}
complete -o default -F _cos cos
"""
_ZSH = "#compdef cos\nautoload -U +X bashcompinit && bashcompinit\n"


@app.command("completion")
def completion(shell: Annotated[str, typer.Argument(help="bash or zsh.")]) -> None:
    """Print what lets a shell complete commands and options: `source <(cos completion bash)`.

    Where no word of ours fits, the shell offers files.
    """
    if shell not in {"bash", "zsh"}:
        raise UsageError(f"there is no completion for {shell!r}", hint="bash and zsh have one")
    typer.echo((_ZSH if shell == "zsh" else "") + _script(dict(_paths())), nl=False)


def _script(words: Mapping[str, tuple[str, ...]]) -> str:
    """Write the function for bash, out of the words that may follow each path of commands."""
    steps = [f'            "{path}") path="{path}" ;;' for path in words if path != "cos"]
    steps += [f'            "cos {short}") path="cos {name}" ;;' for short, name in ALIASES.items()]
    follow = [f'        "{path}") wanted="{" ".join(each)}" ;;' for path, each in words.items()]
    return _BASH.replace("@STEPS@", "\n".join(steps)).replace("@WORDS@", "\n".join(follow))


def _paths() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give every command by its path, with what may follow it: commands below it, or options."""
    yield "cos", (*sorted(COMMANDS), "version", *_COMMON)
    for name, (module, _) in COMMANDS.items():
        group = typer.main.get_command(importlib.import_module(module).app)
        command = getattr(group, "commands", {}).get(name, group)
        yield from _below(f"cos {name}", command)


def _below(path: str, command: Any) -> Iterator[tuple[str, tuple[str, ...]]]:  # noqa: ANN401  (typer names no type for it)
    """Give a command and all below it."""
    children = {
        name: each for name, each in getattr(command, "commands", {}).items() if not each.hidden
    }
    options = (
        name
        for each in command.params
        if each.param_type_name == "option" and not getattr(each, "hidden", False)
        for name in (*each.opts, *each.secondary_opts)
        if name.startswith("--")
    )
    yield path, (*sorted(children), *sorted({*options, "--help"}))
    for name, each in children.items():
        yield from _below(f"{path} {name}", each)
