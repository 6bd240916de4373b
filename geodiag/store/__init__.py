"""The store: runs as Parquet tables, written whole or not at all, read lazily."""

from __future__ import annotations

from geodiag.common.schema import Column, Table
from geodiag.store.commit import recover
from geodiag.store.layout import create_store
from geodiag.store.reader import StoreReader
from geodiag.store.schema import SCHEMA_VERSION, TABLES
from geodiag.store.writer import add_table, add_tables, pack_store, remove_run, write_run

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "Column",
    "StoreReader",
    "Table",
    "add_table",
    "add_tables",
    "create_store",
    "pack_store",
    "recover",
    "remove_run",
    "write_run",
]
