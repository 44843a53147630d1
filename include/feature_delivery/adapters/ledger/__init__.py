"""The ledger on a SQL database: PostgreSQL in earnest, SQLite in memory for quick tests."""

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.mapping import map_records
from feature_delivery.adapters.ledger.session import Sessions, ledger_begin, transactions

__all__ = ["Sessions", "SqlBooks", "ledger_begin", "map_records", "transactions"]
