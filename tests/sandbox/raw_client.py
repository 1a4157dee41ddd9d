"""The protocol without a driver: what a test needs to look at the wire itself."""

from __future__ import annotations

import base64
import gzip
import json
import urllib.error
import urllib.request
import uuid
from typing import Any

import pyarrow as pa
from snowmelt_sandbox.testing import PATIENCE, Sandbox

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body as sent (no decompression)."""
    try:
        with _OPENER.open(urllib.request.Request(url, headers=headers or {}), timeout=PATIENCE) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class RawClient:
    """One session."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.token = ""
        self.master = ""

    def login(self, query: str = "", **data: Any) -> dict[str, Any]:
        filled = {"LOGIN_NAME": "SNOWMELT", "PASSWORD": "snowmelt", "SESSION_PARAMETERS": {}, **data}
        body = {"data": {k: v for k, v in filled.items() if v is not None}}
        answer = self.sandbox.request("POST", f"/session/v1/login-request?{query}", body)
        if answer["success"]:
            self.token, self.master = answer["data"]["token"], answer["data"]["masterToken"]
        return answer

    def post(self, path: str, body: Any = None, token: str | None = None) -> dict[str, Any]:
        return self.sandbox.request("POST", path, body or {}, self.headers(token))

    def headers(self, token: str | None = None) -> dict[str, str]:
        return {"Authorization": f'Snowflake Token="{token or self.token}"'}

    def query(self, sql: str, request_id: str | None = None, **more: Any) -> dict[str, Any]:
        request_id = request_id or str(uuid.uuid4())
        return self.post(f"/queries/v1/query-request?requestId={request_id}", {"sqlText": sql, **more})

    def result(self, query_id: str) -> dict[str, Any]:
        return self.sandbox.request("GET", f"/queries/{query_id}/result", None, self.headers())

    def renew(self) -> dict[str, Any]:
        answer = self.post("/session/token-request", {"oldSessionToken": self.token, "requestType": "RENEW"}, self.master)
        if answer["success"]:
            self.token, self.master = answer["data"]["sessionToken"], answer["data"]["masterToken"]
        return answer


def chunk_body(data: dict[str, Any], index: int) -> bytes:
    status, body = get(data["chunks"][index]["url"], data.get("chunkHeaders"))
    assert status == 200, body
    return body


def streams(data: dict[str, Any]) -> list[pa.Table]:
    """Each Arrow stream of a result in wire form: the inline one, when there is one, then the chunks."""
    bodies = [base64.b64decode(data["rowsetBase64"])] if data["rowsetBase64"] else []
    bodies += [gzip.decompress(chunk_body(data, i)) for i in range(len(data.get("chunks", [])))]
    return [pa.ipc.open_stream(body).read_all() for body in bodies]


def json_rows(data: dict[str, Any]) -> list[list[str | None]]:
    rows = list(data["rowset"])
    for index in range(len(data.get("chunks", []))):
        rows += json.loads(f"[{gzip.decompress(chunk_body(data, index)).decode()}]")
    return rows
