"""From every earlier schema version to SCHEMA_VERSION, when the file is opened: one transaction, so all or nothing.

How to change the schema: count SCHEMA_VERSION up, add the statements that lead to it below, and add the new `ddl()` as
tests/data/schema/vN.sql. The tests open a file of each version and hold the result against a new one.

The journal may hold rows that the earlier version acknowledged and had not applied yet. Where a kind of row changes,
its statements change their documents, too:

    ALTER TABLE orders ADD COLUMN note VARCHAR;
    UPDATE journal SET document = json_merge_patch(document, '{"note":""}') WHERE kind = 'OrderRow'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import duckdb

from actors.adapters.duck_schema import PUBLISHED_FILE, PUBLISHING_TABLES, SCHEMA_VERSION

NOTICES: Final = (
    'CREATE TABLE notices ("notice_id" VARCHAR NOT NULL, "kind" VARCHAR NOT NULL, "user" VARCHAR,'
    ' "what" VARCHAR NOT NULL, "happened_at" TIMESTAMPTZ NOT NULL, "owed" VARCHAR NOT NULL, "ended_at" TIMESTAMPTZ,'
    ' PRIMARY KEY ("notice_id"))'
)
"""As it was in version 4."""

MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = {
    2: PUBLISHING_TABLES,
    3: (PUBLISHED_FILE,),
    4: (NOTICES,),
}
"""Version -> the statements that lead to it from the one before."""


def migrate(connection: duckdb.DuckDBPyConnection, version: int, now_ms: int) -> None:
    """Brings an open file of an earlier version up to date. Raises: duckdb.Error; the file is then as it was."""
    assert 1 <= version < SCHEMA_VERSION, version
    connection.execute("BEGIN").fetchall()
    try:
        for target in range(version + 1, SCHEMA_VERSION + 1):
            for statement in MIGRATIONS[target]:
                connection.execute(statement).fetchall()
            connection.execute("INSERT INTO schema_version VALUES ($1, make_timestamptz($2 * 1000))", [target, now_ms])
    except BaseException:
        connection.execute("ROLLBACK").fetchall()
        raise
    connection.execute("COMMIT").fetchall()
