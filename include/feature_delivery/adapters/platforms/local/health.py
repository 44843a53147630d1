"""Ask a shop whether it is well."""

from __future__ import annotations

import re
import socket
import time

REQUEST_SECONDS = 5.0
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LINE_LIMIT = 4096


def answer(port: int, path: str, *, timeout_seconds: float = REQUEST_SECONDS) -> int | str:
    """Return the status of ``GET path`` on this machine, or why there is none; redirects are not followed.

    Only the status line is read, against one deadline for all of it: the usual clients start their clock again with
    each byte, so that a shop that answers drop by drop would hold a deploy for ever.
    """
    end = time.monotonic() + timeout_seconds
    # Whatever is not plain would split the request; a plan's path is checked elsewhere, this is the last door.
    target = re.sub(r"[^!-~]", "", path) or "/"
    request = (
        f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: feature-delivery\r\nConnection: close\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds) as connection:
            connection.sendall(f"{request}\r\n".encode("ascii"))
            line = b""
            while b"\n" not in line and len(line) < _LINE_LIMIT:
                connection.settimeout(max(end - time.monotonic(), 0.001))
                data = connection.recv(_LINE_LIMIT)
                if not data:
                    break
                line += data
    except TimeoutError:
        return f"no answer within {timeout_seconds:g} seconds"
    except ConnectionRefusedError:
        return "nothing listens there"
    except OSError as error:
        return f"no HTTP answer ({error.strerror})"
    found = _STATUS_LINE.match(line)
    return int(found.group(1)) if found else "no HTTP answer"
