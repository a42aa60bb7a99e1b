"""`python -m service`: serve the model of the settings with uvicorn."""

import gc

gc.disable()  # the imports make half a million objects that stay; walking them again and again is a tenth of the start

import argparse
import signal
import sys

from pydantic import ValidationError

from models.format.schema import ModelError, UnavailableConfiguration
from service.accounts.keys import StoreDown
from service.app import create_app
from service.cli import keys as key_command
from service.http.server import Server
from service.live.memory import share_one_heap
from service.live.state import StateStoreDown
from service.observability import logs
from service.observability.tracing import TracingUnavailable
from service.settings import Settings, describe


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 if the settings or the model are refused."""
    arguments = _arguments()
    # until the server takes the signal over
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings()
        if arguments.command == "keys":
            return key_command.run(arguments, settings)
        logs.configure(as_json=settings.log_json)
        share_one_heap()
        app = create_app(settings)
    except ValidationError as error:
        # pydantic's own text would print the refused value, which may be the token
        for problem in error.errors():
            print(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    except (ModelError, UnavailableConfiguration, StoreDown, StateStoreDown, TracingUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    gc.freeze()
    gc.enable()
    Server(app, settings).run()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve translations over HTTP. Settings are environment variables:\n\n" + describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    key_command.add_arguments(commands.add_parser("keys", help="API keys: add, list, revoke"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
