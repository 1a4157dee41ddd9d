"""How results are cut, encoded, addressed and protected."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from orders import ROWS, connect, orders_table
from raw_client import RawClient, chunk_body, get, json_rows, streams
from snowmelt_sandbox.testing import Sandbox


def login(server: Sandbox) -> RawClient:
    client = RawClient(server)
    client.login("databaseName=SHOP&schemaName=PUBLIC")
    return client


def test_chunks_grow_and_agree_with_their_counts(client: RawClient) -> None:
    data = client.query("select * from orders")["data"]
    counts = [c["rowCount"] for c in data["chunks"]]
    assert data["queryResultFormat"] == "arrow" and data["total"] == ROWS
    assert counts[0] < counts[1] < counts[2] and max(counts) == 10_000
    tables = streams(data)
    assert [t.num_rows for t in tables[1:]] == counts
    assert sum(t.num_rows for t in tables) == ROWS
    for index, chunk in enumerate(data["chunks"]):
        body = chunk_body(data, index)
        assert (len(body), len(gzip.decompress(body))) == (chunk["compressedSize"], chunk["uncompressedSize"])


def test_content_is_the_files(client: RawClient) -> None:
    whole = pa.concat_tables(streams(client.query("select * from SHOP.PUBLIC.ORDERS")["data"]))
    source = orders_table()
    assert [f.name for f in whole.schema] == [n.upper() for n in source.schema.names]
    assert whole.column("O_KEY").type == pa.int32(), "the narrowest for the whole result"
    assert whole.column("O_SMALL").type == pa.int8()
    assert whole.column("O_KEY").to_pylist() == source.column("o_key").to_pylist()
    assert whole.column("O_PRICE").to_pylist() == [int(p * 100) for p in source.column("o_price").to_pylist()]
    assert whole.column("O_DATE").equals(source.column("o_date"))
    assert whole.column("O_TEXT").equals(source.column("o_text"))
    assert whole.column("O_AT").to_pylist() == source.column("o_at").cast(pa.int64()).to_pylist()


def test_connector_reads_it_exactly(sandbox: Sandbox) -> None:
    with connect(sandbox) as connection:
        cursor = connection.cursor().execute('select * from "SHOP"."PUBLIC"."ORDERS"')
        rows = cursor.fetchall()
        assert len(cursor.get_result_batches()) > 5
    assert rows == [tuple(r.values()) for r in orders_table().to_pylist()]


def test_second_read_comes_from_disk(client: RawClient) -> None:
    first = client.query("select * from orders")["data"]
    again = client.query("select * from orders")["data"]
    assert first["queryId"] != again["queryId"]
    assert chunk_body(first, 3) == chunk_body(again, 3)


def test_columns_limit_and_time_travel(client: RawClient) -> None:
    at = "at(timestamp => '2024-05-01 00:00:00 +0000'::timestamp_ltz)"
    data = client.query(f'select "O_TEXT", o_key from orders {at} limit 3')["data"]
    table = streams(data)[0]
    assert table.column_names == ["O_TEXT", "O_KEY"] and table.column("O_KEY").to_pylist() == [0, 1, 2]
    answer = client.query(f"select count(*), sum(o_price) from orders {at} where o_key >= 0")
    assert streams(answer["data"])[0].column("COUNT(*)").to_pylist() == [ROWS]


def test_filter_keeps_declared_types(client: RawClient) -> None:
    data = client.query("select * from orders where o_key < 2 order by o_key")["data"]
    kinds = [(c["type"], c["precision"], c["scale"]) for c in data["rowtype"]]
    assert kinds[1] == ("fixed", 10, 0) and kinds[2] == ("fixed", 15, 2) and kinds[5] == ("timestamp_ntz", 0, 6)
    assert streams(data)[0].column("O_PRICE").to_pylist() == [-1000, -999]


def test_empty_results(client: RawClient) -> None:
    for sql in ("select * from empty", "select * from orders where false", "select * from orders limit 0"):
        data = client.query(sql)["data"]
        assert data["total"] == 0 and "chunks" not in data and len(data["rowtype"]) == 6
        assert streams(data)[0].num_rows == 0


def test_describe_only(client: RawClient) -> None:
    for sql in ("select * from orders", "select count(*) as n from orders"):
        data = client.query(sql, describeOnly=True)["data"]
        assert data["total"] == 0 and data["rowtype"]


def test_json_format_has_chunks_too(client: RawClient) -> None:
    data = client.query("select o_key, o_text from orders", parameters={"PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "JSON"})["data"]
    assert data["queryResultFormat"] == "json" and data["chunks"]
    rows = json_rows(data)
    assert len(rows) == ROWS and rows[1] == ["1", "row 1 é"] and rows[7] == ["7", None]


def test_fixed_sizes(data: Path) -> None:
    with Sandbox("--data", data, "--inline-rows", 10, "--chunk-rows", "7,20000,30000", "--batch-rows", 1000) as server:
        answer = login(server).query("select * from orders")["data"]
        assert [c["rowCount"] for c in answer["chunks"]] == [7, 20_000, 29_983]
        tables = streams(answer)
        assert tables[0].num_rows == 10
        assert [b.num_rows for b in tables[2].to_batches()] == [1000] * 20


def test_no_inline_and_one_batch(data: Path) -> None:
    with Sandbox("--data", data, "--no-inline", "--batch-rows", 0, "--no-content-encoding") as server:
        answer = login(server).query("select * from orders")["data"]
        assert answer["rowsetBase64"] == ""
        assert all(len(t.to_batches()) == 1 for t in streams(answer))


def test_integer_width_can_vary_between_chunks(data: Path) -> None:
    with Sandbox("--data", data, "--inline-rows", 100, "--chunk-rows", "5000,40000", "--int-width", "chunk") as server:
        tables = streams(login(server).query("select * from orders")["data"])
        assert [t.schema.field("O_KEY").type for t in tables] == [pa.int8(), pa.int16(), pa.int32(), pa.int32()]


def test_chunks_need_their_headers_and_signature(client: RawClient) -> None:
    data = client.query("select * from orders")["data"]
    url = data["chunks"][0]["url"]
    assert get(url)[0] == 403
    assert get(url.replace("Signature=", "Signature=0"), data["chunkHeaders"])[0] == 403
    assert get(url, data["chunkHeaders"])[0] == 200


def test_qrmk_mode(data: Path) -> None:
    with Sandbox("--data", data, "--qrmk", "--inline-rows", 10) as server:
        answer = login(server).query("select * from orders")["data"]
        assert "chunkHeaders" not in answer
        prefix = "x-amz-server-side-encryption-customer-"
        headers = {f"{prefix}algorithm": "AES256", f"{prefix}key": answer["qrmk"]}
        assert get(answer["chunks"][0]["url"], headers)[0] == 200
        with connect(server) as connection:
            assert len(connection.cursor().execute("select o_key from orders").fetchall()) == ROWS


def test_urls_expire_and_are_refreshed_by_query_id(data: Path) -> None:
    with Sandbox("--data", data, "--inline-rows", 10) as server:
        client = login(server)
        old = client.query("select * from orders")["data"]
        server.expire_urls()
        assert get(old["chunks"][0]["url"], old["chunkHeaders"])[0] == 403
        new = client.result(old["queryId"])["data"]
        assert get(new["chunks"][0]["url"], new["chunkHeaders"])[0] == 200
        paths = [[c["url"].split("?")[0] for c in answer["chunks"]] for answer in (old, new)]
        assert paths[0] == paths[1], "only the query string changes"


@pytest.mark.parametrize("option", ["--url-validity"])
def test_urls_expire_by_time(data: Path, option: str) -> None:
    with Sandbox("--data", data, "--inline-rows", 10, option, 0) as server:
        answer = login(server).query("select * from orders")["data"]
        assert get(answer["chunks"][0]["url"], answer["chunkHeaders"])[0] == 403
