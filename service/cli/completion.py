"""`sub3 completion`: what a shell needs to complete verbs, options and their choices."""

import argparse
from collections.abc import Iterator

HELP = "print the completion of a shell"
DESCRIPTION = "Prints a script that completes verbs, options and choices; other words are completed as files."
EPILOG = """\
examples:
  eval "$(sub3 completion bash)"                in ~/.bashrc
  eval "$(sub3 completion zsh)"                 in ~/.zshrc, after compinit
  sub3 completion fish > ~/.config/fish/completions/sub3.fish"""
SHELLS = ("bash", "zsh", "fish")
_MOST_CHOICES = 20

_BASH = """\
_sub3() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}" words
  [ "$COMP_CWORD" = 1 ] && verb=
  case "$verb $before" in
{choices}
    *) case "$verb" in
{verbs}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _sub3 sub3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("shell", choices=SHELLS)


def script(shell: str, command: argparse.ArgumentParser) -> str:
    """Return the completion of a command for a shell.

    Args:
        shell: one of `SHELLS`.
        command: the parser with all its verbs.
    """
    verbs = {"": command, **_verbs(command)}
    if shell == "fish":
        return "".join(_fish(verbs))
    words = "\n".join(f'      "{name}") words="{" ".join(_words(verb))}" ;;' for name, verb in verbs.items())
    choices = "\n".join(
        f'    "{name} {option}") words="{" ".join(choices)}" ;;'
        for name, verb in verbs.items()
        for action in _options(verb)
        if (choices := _choices(action))
        for option in action.option_strings
    )
    setup = "autoload -U bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return setup + _BASH.format(choices=choices, verbs=words)


def _fish(verbs: dict[str, argparse.ArgumentParser]) -> Iterator[str]:
    for name, verb in verbs.items():
        when = f"__fish_seen_subcommand_from {name}" if name else "__fish_use_subcommand"
        for word, told in _verb_words(verb):
            yield f"complete -c sub3 -n '{when}' -a '{word}' -d '{_quoted(told)}'\n"
        for action in _options(verb):
            choices = f" -xa '{' '.join(listed)}'" if (listed := _choices(action)) else ""
            for option in action.option_strings:
                flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
                yield f"complete -c sub3 -n '{when}' {flag}{choices} -d '{_quoted(action.help or '')}'\n"


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {
        name: verb
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, verb in action.choices.items()
    }


def _verb_words(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield the verbs, or the choices of its own arguments, with their help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from ((choice.dest, choice.help or "") for choice in action._get_subactions())
        elif not action.option_strings and action.choices:
            yield from ((str(choice), "") for choice in action.choices)


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _choices(action: argparse.Action) -> list[str]:
    """Return the choices of an option, but not the numbers up to a limit: nobody picks one from a list."""
    choices = list(map(str, action.choices or ()))
    return choices if len(choices) <= _MOST_CHOICES else []


def _words(parser: argparse.ArgumentParser) -> list[str]:
    options = [option for action in _options(parser) for option in action.option_strings]
    return [word for word, _ in _verb_words(parser)] + options


def _quoted(text: str) -> str:
    return text.replace("%(default)s", "").replace("\\", "").replace("'", "’")
