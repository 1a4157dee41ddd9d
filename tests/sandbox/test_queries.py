"""Statements: metadata, errors, asynchronous answers, aborts, retries, parallel work."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
import snowflake.connector
from orders import ROWS, connect
from raw_client import RawClient
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until


def rows(answer: dict) -> list[dict]:
    """Rows of a small answer, whatever its format."""
    assert answer["success"], answer
    data = answer["data"]
    names = [c["name"] for c in data["rowtype"]]
    if data["queryResultFormat"] == "json":
        return [dict(zip(names, row, strict=True)) for row in data["rowset"]]
    return pa.ipc.open_stream(base64.b64decode(data["rowsetBase64"])).read_all().to_pylist()


@pytest.fixture(scope="module")
def slow(data: Path) -> Iterator[Sandbox]:
    """Answers "in progress" after a tenth of a second."""
    with Sandbox("--data", data, "--async-after", 0.1) as server:
        yield server


@pytest.fixture
def slow_client(slow: Sandbox) -> RawClient:
    client = RawClient(slow)
    client.login()
    return client


def test_metadata(client: RawClient) -> None:
    (shown,) = rows(client.query("show tables like 'orders' in schema shop.public"))
    assert (shown["name"], shown["rows"], shown["comment"]) == ("ORDERS", str(ROWS), "all orders")
    assert int(shown["bytes"]) > 0
    (listed,) = rows(
        client.query(
            "select row_count, bytes, table_type from SHOP.INFORMATION_SCHEMA.TABLES"
            " where table_schema = 'PUBLIC' and table_name = 'ORDERS'"
        )
    )
    assert listed == {"ROW_COUNT": ROWS, "BYTES": int(shown["bytes"]), "TABLE_TYPE": "BASE TABLE"}
    described = rows(client.query("describe table shop.public.orders"))
    assert [d["type"] for d in described] == [
        "NUMBER(38,0)", "NUMBER(10,0)", "NUMBER(15,2)", "DATE", "VARCHAR(16777216)", "TIMESTAMP_NTZ(6)",
    ]  # fmt: skip
    assert [k["column_name"] for k in rows(client.query("show primary keys in table shop.public.orders"))] == ["O_KEY"]
    columns = client.query("select column_name, data_type from information_schema.columns where table_name = 'TYPED'")
    assert {"COLUMN_NAME": "TZ9", "DATA_TYPE": "TIMESTAMP_TZ"} in rows(columns)
    plan = json.loads(rows(client.query("explain using json select * from orders"))[0]["content"])
    assert plan["GlobalStats"]["bytesAssigned"] == int(shown["bytes"])


def test_session_statements_and_functions(client: RawClient) -> None:
    for sql in ("alter session set query_tag = 'x', timezone = 'UTC'", "alter session unset query_tag", "use role r"):
        assert rows(client.query(sql)) == [{"status": "Statement executed successfully."}]
    assert rows(client.query("use warehouse w"))
    (row,) = rows(client.query("select current_role() as r, current_warehouse() as w, current_user() as u, 1 as one"))
    assert row == {"R": "R", "W": "W", "U": "SNOWMELT", "one".upper(): 1}
    (row,) = rows(client.query("select current_timestamp()"))
    assert set(row["CURRENT_TIMESTAMP()"]) == {"epoch", "fraction"}


@pytest.mark.parametrize(
    ("sql", "code", "state"),
    [
        ("select * from nowhere", "002003", "42S02"),
        ("select * from no.such.thing", "002003", "42S02"),
        ("select nothing from orders", "000904", "42000"),
        ("select nothing + 1 from orders", "000904", "42000"),
        ("selec 1", "001003", "42000"),
        ("select (", "001003", "42000"),
        ("select 1; select 2", "000008", "0A000"),
        ("", "000900", "42601"),
        ("select no_such_function(1)", "002140", "42601"),
        ("describe table nowhere", "002003", "42S02"),
    ],
)
def test_sql_errors(client: RawClient, sql: str, code: str, state: str) -> None:
    answer = client.query(sql)
    assert not answer["success"]
    assert (answer["code"], answer["data"]["sqlState"]) == (code, state), answer
    assert answer["data"]["queryId"] and answer["message"]


def test_dml_and_ddl(client: RawClient) -> None:
    name = f"t_{uuid.uuid4().hex}"
    assert "created" in rows(client.query(f"create table {name} (a int, b varchar)"))[0]["status"]
    bound = {"1": {"type": "FIXED", "value": ["1", "2"]}, "2": {"type": "TEXT", "value": ["x", None]}}
    answer = client.query(f"insert into {name} values (?, ?)", bindings=bound)
    assert answer["data"]["rowset"] == [["2"]]
    bound = {"1": {"type": "FIXED", "value": "2"}}
    assert rows(client.query(f"select * from {name} where a = ?", bindings=bound)) == [{"A": 2, "B": None}]


def test_transactions_and_temporary_tables_stay_with_the_session(client: RawClient) -> None:
    name = f"t_{uuid.uuid4().hex}"
    client.query(f"create temporary table {name} (a int)")
    client.query("begin")
    client.query(f"insert into {name} values (1)")
    client.query("rollback")
    assert rows(client.query(f"select count(*) as n from {name}")) == [{"N": 0}]


def test_past_results(client: RawClient) -> None:
    first = client.query("select 7 as seven")["data"]["queryId"]
    assert rows(client.query(f"select * from table(result_scan('{first}'))")) == [{"SEVEN": 7}]
    assert rows(client.result(first)) == [{"SEVEN": 7}]
    assert client.result(str(uuid.uuid4()))["code"] == "000709"


def test_unprivileged_role(data: Path) -> None:
    with Sandbox("--data", data, "--deny-metadata") as server:
        client = RawClient(server)
        client.login("databaseName=SHOP&schemaName=PUBLIC")
        for sql in ("show tables", "describe table orders", "explain select 1", "show primary keys in table orders"):
            assert client.query(sql)["code"] == "003001"
        assert client.query("select * from information_schema.tables")["code"] == "002003"
        assert client.query("select * from orders limit 1")["success"]


def test_gzip_request(sandbox: Sandbox, client: RawClient) -> None:
    body = gzip.compress(json.dumps({"sqlText": "select 1 as a"}).encode())
    headers = {**client.headers(), "Content-Encoding": "gzip", "Content-Type": "application/json"}
    url = f"{sandbox.url}/queries/v1/query-request?requestId={uuid.uuid4()}"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
        assert rows(json.load(response)) == [{"A": 1}]


def test_retried_request_runs_once(client: RawClient) -> None:
    name = f"t_{uuid.uuid4().hex}"
    client.query(f"create table {name} (a int)")
    request_id = str(uuid.uuid4())
    first = client.query(f"insert into {name} values (1)", request_id)
    again = client.query(f"insert into {name} values (1)", request_id)
    assert first["data"]["queryId"] == again["data"]["queryId"]
    assert rows(client.query(f"select count(*) as n from {name}")) == [{"N": 1}]


def test_slow_statement_is_polled(slow: Sandbox, slow_client: RawClient) -> None:
    answer = slow_client.query("select system$wait(0.6) as w")
    assert (answer["code"], answer["success"]) == ("333333", True)
    polls = 0
    while answer["code"] == "333333":
        answer = slow.request("GET", answer["data"]["getResultUrl"], None, slow_client.headers())
        polls += 1
    assert rows(answer) == [{"W": "waited 0.6 seconds"}] and polls >= 1
    assert slow.stats()["async_polls"] >= polls - 1


def test_async_execution(slow: Sandbox, slow_client: RawClient) -> None:
    def status(query_id: str) -> str:
        answer = slow.request("GET", f"/monitoring/queries/{query_id}", None, slow_client.headers())
        return answer["data"]["queries"][0]["status"]

    endless = slow_client.query("select system$wait(3600)", asyncExec=True)
    assert endless["code"] == "333334"
    assert status(endless["data"]["queryId"]) == "RUNNING"
    query_id = slow_client.query("select system$wait(0.3)", asyncExec=True)["data"]["queryId"]
    until(lambda: status(query_id) == "SUCCESS")
    assert slow_client.result(query_id)["success"]


def test_connector_async(sandbox: Sandbox) -> None:
    with connect(sandbox) as connection:
        cursor = connection.cursor()
        cursor.execute_async("select count(*) from orders")
        cursor.get_results_from_sfqid(cursor.sfqid)
        assert cursor.fetchall() == [(ROWS,)]


ENDLESS = "select sum(sqrt(a.o_key * b.o_key + c.o_key)) from orders a, orders b, orders c"


@pytest.mark.parametrize("sql", ["select system$wait(3600)", ENDLESS])
def test_abort_ends_the_statement(sandbox: Sandbox, client: RawClient, sql: str) -> None:
    request_id = str(uuid.uuid4())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.query, sql, request_id)
        until(lambda: sandbox.stats()["statements_running"] == 1)
        assert client.post("/queries/v1/abort-request?requestId=x", {"requestId": request_id})["success"]
        answer = running.result(PATIENCE)
    assert (answer["code"], answer["data"]["sqlState"]) == ("000604", "57014")
    assert sandbox.stats()["statements_running"] == 0
    late = client.post("/queries/v1/abort-request?requestId=y", {"requestId": request_id})
    assert (late["success"], late["code"]) == (False, "000605")


def test_abort_by_query_id_through_the_connector(sandbox: Sandbox) -> None:
    with connect(sandbox) as connection:
        cursor = connection.cursor()

        def abort() -> None:
            until(lambda: sandbox.stats()["statements_running"] == 1)
            cursor.abort_query(sandbox.queries()[-1]["id"])

        threading.Thread(target=abort).start()
        with pytest.raises(snowflake.connector.errors.ProgrammingError, match="000604"):
            cursor.execute("select system$wait(3600)")


def test_parallel_statements_in_one_session(data: Path) -> None:
    with Sandbox("--data", data) as server, connect(server) as connection, ThreadPoolExecutor(8) as pool:

        def run(number: int) -> tuple:
            sql = f"select count(*), {number} from orders where o_key <> {number}"
            return connection.cursor().execute(sql).fetchone()

        endless = [pool.submit(connection.cursor().execute, "select system$wait(3600)") for _ in range(7)]
        until(lambda: server.stats()["statements_running"] == 7)
        assert run(0) == (ROWS - 1, 0), "beside seven that do not end"
        stats = server.stats()
        for query in server.queries():
            if query["status"] == "RUNNING":
                connection.cursor().abort_query(query["id"])
        assert all(isinstance(future.exception(PATIENCE), snowflake.connector.errors.ProgrammingError) for future in endless)
        assert list(pool.map(run, range(8))) == [(ROWS - 1, n) for n in range(8)]
        assert (stats["logins"]["password"], stats["peak_parallel_statements"]) == (1, 8)


def test_parallel_reads_of_one_table_share_one_encoding(data: Path) -> None:
    with Sandbox("--data", data) as server, connect(server) as connection, ThreadPoolExecutor(4) as pool:
        counts = pool.map(lambda _: len(connection.cursor().execute("select * from orders").fetchall()), range(4))
        assert list(counts) == [ROWS] * 4
