"""Every fault does what it says, and only where it was asked for."""

from __future__ import annotations

import gzip
import http.client
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from orders import ROWS, connect
from raw_client import RawClient, chunk_body, get
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Sandbox]:
    with Sandbox("--data", data, "--inline-rows", 1000, "--chunk-rows", 10_000, "--batch-rows", 1000) as server:
        yield server


@pytest.fixture
def login(server: Sandbox) -> Iterator[RawClient]:
    client = RawClient(server)
    client.login("databaseName=SHOP&schemaName=PUBLIC")
    yield client
    server.clear_faults()


@pytest.fixture
def result(login: RawClient) -> dict[str, Any]:
    return login.query("select * from orders")["data"]


def fetch(result: dict[str, Any], index: int = 1) -> tuple[int, bytes]:
    return get(result["chunks"][index]["url"], result["chunkHeaders"])


def rows_of(body: bytes) -> int:
    return pa.ipc.open_stream(gzip.decompress(body)).read_all().num_rows


def test_status_of_one_chunk_some_times(server: Sandbox, result: dict[str, Any]) -> None:
    server.fault("chunk", "status", chunk=1, code=503, times=2, after=1)
    assert [fetch(result)[0] for _ in range(5)] == [200, 503, 503, 200, 200]
    assert fetch(result, 2)[0] == 200
    assert [f["fired"] for f in server.faults()] == [2]
    server.clear_faults()
    assert server.faults() == []


def test_reset_after_bytes(server: Sandbox, result: dict[str, Any]) -> None:
    server.fault("chunk", "reset", after_bytes=5000)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        fetch(result)
    server.fault("chunk", "reset")
    with pytest.raises(OSError):
        fetch(result)
    assert rows_of(fetch(result)[1]) == 10_000


@pytest.mark.parametrize("eos", [True, False])
def test_short_chunk_ends_cleanly(server: Sandbox, result: dict[str, Any], eos: bool) -> None:
    server.fault("chunk", "short", chunk=1, rows=1, eos=eos)
    body = fetch(result)[1]
    assert rows_of(body) == 9_999
    ends_with_marker = gzip.decompress(body).endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00")
    assert ends_with_marker is eos


def test_truncated_body_looks_complete_to_http(server: Sandbox, result: dict[str, Any]) -> None:
    server.fault("chunk", "truncate", after_bytes=4000)
    status, body = fetch(result)
    assert (status, len(body)) == (200, 4000)
    with pytest.raises(EOFError):
        gzip.decompress(body)


def test_corruption(server: Sandbox, result: dict[str, Any]) -> None:
    good = fetch(result)[1]
    server.fault("chunk", "corrupt")
    with pytest.raises((zlib.error, gzip.BadGzipFile, EOFError)):
        gzip.decompress(fetch(result)[1])
    server.fault("chunk", "corrupt", layer="arrow")
    changed = gzip.decompress(fetch(result)[1])
    plain = gzip.decompress(good)
    assert sum(a != b for a, b in zip(changed, plain, strict=True)) == 8


def test_slow_and_delay(server: Sandbox, result: dict[str, Any]) -> None:
    size = len(fetch(result)[1])
    server.fault("chunk", "slow", bytes_per_second=size * 2)
    server.fault("chunk", "delay", seconds=0.4)
    for _ in range(2):
        started = time.monotonic()
        assert rows_of(fetch(result)[1]) == 10_000
        assert time.monotonic() - started > 0.35


def test_a_request_is_held_until_the_faults_are_cleared(server: Sandbox, result: dict[str, Any]) -> None:
    server.fault("chunk", "hold")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(fetch, result)
        until(lambda: server.faults()[0]["fired"])
        assert rows_of(fetch(result)[1]) == 10_000, "only as many as told"
        assert not held.done()
        server.clear_faults()
        assert rows_of(held.result(PATIENCE)[1]) == 10_000


def test_expired_url_needs_the_result_again(server: Sandbox, login: RawClient, result: dict[str, Any]) -> None:
    server.fault("chunk", "expire_url", chunk=1)
    assert fetch(result)[0] == 403
    assert fetch(result, 0)[0] == 403
    assert rows_of(chunk_body(login.result(result["queryId"])["data"], 1)) == 10_000


def test_wrong_row_count(server: Sandbox, login: RawClient) -> None:
    server.fault("query", "wrong_row_count", rows=5, sql="orders")
    assert login.query("select 1")["success"]
    lied = login.query("select * from orders")["data"]
    assert [c["rowCount"] for c in lied["chunks"]][:2] == [10_005, 10_000]
    assert rows_of(chunk_body(lied, 0)) == 10_000


def test_sql_error_on_request(server: Sandbox, login: RawClient) -> None:
    server.fault("query", "error", sql="orders", code="003001", sqlstate="42501", message="no")
    answer = login.query("select * from orders")
    assert (answer["code"], answer["data"]["sqlState"], answer["message"]) == ("003001", "42501", "no")


@pytest.mark.parametrize(
    ("action", "code"), [("kill_session", "390111"), ("expire_session", "390112"), ("expire_master", "390112")]
)
def test_sessions_lost_at_a_request(server: Sandbox, login: RawClient, action: str, code: str) -> None:
    other = RawClient(server)
    other.login()
    server.fault("query", action)
    assert login.query("select 1")["code"] == code
    assert other.query("select 1")["success"], "only the request's own session"
    if action == "expire_master":
        assert login.renew()["code"] == "390114"


def test_session_lost_during_chunks(server: Sandbox, login: RawClient, result: dict[str, Any]) -> None:
    server.fault("chunk", "kill_session")
    assert fetch(result)[0] == 200, "chunk addresses need no session"
    assert login.query("select 1")["code"] == "390111"


def test_refused_id_token(server: Sandbox) -> None:
    server.fault("login", "refuse_id_token")
    answer = RawClient(server).login(AUTHENTICATOR="ID_TOKEN", TOKEN="t")
    assert answer["code"] == "390195"
    server.clear_faults()


@pytest.mark.parametrize("fault", [{"action": "burn"}, {"action": "status", "match": "x"}, {"action": "status", "on": 1}])
def test_nonsense_is_refused(server: Sandbox, fault: dict) -> None:
    with pytest.raises(Exception, match="400"):
        server.request("POST", "/sandbox/faults", fault)


def test_connector_survives_what_it_promises_to(data: Path) -> None:
    with Sandbox("--data", data, "--inline-rows", 10) as server, connect(server) as connection:
        server.request(
            "POST",
            "/sandbox/faults",
            [
                {"match": "query", "action": "expire_session"},
                {"match": "chunk", "chunk": 0, "action": "status", "code": 503},
            ],
        )
        assert len(connection.cursor().execute("select o_key from orders").fetchall()) == ROWS
        assert [f["fired"] for f in server.faults()] == [1, 1]
