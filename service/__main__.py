"""`sub3`, the one command; `python -m service` is the same, and serves where no verb is given.

Each verb is a module that is imported when the verb is: `sub3 translate` loads neither the web framework nor settings.
"""

import argparse
import gc
import os
import signal
import socket
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module

from models import __version__

SERVE, COMPLETION, COMPRESS, SHORTLIST = "serve", "completion", "compress", "shortlist"
VERBS = ("translate", "corpus", "models", COMPRESS, "keys", "bench", "doctor", COMPLETION)  # modules of service/cli
SERVE_HELP = "serve translations over HTTP"
_EPILOG = """\
`sub3 VERB --help` explains a verb. `python -m models` makes and measures models.

examples:
  sub3 serve --port 9000                        the page, and the API of several dialects
  sub3 translate letter.docx                    letter.de.docx beside it
  sub3 models list                              what there is to serve
  sub3 compress opus-mt-en-fr my/en-fr --text mono.en  a model of your own, at two bits"""
_INTERRUPTED, _PIPE_CLOSED = 130, 141  # as shells count: 128 and the number of the signal


def main(arguments: Sequence[str] | None = None, default: str | None = None) -> int:
    """Run a verb; return its exit status: 2 for what is refused, 130 after Ctrl-C.

    Args:
        arguments: of the command line; those of the process by default.
        default: the verb where none is given.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if default and (not given or (given[0].startswith("-") and given[0] != "--version")):
        given.insert(0, default)
    verb = given[1:] if given[:2] == ["models", COMPRESS] else given
    if verb[:1] == [COMPRESS] or verb[:2] == ["models", SHORTLIST]:  # their options are where torch is
        from service.cli.compress import hand_over

        return hand_over(verb)
    try:
        parsed = parser(next((word for word in given[:1] if word in (SERVE, *VERBS)), None)).parse_args(given)
        if parsed.command is None:
            parser(None).print_help()
            return 0
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # `sub3 ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not written at exit either
        return _PIPE_CLOSED
    return status


def parser(wanted: str | None) -> argparse.ArgumentParser:
    """Return the parser, with the options of one verb; with those of all for the verb `completion`."""
    command = argparse.ArgumentParser(
        prog="sub3",
        description="Translation on CPUs, with weights of one to eight binary planes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--version", action="version", version=f"sub3 {__version__}")
    verbs = command.add_subparsers(dest="command", metavar="VERB")
    raw = argparse.RawDescriptionHelpFormatter
    serve = verbs.add_parser(SERVE, help=SERVE_HELP, formatter_class=raw)
    if wanted in (SERVE, COMPLETION):
        _add_serve(serve)
    for name in VERBS:
        verb = import_module(f"{__package__}.cli.{name}") if wanted in (name, None, COMPLETION) else None
        if verb is None:
            verbs.add_parser(name)
            continue
        about = textwrap.fill(verb.DESCRIPTION, 100)
        told = {"help": verb.HELP, "description": about, "epilog": getattr(verb, "EPILOG", None)}
        added = verbs.add_parser(name, formatter_class=raw, **told)
        verb.add_arguments(added)
        added.set_defaults(run=_complete if name == COMPLETION else verb.run)
    return command


def _complete(parsed: argparse.Namespace) -> int:
    from service.cli.completion import script

    print(script(parsed.shell, parser(COMPLETION)), end="")
    return 0


def _add_serve(verb: argparse.ArgumentParser) -> None:
    from service.settings import describe, options

    verb.description = (
        "Serves translations over HTTP. Each setting is a variable of the environment; an option goes before it:\n\n"
    ) + describe()
    for name in options():
        verb.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    verb.usage = "sub3 serve [-h] [--SETTING VALUE ...]"
    verb.set_defaults(run=_serve)


def _serve(parsed: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 2 with a sentence on stderr if settings, models or port are refused."""
    # the imports make half a million permanent objects; collecting while they grow is a tenth of the start
    gc.disable()
    from pydantic import ValidationError

    from models.format.schema import ModelError, UnavailableConfiguration
    from service.accounts.unavailable import StoreUnavailable
    from service.app import create_app
    from service.http.listening import Taken, bound
    from service.http.server import Server
    from service.observability import logs
    from service.observability.tracing import TracingUnavailable
    from service.process import share_one_heap
    from service.settings import Settings, options, problems

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the server handles the signal
    try:
        settings = Settings(**{name: value for name, value in vars(parsed).items() if name in options()})
        sockets: list[socket.socket] = bound(settings.host, settings.port)  # before the models are loaded
        logs.configure(as_json=settings.log_json)
        share_one_heap()
        app = create_app(settings)
    except ValidationError as error:
        print(problems(error), file=sys.stderr)
        return 2
    except (ModelError, UnavailableConfiguration, StoreUnavailable, TracingUnavailable, Taken) as error:
        print(error, file=sys.stderr)
        return 2
    gc.freeze()
    gc.enable()
    server = Server(app, settings)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run(sockets)
    return 0


if __name__ == "__main__":
    sys.exit(main(default=SERVE))
