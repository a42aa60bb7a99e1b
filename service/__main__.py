"""`python -m service`: serve the model of the settings with uvicorn."""

import argparse
import logging
import signal
import sys

import uvicorn
from pydantic import ValidationError

from models.format import ModelError, UnavailableConfiguration
from service.app import create_app
from service.settings import Settings, describe


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 if the settings or the model are refused."""
    argparse.ArgumentParser(
        prog="python -m service",
        description="Serve translations over HTTP. Settings are environment variables:\n\n" + describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    # uvicorn takes SIGTERM over while it serves, finishes what is in flight, and then raises it again for us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:     %(message)s")
    try:
        settings = Settings()
        app = create_app(settings)
    except ValidationError as error:
        # pydantic's own text would print the refused value, which may be the token
        for problem in error.errors():
            print(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    except (ModelError, UnavailableConfiguration) as error:
        print(error, file=sys.stderr)
        return 2
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
