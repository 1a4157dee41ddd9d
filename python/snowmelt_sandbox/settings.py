"""Every knob of one sandbox process, in one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROW_LIMIT = "ROWS_PER_RESULTSET"


@dataclass(frozen=True)
class Credentials:
    """What the sandbox accepts. The defaults are public: the sandbox listens on loopback only and holds test data."""

    user: str = "SNOWMELT"
    password: str = "snowmelt"
    pat: str = "sandbox-pat"
    oauth_token: str = "sandbox-oauth"
    passcode: str = "123456"
    deny_mfa: bool = False
    public_key: Path | None = None
    accept_any: bool = False


@dataclass(frozen=True)
class Lifetimes:
    """Seconds. Real accounts use 3600 and 14400; tests want two or three."""

    session: float = 3600.0
    master: float = 14400.0
    id_token: float = 14400.0
    url: float = 21600.0


@dataclass(frozen=True)
class ResultShape:
    """How a result is cut and encoded."""

    inline: bool = True
    inline_bytes: int = 100_000
    inline_rows: int | None = None
    chunk_max_bytes: int = 16 * 1024 * 1024
    chunk_max_rows: int = 100_000
    chunk_rows: tuple[int, ...] = ()
    batch_rows: int = 40_000
    int_width: str = "result"
    timestamp_struct_from_scale: int = 8
    qrmk: bool = False
    content_encoding: bool = True


@dataclass(frozen=True)
class Settings:
    """All options of the command line."""

    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None
    account: str = "sandbox"
    credentials: Credentials = field(default_factory=Credentials)
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    shape: ResultShape = field(default_factory=ResultShape)
    allow_id_token: bool = True
    idp_delay: float = 0.0
    sso_auto: bool = False
    async_after: float = 45.0
    deny_metadata: bool = False
    rows_per_resultset: int = 0
