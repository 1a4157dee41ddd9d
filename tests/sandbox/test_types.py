"""Every type in Snowflake's physical forms, and as snowflake-connector-python understands them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from orders import connect
from raw_client import RawClient, json_rows, streams
from snowmelt_sandbox.testing import Sandbox
from typed_table import INSTANTS, OFFSETS, TIMES, typed_table


@pytest.fixture(scope="module")
def wire(sandbox: Sandbox) -> tuple[pa.Table, dict]:
    client = RawClient(sandbox)
    client.login("databaseName=SHOP&schemaName=PUBLIC")
    data = client.query("select * from typed")["data"]
    return streams(data)[0], {c["name"]: c for c in data["rowtype"]}


@pytest.mark.parametrize("scale", range(10))
@pytest.mark.parametrize("kind", ["NTZ", "LTZ"])
def test_timestamps(wire: tuple[pa.Table, dict], kind: str, scale: int) -> None:
    table, rowtype = wire
    values = table.column(f"{kind}{scale}").to_pylist()
    unit = 10 ** (9 - scale)
    if scale < 8:
        expected = [s * 10**scale + n // unit for s, n in INSTANTS]
    else:
        expected = [{"epoch": s, "fraction": n - n % unit} for s, n in INSTANTS]
    assert values == [*expected, None]
    assert (rowtype[f"{kind}{scale}"]["type"], rowtype[f"{kind}{scale}"]["scale"]) == (
        f"timestamp_{kind.lower()}",
        scale,
    )


@pytest.mark.parametrize("scale", range(10))
def test_timestamps_with_offset(wire: tuple[pa.Table, dict], scale: int) -> None:
    table, _ = wire
    column = table.column(f"TZ{scale}")
    unit = 10 ** (9 - scale)
    zones = [o + 1440 for o in OFFSETS]
    if scale <= 3:
        expected = [{"epoch": s * 10**scale + n // unit, "timezone": z} for (s, n), z in zip(INSTANTS, zones, strict=True)]
    else:
        expected = [{"epoch": s, "fraction": n - n % unit, "timezone": z} for (s, n), z in zip(INSTANTS, zones, strict=True)]
    assert column.to_pylist() == [*expected, None]
    metadata = table.schema.field(f"TZ{scale}").metadata
    assert metadata[b"logicalType"] == b"TIMESTAMP_TZ"
    assert metadata[b"byteLength"] == (b"8" if scale <= 3 else b"16")


@pytest.mark.parametrize("scale", range(10))
def test_times(wire: tuple[pa.Table, dict], scale: int) -> None:
    column = wire[0].column(f"TIME{scale}")
    assert column.type == (pa.int32() if scale <= 4 else pa.int64())
    assert column.to_pylist() == [*[t // 10 ** (9 - scale) for t in TIMES], None]


def test_other_types(wire: tuple[pa.Table, dict]) -> None:
    table, rowtype = wire
    assert table.schema.field("N38").type == pa.decimal128(38, 0)
    assert table.column("N38").to_pylist()[0] == Decimal("9" * 38)
    assert table.schema.field("N38_37").type == pa.decimal128(38, 37)
    assert table.schema.field("N18").type == pa.int64()
    assert table.column("N18").to_pylist()[:2] == [10**18 - 1, -(10**18) + 1]
    assert (rowtype["N18"]["precision"], rowtype["N18"]["scale"]) == (18, 4)
    assert table.schema.field("N3").type == pa.int8()
    assert (rowtype["I64"]["precision"], rowtype["I64"]["scale"]) == (38, 0)
    source = typed_table()
    for name in (
        "I64",
        "F",
        "B",
        "D",
        "T",
        "BIN",
        "V",
        "O",
        "A",
        "GEO",
        "GEOB",
        "UUID",
        "DEC",
        "VEC",
        "YM",
        "DS",
        "ODD",
    ):
        assert table.column(name).to_pylist() == source.column(name.lower()).to_pylist(), name
    types = {name: rowtype[name]["type"] for name in ("N38", "F", "T", "V", "O", "A", "DEC", "VEC", "ODD")}
    assert " ".join(types.values()) == "fixed real text variant object array decfloat vector frobnicate"
    assert (rowtype["GEO"]["type"], rowtype["GEO"]["extTypeName"]) == ("object", "GEOGRAPHY")
    assert (rowtype["GEOB"]["type"], rowtype["GEOB"]["extTypeName"]) == ("binary", "GEOMETRY")
    assert rowtype["VEC"]["vectorDimension"] == 3
    assert rowtype["T"]["length"] == 20
    assert table.schema.field("T").metadata[b"charLength"] == b"20"


def test_struct_cut_over_is_an_option(data: Path) -> None:
    with Sandbox("--data", data, "--timestamp-struct-from-scale", 4) as server:
        client = RawClient(server)
        client.login()
        table = streams(client.query("select ntz3, ntz4 from shop.public.typed")["data"])[0]
        assert pa.types.is_int64(table.schema.field("NTZ3").type)
        assert pa.types.is_struct(table.schema.field("NTZ4").type)


def test_connector_understands_the_forms(sandbox: Sandbox) -> None:
    names = ["ntz6", "ltz3", "tz3", "time6", "n38", "n18", "f", "b", "d", "t", "bin", "v"]
    with connect(sandbox) as connection:
        # Python's datetime cannot hold the first instants at their offsets.
        sql = f"select {', '.join(names)} from typed where n3 = -1 or n3 is null order by n3"
        rows = connection.cursor().execute(sql).fetchall()
    row = dict(zip(names, rows[0], strict=True))
    instant = datetime.datetime(2023, 11, 14, 22, 13, 20, 500_000)
    assert row["ntz6"] == instant
    assert row["ltz3"].astimezone(datetime.UTC).replace(tzinfo=None) == instant
    assert row["tz3"].utcoffset() == datetime.timedelta(hours=-12)
    assert row["tz3"].astimezone(datetime.UTC).replace(tzinfo=None) == instant
    assert row["time6"] == datetime.time(1)
    assert row["n38"] == -1 and row["n18"] == Decimal("-0.0001")
    assert row["t"] == "x" * 20 and row["bin"] == b"c" and row["v"] == '"x"'
    assert rows[1] == (None,) * len(names)


def test_json_format_of_every_type(client: RawClient) -> None:
    client.query("alter session set GO_QUERY_RESULT_FORMAT = 'JSON'")
    data = client.query("select * from typed")["data"]
    names = [c["name"] for c in data["rowtype"]]
    rows = json_rows(data)
    first, second = dict(zip(names, rows[0], strict=True)), dict(zip(names, rows[1], strict=True))
    assert set(rows[5]) == {None}
    assert first["N38"] == "9" * 38 and first["N18"] == "99999999999999.9999"
    assert second["NTZ9"] == "-0.000000001" and second["NTZ0"] == "-1"
    assert second["TZ3"] == "-0.001 1770"
    assert second["TIME4"] == "86399.9999"
    assert second["D"] == "2932896" and second["B"] == "0" and second["BIN"] == "00FF"
    assert first["F"] == "inf" and first["V"] == "null"
