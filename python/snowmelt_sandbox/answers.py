"""The JSON answers of the query endpoints, and the secret in chunk addresses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Any

from snowmelt_sandbox.errors import ServerError
from snowmelt_sandbox.settings import ROW_LIMIT, ResultShape
from snowmelt_sandbox.statements import Statement

_SSE_KEY = "x-amz-server-side-encryption-customer-key"
_SSE_ALGORITHM = "x-amz-server-side-encryption-customer-algorithm"


class UrlSigner:
    """Chunk addresses: the path is the same each time, the query carries the expiry and a signature."""

    def __init__(self, validity: float) -> None:
        self._key = secrets.token_bytes(32)
        self._validity = validity
        self._generation = 0

    def sign(self, path: str) -> str:
        expires = f"{time.time() + self._validity:.3f}"
        issued = self._generation
        return f"{path}?Expires={expires}&Issue={issued}&Signature={self._mac(path, expires, str(issued))}"

    def valid(self, path: str, expires: str, issued: str, signature: str) -> bool:
        if not hmac.compare_digest(signature, self._mac(path, expires, issued)):
            return False
        return time.time() < float(expires) and int(issued) >= self._generation

    def expire_all(self) -> None:
        """Every address given out so far is worthless; asking for the result again gives new ones."""
        self._generation += 1

    def result_key(self, query_id: str) -> str:
        """The SSE-C key of one result's chunks."""
        return base64.b64encode(hmac.digest(self._key, query_id.encode(), hashlib.sha256)).decode()

    def headers(self, query_id: str) -> dict[str, str]:
        return {_SSE_ALGORITHM: "AES256", _SSE_KEY: self.result_key(query_id)}

    def _mac(self, *parts: str) -> str:
        return hmac.new(self._key, "|".join(parts).encode(), hashlib.sha256).hexdigest()


def failure(error: ServerError, query_id: str | None = None) -> dict[str, Any]:
    data: dict[str, Any] = {"errorCode": error.code, "sqlState": error.sqlstate, "internalError": False}
    if query_id is not None:
        data |= {"queryId": query_id, "line": -1, "pos": -1, "type": "COMPILATION"}
    return {"data": data, "code": error.code, "message": error.message, "success": False, "headers": None}


def in_progress(statement: Statement) -> dict[str, Any]:
    code = "333334" if statement.detached else "333333"
    data = {
        "queryId": statement.id, "getResultUrl": f"/queries/{statement.id}/result", "queryAbortsAfterSecs": 300,
        "progressDesc": None,
    }  # fmt: skip
    message = "Query execution in progress. Asynchronous execution." if statement.detached else "Query in progress."
    return {"data": data, "code": code, "message": message, "success": True}


def session_parameters(values: dict[str, Any], row_limit: int) -> list[dict[str, Any]]:
    defaults: dict[str, Any] = {
        "TIMEZONE": "UTC", "AUTOCOMMIT": True, "CLIENT_SESSION_KEEP_ALIVE": False,
        "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY": 3600, "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD": 0,
        "CLIENT_TELEMETRY_ENABLED": False, "CLIENT_PREFETCH_THREADS": 4,
        ROW_LIMIT: row_limit,
    }  # fmt: skip
    chosen = {**defaults, **{k: v for k, v in values.items() if k in defaults}}
    return [{"name": name, "value": value} for name, value in chosen.items()]


def success(
    statement: Statement, base: str, signer: UrlSigner, shape: ResultShape, extra_rows: int, row_limit: int
) -> dict[str, Any]:
    """The result of a finished statement. ``extra_rows`` is the lie of a wrong_row_count fault."""
    assert statement.outcome is not None
    outcome, session = statement.outcome, statement.session
    result = outcome.result
    data: dict[str, Any] = {
        "parameters": session_parameters(session.parameters, row_limit),
        "rowtype": [c.rowtype(*outcome.source) for c in result.columns],
        "total": result.total, "returned": result.total, "queryId": statement.id, "sqlState": "00000",
        "databaseProvider": None, "finalDatabaseName": session.database, "finalSchemaName": session.schema,
        "finalWarehouseName": session.warehouse, "finalRoleName": session.role, "numberOfBinds": 0,
        "arrayBindSupported": False, "statementTypeId": outcome.type_id, "version": 1,
        "sendResultTime": int(time.time() * 1000), "queryResultFormat": result.format,
    }  # fmt: skip
    if result.format == "json":
        data["rowset"] = result.rowset
    else:
        data["rowsetBase64"] = base64.b64encode(result.inline).decode()
    if result.chunks:
        data["chunks"] = [
            {
                "url": base + signer.sign(f"/results/{statement.id}/chunk_{index}"),
                "rowCount": chunk.rows + (extra_rows if index == 0 else 0),
                "uncompressedSize": chunk.uncompressed,
                "compressedSize": chunk.compressed,
            }
            for index, chunk in enumerate(result.chunks)
        ]
        data["qrmk"] = signer.result_key(statement.id)
        if not shape.qrmk:
            data["chunkHeaders"] = signer.headers(statement.id)
    return {"data": data, "code": None, "message": None, "success": True}
