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
_BASH_STEP = '            "{said}") path="{path}" ;;'
_BASH_WORDS = '        "{path}") wanted="{words}" ;;'
_ZSH = "#compdef cos\nautoload -U +X bashcompinit && bashcompinit\n"
_FISH = """\
# completion of cos for fish: source it, or put it into ~/.config/fish/completions/cos.fish
function __cos_words
    set -l path cos
    for each in (commandline -opc)
        switch "$path $each"
@STEPS@
        end
    end
    switch $path
@WORDS@
    end
end
function __cos_fits
    set -l start (commandline -ct)
    for each in (__cos_words)
        string match -q -- '-*' $start; or string match -qv -- '-*' $each; or continue
        test (string sub -l (string length -- "$start") -- $each) = "$start"; and return
    end
    return 1
end
complete -c cos -n __cos_fits -f -a '(__cos_words)'
"""
_FISH_STEP = """\
            case '{said}'
                set path '{path}'"""
_FISH_WORDS = """\
        case '{path}'
            printf '%s\\n' {words}"""


@app.command("completion")
def completion(shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print what lets a shell complete commands and options: `source <(cos completion bash)`.

    fish reads it from `cos completion fish | source`. Where no word of ours fits, the shell offers
    files.
    """
    if shell not in {"bash", "zsh", "fish"}:
        hint = "bash, zsh and fish have one"
        raise UsageError(f"there is no completion for {shell!r}", hint=hint)
    words = dict(_paths())
    if shell == "fish":
        typer.echo(_script(_FISH, words, step=_FISH_STEP, follow=_FISH_WORDS), nl=False)
        return
    script = _script(_BASH, words, step=_BASH_STEP, follow=_BASH_WORDS)
    typer.echo((_ZSH if shell == "zsh" else "") + script, nl=False)


def _script(frame: str, words: Mapping[str, tuple[str, ...]], *, step: str, follow: str) -> str:
    """Write the functions for a shell, out of the words that may follow each path of commands."""
    paths = {path: path for path in words if path != "cos"}
    paths |= {f"cos {short}": f"cos {name}" for short, name in ALIASES.items()}
    steps = [step.format(said=said, path=path) for said, path in paths.items()]
    wanted = [follow.format(path=path, words=" ".join(each)) for path, each in words.items()]
    return frame.replace("@STEPS@", "\n".join(steps)).replace("@WORDS@", "\n".join(wanted))


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
