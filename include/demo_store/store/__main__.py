"""``python -m store``: serve the shop on ``$HOST:$PORT`` until SIGTERM or Ctrl-C."""

import signal
import sys

import waitress

from store import db
from store.config import ConfigurationError, Settings
from store.web import create_app


def _stop(_signal, _frame):
    raise SystemExit(0)


def main() -> int:
    signal.signal(signal.SIGTERM, _stop)
    try:
        settings = Settings.from_environment()
        db.require_schema(settings.database)
        app = create_app(settings)
    except (ConfigurationError, db.SchemaMissing) as error:
        print(f"The shop cannot start: {error}", file=sys.stderr)
        return 1
    try:
        server = waitress.create_server(app, host=settings.host, port=settings.port, threads=6, ident="shop")
    except OSError as error:
        print(f"The shop cannot start: {settings.host}:{settings.port} cannot be listened on ({error.strerror}).",
              file=sys.stderr)
        return 1
    print(f"{settings.shop_name} ({settings.environment}, {settings.commit[:12]}) "
          f"on http://{settings.host}:{settings.port}", flush=True)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
