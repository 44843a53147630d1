import pytest

from store import db, extensions, migrate
from store.config import Settings
from store.shop import Shop


@pytest.fixture
def settings(tmp_path):
    return Settings.from_environment({"DATA_DIR": str(tmp_path), "DELIVERY_COMMIT": "c0ffee"})


@pytest.fixture
def shop(settings):
    """A shop of its own with a fresh database; it never sees the environment's."""
    migrate.up(settings)
    shop = Shop(settings)
    extensions.load(shop)
    return shop


@pytest.fixture
def connection(shop):
    with db.writing(shop.settings.database) as connection:
        yield connection
