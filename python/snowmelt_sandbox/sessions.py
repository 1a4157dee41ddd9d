"""Sessions and their tokens: issue, expiry, renewal, loss."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from fakesnow.fakes import FakeSnowflakeConnection

from snowmelt_sandbox import errors
from snowmelt_sandbox.errors import ServerError
from snowmelt_sandbox.metrics import Metrics
from snowmelt_sandbox.settings import Lifetimes


@dataclass
class Session:
    """One login. ``home`` keeps temporary tables and transactions; parallel statements borrow other connections."""

    id: int
    user: str
    kind: str
    database: str | None
    schema: str | None
    warehouse: str | None
    role: str | None
    parameters: dict[str, Any]
    token: str = ""
    token_expires: float = 0.0
    master: str = ""
    master_expires: float = 0.0
    ended: bool = False
    last_query_id: str | None = None
    home: FakeSnowflakeConnection | None = None
    home_lock: threading.Lock = field(default_factory=threading.Lock)

    def wants_json(self) -> bool:
        """Whether SELECT results must come in the JSON format (GO_QUERY_RESULT_FORMAT and its siblings)."""
        return asks_for_json(self.parameters)


def asks_for_json(parameters: dict[str, Any]) -> bool:
    return any(
        name.upper().endswith("QUERY_RESULT_FORMAT") and str(value).upper() == "JSON" for name, value in parameters.items()
    )


class SessionStore:
    """All sessions of the process, by token. Old tokens stay known: they answer "expired", not "unknown"."""

    def __init__(self, lifetimes: Lifetimes, metrics: Metrics) -> None:
        self._lifetimes = lifetimes
        self._metrics = metrics
        self._ids = itertools.count(101)
        self._by_token: dict[str, Session] = {}
        self._by_master: dict[str, Session] = {}
        self._id_tokens: dict[str, tuple[str, float]] = {}

    def open(self, session: Session) -> None:
        session.id = next(self._ids)
        self._issue(session)
        self._metrics.add("sessions_opened")

    def _issue(self, session: Session) -> None:
        now = time.monotonic()
        session.token = "ver:3-hint:" + secrets.token_urlsafe(48)
        session.master = "ver:3-hint:" + secrets.token_urlsafe(48)
        session.token_expires = now + self._lifetimes.session
        session.master_expires = now + self._lifetimes.master
        self._by_token[session.token] = session
        self._by_master[session.master] = session

    def all(self) -> list[Session]:
        return [s for s in {id(s): s for s in self._by_token.values()}.values() if not s.ended]

    def authenticate(self, token: str | None) -> Session:
        """The session of a request's token, or the refusal that the real server gives."""
        if not token:
            raise ServerError(errors.SESSION_TOKEN_MISSING)
        session = self._by_token.get(token)
        if session is None:
            raise ServerError(errors.LOGIN_AGAIN)
        if session.ended:
            raise ServerError(errors.SESSION_GONE)
        if token != session.token or time.monotonic() >= session.token_expires:
            raise ServerError(errors.SESSION_EXPIRED)
        return session

    def find(self, token: str | None) -> Session | None:
        """The session of a token whatever its state: for faults and logs."""
        return self._by_token.get(token or "") or self._by_master.get(token or "")

    def renew(self, master: str | None) -> Session:
        if not master:
            raise ServerError(errors.MASTER_MISSING)
        session = self._by_master.get(master)
        if session is None:
            raise ServerError(errors.MASTER_INVALID)
        if session.ended:
            raise ServerError(errors.SESSION_GONE)
        if master != session.master or time.monotonic() >= session.master_expires:
            raise ServerError(errors.MASTER_EXPIRED)
        self._issue(session)
        self._metrics.add("renewals")
        return session

    def touch(self, session: Session) -> None:
        """A heartbeat extends the master token, as activity does on the real server."""
        session.master_expires = max(session.master_expires, time.monotonic() + self._lifetimes.master)

    def end(self, session: Session) -> None:
        if not session.ended:
            session.ended = True
            self._metrics.add("sessions_closed")

    def expire(self, session: Session) -> None:
        session.token_expires = 0.0

    def expire_master(self, session: Session) -> None:
        session.token_expires = session.master_expires = 0.0

    def issue_id_token(self, user: str) -> str:
        token = "ver:1-id:" + secrets.token_urlsafe(48)
        self._id_tokens[token] = (user, time.monotonic() + self._lifetimes.id_token)
        return token

    def check_id_token(self, token: str, user: str) -> None:
        owner, expires = self._id_tokens.get(token, ("", 0.0))
        if owner.upper() != user.upper() or time.monotonic() >= expires:
            raise ServerError(errors.ID_TOKEN_INVALID, "08004")

    def revoke_id_tokens(self) -> int:
        count = len(self._id_tokens)
        self._id_tokens.clear()
        return count
