import pytest

from store import db
from store.config import ConfigurationError, Settings


def test_the_database_lies_in_the_data_directory_unless_named():
    assert str(Settings.from_environment({"DATA_DIR": "/d"}).database) == "/d/shop.sqlite3"
    assert str(Settings.from_environment({"DATA_DIR": "/d", "DATABASE": "/e/x.db"}).database) == "/e/x.db"


@pytest.mark.parametrize("environ", [{"PORT": "http"}, {"PORT": "70000"}, {"DELIVERY_ENVIRONMENT": "moon"}])
def test_a_wrong_setting_is_named(environ):
    with pytest.raises(ConfigurationError, match=next(iter(environ))):
        Settings.from_environment(environ)


def test_a_database_without_tables_says_what_to_do(settings):
    with pytest.raises(db.SchemaMissing, match="migrate up"):
        db.require_schema(settings.database)
