import pytest

from store.errors import Missing
from store.extensions.wish_list import wishes


def test_a_list_holds_each_product_once(connection):
    connection.execute("INSERT INTO wish_lists VALUES ('w')")
    for _ in range(2):
        connection.execute("INSERT OR IGNORE INTO wishes VALUES ('w', 'TEA-01')")
    assert wishes(connection, "w") == ["TEA-01"]


def test_a_list_that_is_not_there_is_missing(connection):
    with pytest.raises(Missing):
        wishes(connection, "nope")
