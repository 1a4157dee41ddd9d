"""Makes copy_goldens.txt: the bytes PostgreSQL itself writes (COPY … TO … BINARY) for values of every type.

    .venv/bin/python src/snowmelt/load/refresh_goldens.py

One line a value: PostgreSQL type, Arrow type, value as Arrow's text, the field's bytes in hex ("NULL" for none).
"""

from __future__ import annotations

from decimal import Decimal, getcontext
from pathlib import Path

import psycopg
from snowmelt_sandbox.postgres import PrivatePostgres

GOLDENS = Path(__file__).with_name("copy_goldens.txt")
HEADER_BYTES = 19
getcontext().prec = 100


def decimals() -> list[tuple[str, str, str, str]]:
    cases = []
    for precision, scale in [
        (1, 0),
        (4, 4),
        (5, 1),
        (9, 2),
        (9, 9),
        (12, 2),
        (15, 2),
        (18, 0),
        (18, 6),
        (18, 17),
        (19, 3),
        (38, 0),
        (38, 10),
        (38, 37),
    ]:
        most = 10**precision - 1
        unscaled = {
            0,
            1,
            9,
            10,
            99,
            1000,
            9999,
            10000,
            10001,
            12345,
            99990000,
            most,
            most // 7,
            most // 3 * 2,
            10 ** (precision - 1),
        }
        # Multiples of 10^9 with a fraction: the shape another driver stores wrongly.
        unscaled.add(5000000000 * 10**scale + 1)
        for value in sorted(v for v in unscaled if abs(v) <= most):
            for signed in {value, -value}:
                text = f"{Decimal(signed).scaleb(-scale):f}" if scale else str(signed)
                cases.append(
                    (
                        f"numeric({precision},{scale})",
                        f"decimal({precision},{scale})",
                        text,
                        f"'{text}'::numeric({precision},{scale})",
                    )
                )
    return cases


def plain() -> list[tuple[str, str, str, str]]:
    cases = []

    def add(postgres: str, arrow: str, values: list[str], literals: list[str] | None = None) -> None:
        for value, literal in zip(values, literals or values, strict=True):
            cases.append((postgres, arrow, value, f"'{literal}'::{postgres}"))

    add("smallint", "int16", ["0", "-1", "32767", "-32768"])
    add("integer", "int32", ["0", "-1", "2147483647", "-2147483648"])
    add("bigint", "int64", ["0", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808"])
    add("smallint", "int64", ["7", "-32768"])
    add("numeric", "int64", ["0", "10000", "-9223372036854775808"])
    add("numeric", "uint64", ["18446744073709551615"])
    add(
        "real",
        "float",
        ["0", "-0", "0.1", "3.4028235e+38", "1e-45", "inf", "-inf"],
        ["0", "-0", "0.1", "3.4028235e+38", "1e-45", "Infinity", "-Infinity"],
    )
    add(
        "double precision",
        "double",
        ["0", "-0", "0.1", "1.7976931348623157e308", "5e-324", "inf", "-inf"],
        ["0", "-0", "0.1", "1.7976931348623157e308", "5e-324", "Infinity", "-Infinity"],
    )
    add("boolean", "bool", ["true", "false"])
    dates = [
        "0001-01-01",
        "1582-10-04",
        "1582-10-15",
        "1899-12-31",
        "1969-12-31",
        "1970-01-01",
        "2000-01-01",
        "2000-02-29",
        "9999-12-31",
    ]
    add("date", "date32", dates)
    add("timestamp", "date32", dates[:3])
    times = ["00:00:00", "23:59:59.999999", "12:34:56.000001", "00:00:00.100000"]
    add("time", "time64[us]", times)
    add("time", "time64[ns]", [f"{t if '.' in t else t + '.000000'}000" for t in times], times)
    stamps = [
        "0001-01-01 00:00:00",
        "1677-09-21 00:12:43.145224",
        "1969-12-31 23:59:59.999999",
        "1970-01-01 00:00:00",
        "2262-04-11 23:47:16.854775",
        "9999-12-31 23:59:59.999999",
    ]
    add("timestamp", "timestamp[us]", stamps)
    add("timestamp", "timestamp[s]", ["1969-12-31 23:59:59", "9999-12-31 23:59:59"])
    add("timestamp", "timestamp[ms]", ["1969-12-31 23:59:59.999", "0001-01-01 00:00:00.001"])
    add("timestamp", "timestamp[ns]", ["1969-12-31 23:59:59.999999000", "1700-01-01 00:00:00.000001000"])
    for stamp in stamps:
        cases.append(("timestamptz", "timestamp[us, UTC]", stamp, f"'{stamp}+00'::timestamptz"))
    texts = ["", " ", "a", "abcdefg", "naïve 🦊", "0123456789abcdef", "0123456789abcdef0", "x" * 33]
    add("text", "utf8", texts)
    add("varchar(40)", "utf8", texts)
    add("bytea", "binary", ["", "plain"])
    add("json", "utf8", ['{"a": [1, null]}', "null"])
    add("uuid", "utf8", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"])
    add(
        "interval",
        "utf8",
        ["P1Y2M", "P-1Y-2M", "P0Y0M", "P1DT2H3M4.5S", "P-1DT-2H-3M-4.000001S", "P999999999DT23H59M59.999999S", "P0DT0H0M0S"],
        ["1-2", "-1-2", "0", "1 2:3:4.5", "-1 days -2:03:04.000001", "999999999 days 23:59:59.999999", "0"],
    )
    add("timetz", "utf8", ["12:34:56.789+02:00", "00:00:00Z", "23:59:59.999999-15:30", "24:00:00+00", "01:02+05:45:30"])
    add("jsonb", "utf8", ['{"a": [1, null]}', "null", "1.50"])
    add(
        "numeric",
        "decfloat",
        ["0", "0.00", "1.500", "-1e-37", "123456789012345678901234567890.12345678", "1e40", "12345e-2", "NaN", "0.00012"],
    )
    for postgres, arrow in [
        ("integer", "int32"),
        ("text", "utf8"),
        ("numeric(12,2)", "decimal(12,2)"),
        ("boolean", "bool"),
        ("timestamp", "timestamp[us]"),
    ]:
        cases.append((postgres, arrow, "NULL", f"null::{postgres}"))
    return cases


def main() -> None:
    with PrivatePostgres() as server, psycopg.connect(server.uri) as connection:
        connection.execute("set timezone = 'UTC'")
        lines = []
        for postgres, arrow, value, literal in decimals() + plain():
            with connection.cursor().copy(f"copy (select {literal}) to stdout (format binary)") as copy:
                data = b"".join(bytes(block) for block in copy)
            field = data[HEADER_BYTES + 2 : -2]
            # jsonb is sent as its text in PostgreSQL's own form: the encoder may send another one, so the text is compared.
            lines.append("\t".join([postgres, arrow, value, field.hex()]))
    GOLDENS.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} goldens")


if __name__ == "__main__":
    main()
