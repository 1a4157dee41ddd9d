"""The HTTP face: routes of the Snowflake protocol and of the sandbox's own administration."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from fakesnow.expr import normalise_ident
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from snowmelt_sandbox import answers, errors
from snowmelt_sandbox.bodies import BodyResponse, spoil
from snowmelt_sandbox.engine import Engine
from snowmelt_sandbox.errors import ServerError, SqlError
from snowmelt_sandbox.executor import Executor
from snowmelt_sandbox.faults import Fault, FaultLayer, FaultStore
from snowmelt_sandbox.logins import LoginCheck
from snowmelt_sandbox.metrics import Metrics, RequestLog
from snowmelt_sandbox.sessions import Session, SessionStore
from snowmelt_sandbox.settings import Settings
from snowmelt_sandbox.sso import SsoBroker
from snowmelt_sandbox.statements import Statement, StatementStore
from snowmelt_sandbox.tables import Directory, load_directory

_TOKEN_PREFIX = 'Snowflake Token="'


class SandboxServer:
    """State of one sandbox and its ASGI application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.faults = FaultStore()
        self.sessions = SessionStore(settings.lifetimes, self.metrics)
        self.sso = SsoBroker(settings.idp_delay, settings.sso_auto, self.metrics)
        self.logins = LoginCheck(settings, self.sessions, self.sso)
        self.directory = Directory(load_directory(settings.data) if settings.data else [])
        self.engine = Engine(self.directory)
        self.executor = Executor(settings, self.directory, self.engine)
        self.statements = StatementStore(self.metrics)
        self.signer = answers.UrlSigner(settings.lifetimes.url)
        routes = [
            Route("/session/v1/login-request", self._guard(self.login), methods=["POST"]),
            Route("/session/authenticator-request", self._guard(self.authenticator), methods=["POST"]),
            Route("/session/token-request", self._guard(self.renew), methods=["POST"]),
            Route("/session/heartbeat", self._guard(self.heartbeat), methods=["POST"]),
            Route("/session", self._guard(self.close), methods=["POST"]),
            Route("/sso", self.sso.page, methods=["GET"]),
            Route("/sso/answer", self.sso.answer, methods=["POST"]),
            Route("/console/login", self.sso.console_login, methods=["GET"]),
            Route("/queries/v1/query-request", self._guard(self.query), methods=["POST"]),
            Route("/queries/v1/abort-request", self._guard(self.abort), methods=["POST"]),
            Route("/queries/{id}/abort-request", self._guard(self.abort_by_id), methods=["POST"]),
            Route("/queries/{id}/result", self._guard(self.poll), methods=["GET"]),
            Route("/monitoring/queries/{id}", self._guard(self.monitoring), methods=["GET"]),
            Route("/telemetry/send", self._guard(self.telemetry), methods=["POST"]),
            Route("/results/{id}/chunk_{index:int}", self.chunk, methods=["GET"]),
            Route("/sandbox/stats", self.stats, methods=["GET"]),
            Route("/sandbox/requests", self.request_log, methods=["GET"]),
            Route("/sandbox/queries", self.query_log, methods=["GET"]),
            Route("/sandbox/faults", self.fault_admin, methods=["GET", "POST", "DELETE"]),
            Route("/sandbox/{what:path}", self.administer, methods=["POST"]),
        ]
        self.app = RequestLog(FaultLayer(Starlette(routes=routes), self.faults, self._disturb), self.metrics)

    def stop(self) -> None:
        self.statements.abort_all()

    # -- sessions ---------------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> dict[str, Any]:
        data = (await _json(request)).get("data") or {}
        kind = self.logins.kind(data)
        try:
            user = self.logins.user_of(data, kind)
            self.logins.verify(data, kind, user)
            session = await run_in_threadpool(self._open_session, request, data, kind, user)
        except ServerError:
            self.metrics.add("login_failures")
            raise
        self.metrics.login(kind)
        return {"data": self._login_answer(session, data), "code": None, "message": None, "success": True}

    def _open_session(self, request: Request, data: dict[str, Any], kind: str, user: str) -> Session:
        query = request.query_params
        names = {n: normalise_ident(v) for n in ("databaseName", "schemaName", "warehouse", "roleName") if (v := query.get(n))}
        parameters = {k.upper(): v for k, v in (data.get("SESSION_PARAMETERS") or {}).items()}
        database, schema = names.get("databaseName"), names.get("schemaName")
        if database and not self.engine.has_database(database) and database not in self.directory.databases:
            strict = str(parameters.get("CLIENT_VALIDATE_DEFAULT_PARAMETERS", "")).lower() == "true"
            if self.settings.data is not None and strict:
                text = f"The requested database does not exist or not authorized: {database}"
                raise ServerError(("390201", text), "08004")
        session = Session(
            0, user, kind, database, schema, names.get("warehouse", "SANDBOX_WH"), names.get("roleName", "PUBLIC"),
            parameters,
        )  # fmt: skip
        # Without a directory the named database is made, as fakesnow does: such sandboxes start empty.
        if self.settings.data is None and database:
            session.home = self.engine.connect(database, schema, create=True)
        self.sessions.open(session)
        return session

    def _login_answer(self, session: Session, data: dict[str, Any]) -> dict[str, Any]:
        lifetimes = self.settings.lifetimes
        asked = data.get("SESSION_PARAMETERS") or {}
        wants_id = str(asked.get("CLIENT_STORE_TEMPORARY_CREDENTIAL", "")).lower() == "true"
        gets_id = self.settings.allow_id_token and wants_id and session.kind in {"externalbrowser", "id_token"}
        gets_mfa = session.kind == "mfa" and str(asked.get("CLIENT_REQUEST_MFA_TOKEN", "")).lower() == "true"
        return {
            "token": session.token, "validityInSeconds": _seconds(lifetimes.session),
            "masterToken": session.master, "masterValidityInSeconds": _seconds(lifetimes.master),
            "idToken": self.sessions.issue_id_token(session.user) if gets_id else None,
            "idTokenValidityInSeconds": _seconds(lifetimes.id_token) if gets_id else 0,
            "mfaToken": self.logins.issue_mfa_token() if gets_mfa else None,
            "mfaTokenValidityInSeconds": _seconds(lifetimes.id_token) if gets_mfa else 0,
            "sessionId": session.id, "displayUserName": session.user.upper(), "serverVersion": "9.99.0",
            "firstLogin": False, "remMeToken": None, "remMeValidityInSeconds": 0, "healthCheckInterval": 45,
            "newClientForUpgrade": None,
            "parameters": answers.session_parameters(session.parameters, self.settings.rows_per_resultset),
            "sessionInfo": {
                "databaseName": session.database, "schemaName": session.schema, "warehouseName": session.warehouse,
                "roleName": session.role,
            },
        }  # fmt: skip

    async def authenticator(self, request: Request) -> dict[str, Any]:
        data = (await _json(request)).get("data") or {}
        if str(data.get("AUTHENTICATOR", "")).upper() != "EXTERNALBROWSER":
            raise ServerError(("390139", "The specified authenticator is not accepted by your account."), "08004")
        port, user = str(data.get("BROWSER_MODE_REDIRECT_PORT", "")), str(data.get("LOGIN_NAME") or "")
        path, proof_key = self.sso.start(port, user, str(data.get("ACCOUNT_NAME") or ""))
        answer = {"tokenUrl": None, "ssoUrl": _base(request) + path, "proofKey": proof_key}
        return {"data": answer, "code": None, "message": None, "success": True}

    async def renew(self, request: Request) -> dict[str, Any]:
        session = self.sessions.renew(_token(request))
        lifetimes = self.settings.lifetimes
        data = {
            "sessionToken": session.token, "validityInSecondsST": _seconds(lifetimes.session),
            "masterToken": session.master, "validityInSecondsMT": _seconds(lifetimes.master), "sessionId": session.id,
        }  # fmt: skip
        return {"data": data, "code": None, "message": None, "success": True}

    async def heartbeat(self, request: Request) -> dict[str, Any]:
        self.sessions.touch(self.sessions.authenticate(_token(request)))
        self.metrics.add("heartbeats")
        return _OK

    async def close(self, request: Request) -> dict[str, Any]:
        session = self.sessions.authenticate(_token(request))
        if request.query_params.get("delete") == "true":
            self.statements.abort_session(session, detached_too=False)
            self.sessions.end(session)
        return _OK

    async def telemetry(self, request: Request) -> dict[str, Any]:
        return _OK

    # -- statements -------------------------------------------------------------------------------------------------

    async def query(self, request: Request) -> dict[str, Any]:
        session = self.sessions.authenticate(_token(request))
        body = await _json(request)
        fault = _fault(request)
        if fault is not None and fault.action == "error":
            raise SqlError(str(fault.code or "000603"), fault.sqlstate or "XX000", fault.message or "armed fault")
        request_id = request.query_params.get("requestId") or request.query_params.get("request_id") or ""
        statement = Statement(session, str(body.get("sqlText") or ""), body, request_id)
        statement.detached = bool(body.get("asyncExec"))
        statement = self.statements.submit(statement, self.executor.run)
        if statement.detached and statement.running:
            return answers.in_progress(statement)
        return await self._answer(request, statement)

    async def poll(self, request: Request) -> dict[str, Any]:
        self.sessions.authenticate(_token(request))
        statement = self._statement(request)
        if statement.running:
            self.metrics.add("async_polls")
        return await self._answer(request, statement)

    async def _answer(self, request: Request, statement: Statement) -> dict[str, Any]:
        """Holds the request as the real server does, so that clients which poll without a pause do not spin."""
        if not await statement.finished_within(self.settings.async_after):
            return answers.in_progress(statement)
        if statement.error is not None:
            return answers.failure(statement.error, statement.id)
        fault = _fault(request)
        extra = fault.rows if fault is not None and fault.action == "wrong_row_count" else 0
        limit = self.settings.rows_per_resultset
        return await run_in_threadpool(answers.success, statement, _base(request), self.signer, self.settings.shape, extra, limit)

    def _statement(self, request: Request) -> Statement:
        query_id = request.path_params["id"]
        statement = self.statements.get(query_id)
        if statement is None:
            raise SqlError("000709", "02000", f"Statement {query_id} not found")
        return statement

    async def abort(self, request: Request) -> dict[str, Any]:
        session = self.sessions.authenticate(_token(request))
        statement = self.statements.by_request(session, str((await _json(request)).get("requestId") or ""))
        return self._abort(statement)

    async def abort_by_id(self, request: Request) -> dict[str, Any]:
        self.sessions.authenticate(_token(request))
        return self._abort(self.statements.get(request.path_params["id"]))

    def _abort(self, statement: Statement | None) -> dict[str, Any]:
        if statement is None or not statement.running:
            raise ServerError(errors.NOT_EXECUTING, "57014")
        statement.abort()
        self.metrics.add("aborts")
        return _OK

    async def monitoring(self, request: Request) -> dict[str, Any]:
        self.sessions.authenticate(_token(request))
        statement = self.statements.get(request.path_params["id"])
        if statement is None:
            return {"data": {"queries": []}, "code": None, "message": None, "success": True}
        rows = statement.outcome.result.total if statement.outcome is not None else 0
        entry = {
            "id": statement.id, "status": statement.status, "sqlText": statement.sql,
            "startTime": int(statement.started * 1000), "endTime": int((statement.ended or 0) * 1000),
            "errorCode": statement.error.code if statement.error else "",
            "errorMessage": statement.error.message if statement.error else "",
            "stats": {"scanBytes": 0, "producedRows": rows}, "sessionId": statement.session.id,
        }  # fmt: skip
        return {"data": {"queries": [entry]}, "code": None, "message": None, "success": True}

    # -- chunks -----------------------------------------------------------------------------------------------------

    async def chunk(self, request: Request) -> Response:
        fault = _fault(request)
        if fault is not None and fault.action == "expire_url":
            self.signer.expire_all()
        query_id, index = request.path_params["id"], request.path_params["index"]
        query = request.query_params
        signed = (query.get("Expires", "0"), query.get("Issue", "0"), query.get("Signature", ""))
        wanted = self.signer.headers(query_id)
        if any(request.headers.get(k) != v for k, v in wanted.items()) or not self.signer.valid(request.url.path, *signed):
            return Response(_FORBIDDEN, 403, media_type="application/xml")
        statement = self.statements.get(query_id)
        if statement is None or statement.outcome is None or index >= len(statement.outcome.result.chunks):
            return Response(_NO_SUCH_KEY, 404, media_type="application/xml")
        result = statement.outcome.result
        body = await run_in_threadpool(result.read, index)
        self.metrics.add("chunks")
        if fault is not None and fault.action in {"short", "corrupt"}:
            body = await run_in_threadpool(spoil, body, fault, result.format, self.settings.shape.batch_rows)
        headers = {"content-encoding": "gzip"} if self.settings.shape.content_encoding else {}
        return BodyResponse(body, headers)

    # -- administration ---------------------------------------------------------------------------------------------

    async def stats(self, request: Request) -> Response:
        return JSONResponse(self.metrics.stats(len(self.sessions.all())))

    async def request_log(self, request: Request) -> Response:
        return JSONResponse(self.metrics.requests())

    async def query_log(self, request: Request) -> Response:
        entries = [
            {
                "id": s.id, "session": s.session.id, "sql": s.sql, "status": s.status, "requestId": s.request_id,
                "started": s.started, "seconds": (s.ended or time.time()) - s.started,
                "rows": s.outcome.result.total if s.outcome else None,
                "chunks": len(s.outcome.result.chunks) if s.outcome else None,
                "error": s.error.code if s.error else None,
                "parameters": s.request.get("parameters") or {},
            }
            for s in self.statements.all()
        ]  # fmt: skip
        return JSONResponse(entries)

    async def fault_admin(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                self.faults.arm(await _json(request))
            except (ValueError, TypeError) as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(self.faults.describe())

    async def administer(self, request: Request) -> Response:
        """What an operator or a policy does to sessions on the real service."""
        sessions = self.sessions.all()
        what = request.path_params["what"]
        if what == "sessions/kill":
            for session in sessions:
                self._kill(session)
        elif what == "sessions/expire":
            for session in sessions:
                self.sessions.expire(session)
        elif what == "masters/expire":
            for session in sessions:
                self.sessions.expire_master(session)
        elif what == "id-tokens/revoke":
            return JSONResponse({"count": self.sessions.revoke_id_tokens()})
        elif what == "urls/expire":
            self.signer.expire_all()
        else:
            return JSONResponse({"error": f"unknown: /sandbox/{what}"}, 404)
        return JSONResponse({"count": len(sessions)})

    def _kill(self, session: Session) -> None:
        self.statements.abort_session(session, detached_too=True)
        self.sessions.end(session)

    async def _disturb(self, fault: Fault, scope: Scope) -> None:
        """The part of a fault that happens to sessions: to the request's own, or to all when it has none."""
        request = Request(scope)
        session = self.sessions.find(_token(request))
        if session is None and request.url.path.startswith("/results/"):
            statement = self.statements.get(request.url.path.split("/")[2])
            session = statement.session if statement is not None else None
        for one in [session] if session is not None else self.sessions.all():
            if fault.action == "kill_session":
                self._kill(one)
            elif fault.action == "expire_session":
                self.sessions.expire(one)
            elif fault.action == "expire_master":
                self.sessions.expire_master(one)
        if fault.action == "refuse_id_token":
            self.sessions.revoke_id_tokens()

    def _guard(self, handler: Callable[[Request], Awaitable[dict[str, Any]]]) -> Callable[[Request], Awaitable[Response]]:
        """Refusals become HTTP 200 with success false: drivers retry a 500 for a minute before they speak."""

        async def guarded(request: Request) -> Response:
            try:
                return JSONResponse(await handler(request))
            except SqlError as error:
                return JSONResponse(answers.failure(error, ""))
            except ServerError as error:
                return JSONResponse(answers.failure(error))
            except (json.JSONDecodeError, UnicodeDecodeError, OSError, zlib.error):
                return JSONResponse(answers.failure(ServerError(("390400", "The request could not be read."))))

        return guarded


_OK: dict[str, Any] = {"data": None, "code": None, "message": None, "success": True}
_FORBIDDEN = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
_NO_SUCH_KEY = "<Error><Code>NoSuchKey</Code></Error>"


def _seconds(value: float) -> int:
    return max(1, round(value))


def _fault(request: Request) -> Fault | None:
    return request.scope.get("sandbox.fault")


def _token(request: Request) -> str | None:
    header = request.headers.get("authorization", "")
    return header[len(_TOKEN_PREFIX) : -1] if header.startswith(_TOKEN_PREFIX) else None


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


async def _json(request: Request) -> Any:
    body = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return json.loads(body) if body else {}
