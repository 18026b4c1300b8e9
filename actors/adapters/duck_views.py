"""What other programs see: the columns of the published tables and the SQL of the views (contract § 5).

Plain SQL of DuckDB 1.4 and later throughout: no lambda, no time zone function, no multiplication of two wide decimals.
"""

from __future__ import annotations

import contextlib
import glob
from pathlib import Path
from typing import Final

from actors.adapters.duck_schema import day_number, day_text, quoted

PUBLISHED: Final[dict[str, tuple[str, ...]]] = {
    "fills": (
        "user", "token", "symbol", "pair_id", "order_id", "leg", "side", "price", "quantity", "quote_quantity",
        "commission", "commission_asset", "mul_point", "fill_id", "trade_id", "source", "exchange_time", "recorded_at",
    ),
    "orders": (
        "user", "token", "symbol", "pair_id", "order_id", "leg", "side", "price", "quantity", "executed_quantity",
        "executed_quote", "status", "created_at", "updated_at",
    ),
    "pairs": (
        "user", "token", "symbol", "pair_id", "number", "reference_price", "buy_price", "sell_price", "quantity",
        "status", "outcome", "buy_quote", "sell_quote", "wear", "wear_bps", "wear_fee", "wear_spread", "wear_slippage",
        "wear_unwind", "wear_dust", "dust_quantity", "counted_volume", "intent_at", "placed_at", "closed_at",
    ),
    "state_changes": ("user", "pair_id", "happened_at", "seq", "from_phase", "event", "to_phase", "detail"),
    "audit": ("happened_at", "who", "user", "action", "before", "after"),
    "user_days": ("user", "day", "target_volume", "target_points", "done_at"),
    "price_1s": ("token", "second", "open", "high", "low", "close", "quantity", "quote_quantity", "trades"),
}  # fmt: skip
"""Tables of a day file, with `instance` before these columns. What a restart alone needs stays in the live file."""

ORDER: Final[dict[str, str]] = {
    "fills": 'exchange_time, "user", symbol, fill_id',
    "orders": 'created_at, "user", symbol, order_id',
    "pairs": 'intent_at, "user", pair_id',
    "state_changes": '"user", seq',
    "audit": "happened_at, audit_id",
    "user_days": '"user"',
    "price_1s": "token, second",
}
"""A total order per table, so that the same rows make the same file."""

CATALOGUE_TABLES: Final[dict[str, str]] = {
    "users": '"user", display_name, email, wanted, removed, created_at, updated_at FROM users ORDER BY "user"',
    "configurations": '"user", revision, document, who, changed_at FROM configs ORDER BY "user", revision',
    "tokens": "alpha_id, name, mul_point, document, fetched_at FROM tokens ORDER BY alpha_id",
    "instruments": "symbol, status, document, fetched_at FROM instruments ORDER BY symbol",
}

TOTALS: Final = "day_totals"
"""A table beside them: sums of each user and token of the day, so that `daily` over years reads one row for each. A
publication makes it anew where fills or pairs changed, which costs 35 ms of CPU at a million fills (bench/publish.py).
"""

IN_TOTALS: Final = (TOTALS, "user_days")
"""Tables that totals.duckdb has of all days but the newest (duck_totals.py). Their columns are for ever: the views read
old and new files side by side and do not open them first to see who has which."""


def totals(fills: str, pairs: str, day: str) -> str:
    """The rows of day_totals, out of the tables of one day's file. Sums are exact."""
    # quote × mul_point: (38,18) × (10,2) is (38,20), eighteen digits before the point; two (38,18) would leave two.
    return f"""
    WITH by_multiplier AS (
        SELECT instance, "user", token, mul_point, sum(quote_quantity) FILTER (WHERE side = 'BUY') AS quote
        FROM {fills} GROUP BY ALL),
    bought AS (
        SELECT instance, "user", token, sum(quote) AS volume,
               sum(quote * CAST(mul_point AS DECIMAL(10,2))) AS counted_volume
        FROM by_multiplier GROUP BY ALL),
    closed AS (
        SELECT instance, "user", token, count(*) AS pairs, sum(wear) AS wear, sum(buy_quote) AS closed_volume,
               sum(wear_fee) AS fees
        FROM {pairs} WHERE status = 'closed' GROUP BY ALL)
    SELECT instance, "user", DATE '{day}' AS day, token,
           CAST(coalesce(volume, 0) AS DECIMAL(38,18)) AS volume,
           CAST(coalesce(counted_volume, 0) AS DECIMAL(38,18)) AS counted_volume,
           coalesce(pairs, 0) AS pairs,
           CAST(coalesce(wear, 0) AS DECIMAL(38,18)) AS wear,
           CAST(coalesce(closed_volume, 0) AS DECIMAL(38,18)) AS closed_volume,
           CAST(coalesce(fees, 0) AS DECIMAL(38,18)) AS fees
    FROM bought FULL JOIN closed USING (instance, "user", token)
    ORDER BY instance, "user", token"""


VIEWS: Final[dict[str, str]] = {
    # fees: base commission × average buy price + quote commission, in the quote asset, of closed pairs like wear.
    "daily": """
    SELECT instance, "user", day, token, volume, counted_volume, pairs, wear,
           CASE WHEN closed_volume > 0
                THEN CAST(wear AS DOUBLE) * 10000 / CAST(closed_volume AS DOUBLE) END AS wear_bps,
           fees
    FROM day_totals""",
    # The greatest n with 2^n <= counted volume. log2 of a whole number may come out a hair high: checked in integers.
    "daily_points": """
    WITH counted AS (
        SELECT instance, "user", day, CAST(floor(sum(counted_volume)) AS BIGINT) AS whole
        FROM day_totals GROUP BY ALL),
    guessed AS (
        SELECT *, CASE WHEN whole < 1 THEN 0 ELSE CAST(floor(log2(whole)) AS INTEGER) END AS points FROM counted)
    SELECT instance, "user", day,
           CASE WHEN points > 0 AND (CAST(1 AS BIGINT) << points) > whole THEN points - 1 ELSE points END AS points
    FROM guessed""",
    # With target_points the target is 2^points and the volume is the counted one.
    "progress": """
    WITH bought AS (
        SELECT instance, "user", day, sum(volume) AS volume, sum(counted_volume) AS counted_volume
        FROM day_totals GROUP BY ALL)
    SELECT instance, "user", day,
           CAST(coalesce(CASE WHEN target_points IS NULL THEN bought.volume ELSE bought.counted_volume END, 0)
                AS DECIMAL(38,18)) AS volume,
           CASE WHEN target_points IS NULL THEN target_volume
                ELSE CAST(CAST(1 AS BIGINT) << CAST(target_points AS INTEGER) AS DECIMAL(38,18)) END AS target,
           done_at
    FROM user_days LEFT JOIN bought USING (instance, "user", day)""",
}


CATALOGUE_FILE: Final = "catalogue.duckdb"
TOTALS_FILE: Final = "totals.duckdb"
DAY_FILES: Final = "day_????-??-??.duckdb"
"""A copy of a day under another name is in no view: its rows would count twice."""


def day_files(analytics: Path) -> dict[int, Path]:
    """Published days by number, oldest first."""
    found = {}
    for file in sorted(analytics.glob(DAY_FILES)):
        with contextlib.suppress(ValueError):  # no day is called so: somebody else's file
            found[day_number(file.stem.removeprefix("day_"))] = file
    return found


def glob_script(analytics: Path, *, through: int | None = None, alike: bool = False) -> str:
    """views.sql: every table and view over all day files, for DuckDB >= 1.5.

    through: how far totals.duckdb goes. alike: all days were made in one way. Else each view has to open all files when
    it is made, to see who has which columns: half a second a view for a year of days.
    """
    place = str(analytics.resolve())
    pattern = text(f"{glob.escape(place)}/{DAY_FILES}")
    statements = []
    for table in (*PUBLISHED, TOTALS):
        union = "" if alike else ", union_by_name = true"
        select = f"SELECT * FROM read_duckdb({pattern}, table_name = '{table}'{union})"
        if through is not None and table in IN_TOTALS:
            day = day_text(through)
            older, newer = text(f"{place}/{TOTALS_FILE}"), text(f"{place}/day_{day}.duckdb")
            select = (
                f"SELECT * FROM read_duckdb({older}, table_name = '{table}') WHERE day <= DATE '{day}'\n"
                f"    UNION ALL BY NAME SELECT * EXCLUDE (filename) FROM read_duckdb({pattern}, table_name = '{table}',"
                f" filename = true)\n    WHERE filename > {newer}"
            )
        statements.append(f"CREATE OR REPLACE TEMP VIEW {table} AS\n    {select};")
    return _script("DuckDB >= 1.5", statements, _attached(analytics, CATALOGUE_FILE, "catalogue"))


def attach_script(analytics: Path) -> str:
    """views-1.4.sql: the same for DuckDB 1.4, which has no read_duckdb; written anew with each new day."""
    days = [day_text(day) for day in day_files(analytics)]
    attached = "\n".join(_attached(analytics, f"day_{day}.duckdb", _alias(day)) for day in days)
    statements = [
        f"CREATE OR REPLACE TEMP VIEW {table} AS\n    "
        + "\n    UNION ALL BY NAME ".join(f"SELECT * FROM {quoted(_alias(day))}.main.{table}" for day in days)
        + ";"
        for table in (*PUBLISHED, TOTALS)
    ]
    catalogue = _attached(analytics, CATALOGUE_FILE, "catalogue")
    return _script("DuckDB 1.4; read it again for days that came later", statements, f"{attached}\n{catalogue}")


def _script(versions: str, tables: list[str], attached: str) -> str:
    views = [f"CREATE OR REPLACE TEMP VIEW {name} AS{sql};" for name, sql in VIEWS.items()]
    head = (
        f"-- Views over all published days, for {versions}. Use: duckdb -init THIS_FILE\n"
        "-- Should a file be damaged, otoctl query says which one and what to do."
    )
    return "\n".join([head, attached, *tables, *views]) + "\n"


def _attached(analytics: Path, file: str, alias: str) -> str:
    return f"ATTACH IF NOT EXISTS {text(str(analytics.resolve() / file))} AS {quoted(alias)} (READ_ONLY);"


def _alias(day: str) -> str:
    return f"day_{day}"


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
