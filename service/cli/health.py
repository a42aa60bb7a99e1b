"""`python -m service.cli.health`: ask the server of this machine whether it is ready; for containers.

A health check runs it every few seconds, so it imports the standard library only.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 5.0


def main() -> int:
    """Return 0 if /health/ready replies 200, else 1 with a sentence on stderr."""
    port = int(os.environ.get("SUB3_PORT") or os.environ.get("PORT") or 8080)
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        reply = connection.getresponse()
        answer = reply.read().decode()
    except (OSError, HTTPException) as error:
        print(f"Nothing answers on port {port}: {error}.", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(answer, file=sys.stdout if reply.status == 200 else sys.stderr)
    return 0 if reply.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
