"""Health check of the images, where no other HTTP client is: exit status 0 when it is ready."""

import http.client
import os
import sys

_SECONDS = 3.0


def main() -> int:
    """Asks the process beside it, on the port that it listens on."""
    port = int(os.environ["TWINUP_SERVER_PORT"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health/readiness")
        answer = connection.getresponse()
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{answer.read(200).decode(errors='replace')}\n")
    return int(answer.status != http.HTTPStatus.OK)


if __name__ == "__main__":
    sys.exit(main())
