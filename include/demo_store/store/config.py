"""The shop's settings. All of them come from environment variables."""

import os
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENTS = ("development", "preprod", "production")


class ConfigurationError(Exception):
    """A setting is missing or wrong; the text says which and what to do."""


@dataclass(frozen=True)
class Settings:
    """``commit`` and ``environment`` are told by whoever deploys the shop."""

    host: str
    port: int
    database: Path
    environment: str
    commit: str
    shop_name: str

    @classmethod
    def from_environment(cls, environ=os.environ) -> "Settings":
        environment = environ.get("DELIVERY_ENVIRONMENT", "development")
        if environment not in ENVIRONMENTS:
            raise ConfigurationError(
                f"DELIVERY_ENVIRONMENT is {environment!r}. Use one of {', '.join(ENVIRONMENTS)}."
            )
        port = environ.get("PORT", "8000")
        if not port.isdecimal() or int(port) > 65535:
            raise ConfigurationError(f"PORT is {port!r}. Use a number up to 65535.")
        data = Path(environ.get("DATA_DIR") or "data")
        return cls(
            host=environ.get("HOST") or "127.0.0.1",
            port=int(port),
            database=Path(environ.get("DATABASE") or data / "shop.sqlite3"),
            environment=environment,
            commit=environ.get("DELIVERY_COMMIT") or "unversioned",
            shop_name=environ.get("SHOP_NAME") or "Lantern & Loom",
        )
