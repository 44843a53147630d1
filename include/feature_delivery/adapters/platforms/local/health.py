"""Ask a shop whether it is well."""

from __future__ import annotations

import re
import socket
import time

REQUEST_SECONDS = 5.0
NOTHING_LISTENS = "nothing listens there"
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
        return NOTHING_LISTENS
    except OSError as error:
        return f"no HTTP answer ({error.strerror})"
    found = _STATUS_LINE.match(line)
    return int(found.group(1)) if found else "no HTTP answer"


def advice(found: int | str) -> str:
    """Return what whoever wrote the shop can do about such an answer, a sentence or nothing."""
    match found:
        case 404 | 410:
            return "The shop has no such page: name one that answers 200 as `health.path` in delivery.yaml."
        case 301 | 302 | 303 | 307 | 308:
            return "Redirects are not followed: name a page that answers 200 itself as `health.path` in delivery.yaml."
        case 400 | 421:
            return "It may refuse to be called 127.0.0.1: let it accept that name (in Django: ALLOWED_HOSTS)."
        case 401 | 403:
            return "Nobody logs in to ask: name a page that is open to all as `health.path` in delivery.yaml."
        case _:
            return ""
