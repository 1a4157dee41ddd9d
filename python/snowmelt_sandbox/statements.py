"""Running statements: one thread each, found again by request id (retries) and by query id (polls, refreshed URLs)."""

from __future__ import annotations

import asyncio
import collections
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from snowmelt_sandbox.chunks import EncodedResult
from snowmelt_sandbox.errors import SqlError, canceled, sql_error
from snowmelt_sandbox.metrics import Metrics
from snowmelt_sandbox.sessions import Session

_KEPT = 2_000


@dataclass
class Outcome:
    """What a finished statement gives: everything of the answer that does not depend on who asks."""

    result: EncodedResult
    type_id: int
    shared: bool = False
    source: tuple[str, str, str] = ("", "", "")


@dataclass
class Statement:
    session: Session
    sql: str
    request: dict[str, Any]
    request_id: str
    id: str = field(default_factory=lambda: "01" + str(uuid.uuid4())[2:])
    started: float = field(default_factory=time.time)
    ended: float | None = None
    outcome: Outcome | None = None
    error: SqlError | None = None
    future: Future[None] | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    interrupt: Callable[[], None] | None = None
    detached: bool = False

    @property
    def running(self) -> bool:
        return self.ended is None

    @property
    def status(self) -> str:
        if self.running:
            return "RUNNING"
        if self.error is None:
            return "SUCCESS"
        return "ABORTED" if self.error.code == "000604" else "FAILED_WITH_ERROR"

    def abort(self) -> None:
        """Ends the statement, whatever it is doing: waiting, in DuckDB, or encoding."""
        self.cancel.set()
        threading.Thread(target=self._interrupt_until_ended, daemon=True).start()

    def _interrupt_until_ended(self) -> None:
        # DuckDB forgets an interrupt that comes before its query has begun.
        while self.running:
            if (interrupt := self.interrupt) is not None:
                interrupt()
            time.sleep(0.02)

    def wait(self, seconds: float) -> None:
        """Sleeps for SYSTEM$WAIT, or until aborted."""
        if self.cancel.wait(seconds):
            raise canceled()

    async def finished_within(self, seconds: float) -> bool:
        assert self.future is not None
        await asyncio.wait([asyncio.wrap_future(self.future)], timeout=seconds)
        return not self.running


class StatementStore:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(max_workers=128, thread_name_prefix="statement")
        self._by_id: collections.OrderedDict[str, Statement] = collections.OrderedDict()
        self._by_request: dict[tuple[int, str], Statement] = {}

    def submit(self, statement: Statement, run: Callable[[Statement], Outcome]) -> Statement:
        """Starts a statement, or gives the one that the same request id started before: a retry must not run twice."""
        key = (statement.session.id, statement.request_id)
        if statement.request_id and (known := self._by_request.get(key)) is not None:
            return known
        self._by_request[key] = statement
        self._by_id[statement.id] = statement
        self._metrics.add("queries")
        statement.future = self._pool.submit(self._run, statement, run)
        self._forget_oldest()
        return statement

    def _run(self, statement: Statement, run: Callable[[Statement], Outcome]) -> None:
        self._metrics.statement_started()
        try:
            statement.outcome = run(statement)
        except Exception as error:
            statement.error = canceled() if statement.cancel.is_set() else sql_error(error)
        finally:
            statement.session.last_query_id = statement.id
            statement.ended = time.time()
            self._metrics.statement_ended()

    def _forget_oldest(self) -> None:
        while len(self._by_id) > _KEPT:
            oldest = next(iter(self._by_id.values()))
            if oldest.running:
                return
            del self._by_id[oldest.id]
            self._by_request.pop((oldest.session.id, oldest.request_id), None)
            if oldest.outcome is not None and not oldest.outcome.shared:
                oldest.outcome.result.close()

    def get(self, query_id: str) -> Statement | None:
        return self._by_id.get(query_id)

    def by_request(self, session: Session, request_id: str) -> Statement | None:
        return self._by_request.get((session.id, request_id))

    def all(self) -> list[Statement]:
        return list(self._by_id.values())

    def abort_session(self, session: Session, detached_too: bool) -> None:
        for statement in self.all():
            if statement.session is session and statement.running and (detached_too or not statement.detached):
                statement.abort()

    def abort_all(self) -> None:
        for statement in self.all():
            if statement.running:
                statement.abort()
