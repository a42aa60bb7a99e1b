"""`python -m service`: serve the models of the settings over HTTP."""

import gc

gc.disable()  # the imports make half a million permanent objects; collecting while they grow is a tenth of the start

import argparse
import signal
import sys

from pydantic import ValidationError

from models.format.schema import ModelError, UnavailableConfiguration
from service.accounts.unavailable import StoreUnavailable
from service.app import create_app
from service.cli import keys as key_command
from service.http.server import Server
from service.observability import logs
from service.observability.tracing import TracingUnavailable
from service.process import share_one_heap
from service.settings import Settings, describe


def main() -> int:
    """Run until SIGTERM or SIGINT; return 2 if the settings or the models are refused."""
    arguments = _arguments()
    # until the server handles the signal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings()
        if arguments.command == "keys":
            return key_command.run(arguments, settings)
        logs.configure(as_json=settings.log_json)
        share_one_heap()
        app = create_app(settings)
    except ValidationError as error:
        for problem in error.errors():
            print(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    except (ModelError, UnavailableConfiguration, StoreUnavailable, TracingUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    gc.freeze()
    gc.enable()
    server = Server(app, settings)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serves translations over HTTP. The settings are environment variables:\n\n" + describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    key_command.add_arguments(commands.add_parser("keys", help="add, list or revoke API keys"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
