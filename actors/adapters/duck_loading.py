"""What users and their traders start from, read set-wise: all who ask at once cost as many queries as one.

A thousand traders start together when the daemon does; asked one by one they would wait for each other longer than a
start may take. Every function reads through the connection it is given, inside one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import duckdb
import msgspec

from actors import messages, rows
from actors.adapters.duck_schema import DAY_MS, Kind, day_number, from_record, plain_decimal, select_list
from actors.domain.day import beside
from actors.domain.trading import TradingConfig
from actors.errors import IntegrityError, StoreError, StoreRefused

Connection = duckdb.DuckDBPyConnection
T = TypeVar("T")

RECENT_PAIRS_MAX: Final = 50
RECENT_MS: Final = 3_600_000
OWN_ORDERS_MS: Final = 48 * 3_600_000

COUNTED: Final = "quote_quantity * CAST(mul_point AS DECIMAL(10,2))"
"""quote × mul_point as DECIMAL(38,20): two factors of DECIMAL(38,18) would leave room for two digits only."""

OF_USERS: Final = '"user" IN (SELECT unnest(CAST($1 AS VARCHAR[])))'
OF_PAIRS: Final = f"{OF_USERS} AND pair_id IN (SELECT unnest(CAST($2 AS VARCHAR[])))"
WITHIN: Final = (
    "make_timestamptz(CAST($2 AS BIGINT) * 1000) <= {0} AND {0} < make_timestamptz(CAST($3 AS BIGINT) * 1000)"
)
SINCE: Final = "{0} >= make_timestamptz(CAST($2 AS BIGINT) * 1000)"
"""BIGINT: a small number of ms is bound as an INTEGER, whose thousandfold overflows within 24 days of 1970."""

LAST_SEQ: Final = f"""
    SELECT "user", max(seq) FROM (
        SELECT "user", seq FROM state_changes WHERE {OF_USERS}
        UNION ALL
        SELECT "user", TRY_CAST(regexp_extract(audit_id, '-([0-9]+)$', 1) AS BIGINT) FROM audit
        WHERE {OF_USERS} AND starts_with(audit_id, 'traders/' || "user" || '-')
    ) GROUP BY 1"""
"""A trader numbers its state changes and its audit rows with one counter (actors/book.py)."""

Loaded = messages.TraderRecord | StoreError


def load_users(connection: Connection) -> tuple[messages.UserRecord, ...]:
    """By name, removed ones left out. Raises: IntegrityError, a stored configuration cannot be read."""
    users = [row for found in _grouped(connection, rows.UserRow, "NOT removed ORDER BY 1").values() for row in found]
    found = _user_records(connection, users)
    for record in found.values():
        if isinstance(record, StoreError):
            raise record
    return tuple(record for record in found.values() if not isinstance(record, StoreError))


def load_traders(connection: Connection, users: Sequence[str], day: str, now_ms: int) -> dict[str, Loaded]:
    """By user: all that a new incarnation needs, or why that one's cannot be had."""
    asked = [list(users)]
    known = _grouped(connection, rows.UserRow, OF_USERS, asked)
    records = _user_records(connection, [row for found in known.values() for row in found])
    open_pairs = _grouped(
        connection, rows.PairRow, f"{OF_USERS} AND status <> 'closed' ORDER BY intent_at, number", asked
    )
    recent_pairs = _grouped(
        connection,
        rows.PairRow,
        f"{OF_USERS} AND status = 'closed' AND {SINCE.format('closed_at')}"
        ' QUALIFY row_number() OVER (PARTITION BY "user" ORDER BY closed_at DESC, number DESC)'
        f" <= {RECENT_PAIRS_MAX} ORDER BY closed_at, number",
        [*asked, now_ms - RECENT_MS],
    )
    pairs = [pair.pair_id for found in (*open_pairs.values(), *recent_pairs.values()) for pair in found]
    orders = _grouped(connection, rows.OrderRow, f"{OF_PAIRS} ORDER BY created_at, order_id", [*asked, pairs])
    fills = _grouped(connection, rows.FillRow, f"{OF_PAIRS} ORDER BY exchange_time, fill_id", [*asked, pairs])
    own = _by_user(
        connection,
        f'SELECT "user", symbol, order_id, pair_id FROM orders WHERE {OF_USERS} AND pair_id IS NOT NULL'
        f" AND {SINCE.format('created_at')} ORDER BY created_at, order_id",
        [*asked, now_ms - OWN_ORDERS_MS],
    )
    last = _by_user(connection, LAST_SEQ, asked)
    days = day_records(connection, users, day)
    near = [day_records(connection, users, other) for other in beside(day) if not _has_left(connection, other)]
    loaded: dict[str, Loaded] = {}
    for user in users:
        record = records.get(user) or StoreRefused(f"no user {user!r}", where="users", do="create the user first")
        if isinstance(record, StoreError):
            loaded[user] = record
            continue
        loaded[user] = messages.TraderRecord(
            record=record,
            day=days[user],
            open_pairs=open_pairs[user],
            recent_pairs=recent_pairs[user],
            orders=orders[user],
            fills=fills[user],
            own_orders=tuple(own[user]),
            near=tuple(found[user] for found in near),
            last_seq=last[user][0][0] if last[user] else 0,
        )
    return loaded


def day_records(connection: Connection, users: Sequence[str], day: str) -> dict[str, messages.DayRecord]:
    """Each user's UTC day, from fills and closed pairs, those that have left the live file included.

    A view of all that is recorded opens the files of all days that have left, 2 ms each: traders do not wait for that.
    """
    start_ms = day_number(day) * DAY_MS
    left = _has_left(connection, day)
    fills, pairs = ("recorded_fills", "recorded_pairs") if left else ("fills", "pairs")
    span = [list(users), start_ms, start_ms + DAY_MS]
    bought = _by_user(
        connection,
        f'SELECT "user", CAST(sum(quote_quantity) AS VARCHAR), CAST(sum({COUNTED}) AS VARCHAR) FROM {fills}'
        f" WHERE {OF_USERS} AND side = 'BUY' AND {WITHIN.format('exchange_time')} GROUP BY 1",
        span,
    )
    fees = _by_user(
        connection,
        f'SELECT "user", commission_asset, CAST(sum(commission) AS VARCHAR) FROM {fills}'
        f" WHERE {OF_USERS} AND {WITHIN.format('exchange_time')} GROUP BY 1, 2 ORDER BY 2",
        span,
    )
    closed = _by_user(
        connection,
        f'SELECT "user", count(*), CAST(sum(wear) AS VARCHAR), CAST(sum(buy_quote) AS VARCHAR) FROM {pairs}'
        f" WHERE {OF_USERS} AND status = 'closed' AND {WITHIN.format('intent_at')} GROUP BY 1",
        span,
    )
    # The number is that of the id's day, which midnight may part from the day of the intent.
    numbers = _by_user(
        connection,
        f'SELECT "user", max(number) FROM {pairs} WHERE {OF_USERS}'
        f" AND (({WITHIN.format('intent_at')}) OR starts_with(pair_id, \"user\" || '-' || $4 || '-')) GROUP BY 1",
        [*span, day],
    )
    done = _by_user(
        connection,
        f'SELECT "user", epoch_ms(done_at) FROM user_days WHERE {OF_USERS} AND day = CAST($2 AS DATE)',
        [list(users), day],
    )
    return {
        user: messages.DayRecord(
            day=day,
            volume=_sum(_first(bought[user], 0)),
            counted_volume=_sum(_first(bought[user], 1)),
            pairs=_first(closed[user], 0) or 0,
            wear=_sum(_first(closed[user], 1)),
            closed_volume=_sum(_first(closed[user], 2)),
            fees=tuple((asset, _sum(amount)) for asset, amount in fees[user]),
            last_number=_first(numbers[user], 0) or 0,
            done_at=_first(done[user], 0),
        )
        for user in users
    }


def _has_left(connection: Connection, day: str) -> bool:
    """Whether rows of a day have left the live file."""
    sql = "SELECT 1 FROM days WHERE part IN ($1, $1 + 1) AND left_at IS NOT NULL"
    return bool(connection.execute(sql, [day_number(day)]).fetchall())


def _user_records(connection: Connection, users: Iterable[rows.UserRow]) -> dict[str, messages.UserRecord | StoreError]:
    """In the order given."""
    wanted = {row.user: row for row in users}
    asked = [list(wanted)]
    configs = _by_user(
        connection,
        f'SELECT "user", revision, document FROM configs WHERE {OF_USERS}'
        ' QUALIFY row_number() OVER (PARTITION BY "user" ORDER BY revision DESC) = 1',
        asked,
    )
    credentials = _grouped(connection, rows.CredentialRow, f"{OF_USERS} AND state <> 'removed'", asked)
    pauses = _grouped(connection, rows.PauseRow, f"{OF_USERS} AND ended_at IS NULL ORDER BY since_at, reason", asked)
    found: dict[str, messages.UserRecord | StoreError] = {}
    for user, row in wanted.items():
        revision, document = configs[user][0] if configs[user] else (0, None)
        try:
            config = None if document is None else msgspec.json.decode(document, type=TradingConfig)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            found[user] = IntegrityError(
                f"the stored configuration cannot be read: {error}",
                where=f"user {user}, revision {revision}",
                do="start the version of otod that wrote it, or restore a backup",
            )
            continue
        sealed = credentials[user][0] if credentials[user] else None
        found[user] = messages.UserRecord(
            user=row,
            config=config,
            revision=revision,
            credentials=sealed.state if sealed is not None else "none",
            ciphertext=sealed.ciphertext if sealed is not None else None,
            sealed=sealed,
            pauses=pauses[user],
        )
    return found


def _grouped(
    connection: Connection, kind: Kind, where: str, values: Sequence[Any] = ()
) -> defaultdict[str, tuple[Any, ...]]:
    """Rows by user, in the order of the query; () for whoever has none."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    sql = f"SELECT {select_list(kind)} FROM {kind.TABLE} WHERE {where}"
    for record in connection.execute(sql, list(values)).fetchall():
        row = from_record(kind, record)
        found[row.user].append(row)
    return defaultdict(tuple, {user: tuple(of_user) for user, of_user in found.items()})


def _by_user(connection: Connection, sql: str, values: Sequence[Any]) -> defaultdict[str, list[tuple[Any, ...]]]:
    """Records by their first column, without it."""
    found: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for user, *record in connection.execute(sql, list(values)).fetchall():
        found[user].append(tuple(record))
    return found


def _first(records: list[tuple[Any, ...]], column: int) -> Any:
    return records[0][column] if records else None


def _sum(text: str | None) -> Decimal:
    return Decimal(0) if text is None else plain_decimal(text)
