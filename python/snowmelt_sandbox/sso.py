"""Browser single sign-on: the sandbox plays the identity provider too.

The driver asks for an address, opens it in a browser and waits on a local port; the page's button sends the browser
there with a token. The token is good for one login, and only together with the proof key of the same request.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import html
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from snowmelt_sandbox.errors import ServerError
from snowmelt_sandbox.metrics import Metrics

_SSO_FAILED = ("390190", "There was an error related to the SAML Identity Provider account parameter.")
_STYLE = """
:root{color-scheme:light dark}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:#eef3f8;color:#17293a;
 font:16px/1.5 system-ui,sans-serif}
main{background:#fff;border-radius:12px;box-shadow:0 6px 30px #17293a22;padding:2.25rem;width:min(24rem,92vw)}
h1{font-size:1.35rem;margin:0 0 .25rem}p{margin:.25rem 0 1.25rem;color:#51677b}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0 0 1.5rem}dt{color:#51677b}
dd{margin:0;overflow-wrap:anywhere;font-weight:600}
form{display:flex;gap:.75rem}button{flex:1;font:inherit;font-weight:600;padding:.65rem;border-radius:8px;cursor:pointer;
 border:1px solid #b9c8d6;background:#fff;color:#17293a}
#sign-in{background:#1769c4;border-color:#1769c4;color:#fff}
button:focus-visible{outline:3px solid #7db4f0;outline-offset:2px}
@media(prefers-color-scheme:dark){body{background:#101b26;color:#e4edf5}main{background:#1a2937}
 p,dt{color:#9db2c5}button{background:#1a2937;color:#e4edf5;border-color:#3b5368}}
"""


@dataclass
class _Pending:
    """One started sign-in."""

    proof_key: str
    port: int
    user: str
    account: str
    token: str | None = None


class SsoBroker:
    """Sign-ins that were started and tokens that were given."""

    def __init__(self, idp_delay: float, auto: bool, metrics: Metrics) -> None:
        self._delay = idp_delay
        self._auto = auto
        self._metrics = metrics
        self._pending: dict[str, _Pending] = {}
        self._tokens: dict[str, _Pending] = {}

    def start(self, port: str, user: str, account: str) -> tuple[str, str]:
        """A new sign-in: the path of its page and its proof key."""
        self._metrics.add("browser_launches")
        proof_key = base64.b64encode(secrets.token_bytes(32)).decode()
        return f"/sso?request={self._remember(proof_key, port, user, account)}", proof_key

    def redeem(self, token: str, proof_key: str) -> None:
        """Uses a token up; it must come with the proof key of its own sign-in."""
        pending = self._tokens.pop(token, None)
        if pending is None or not hmac.compare_digest(pending.proof_key, proof_key):
            raise ServerError(_SSO_FAILED, "08004")

    def _remember(self, proof_key: str, port: str, user: str, account: str) -> str:
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ServerError(("390140", "BROWSER_MODE_REDIRECT_PORT is not a port."), "08004")
        number = secrets.token_urlsafe(24)
        self._pending[number] = _Pending(proof_key, int(port), user, account)
        return number

    async def page(self, request: Request) -> Response:
        """``GET /sso``: the page, or with --sso-auto its outcome at once."""
        number = request.query_params.get("request", "")
        return await self._show(number)

    async def console_login(self, request: Request) -> Response:
        """``GET /console/login``: the variant where the client made the proof key itself."""
        self._metrics.add("browser_launches")
        values = request.query_params
        try:
            number = self._remember(
                values.get("proof_key", ""), values.get("browser_mode_redirect_port", ""),
                values.get("login_name", ""), "",
            )  # fmt: skip
        except ServerError as error:
            return _message("This sign-in address is incomplete", error.message, 400)
        return await self._show(number)

    async def _show(self, number: str) -> Response:
        pending = self._pending.get(number)
        if pending is None:
            return _message("This sign-in is over", "Start it again from the program that asked for it.", 404)
        self._metrics.add("sso_pages")
        if self._auto:
            return await self._confirm(number)
        user, account = html.escape(pending.user or "any user"), html.escape(pending.account or "sandbox")
        body = f"""<h1>Sign in</h1><p>A program on this computer asks for access to the snowmelt sandbox.</p>
<dl><dt>User</dt><dd>{user}</dd><dt>Account</dt><dd>{account}</dd></dl>
<form method="post" action="/sso/answer"><input type="hidden" name="request" value="{html.escape(number)}">
<button id="sign-in" name="answer" value="allow">Sign in</button>
<button id="deny" name="answer" value="deny">Deny</button></form>"""
        return _page("Sign in", body)

    async def answer(self, request: Request) -> Response:
        """``POST /sso/answer``: the pressed button."""
        form = parse_qs((await request.body()).decode())
        number = form.get("request", [""])[0]
        if number not in self._pending:
            return _message("This sign-in is over", "Start it again from the program that asked for it.", 404)
        if form.get("answer", [""])[0] != "allow":
            pending = self._pending.pop(number)
            return RedirectResponse(f"http://localhost:{pending.port}/?error=access_denied", 302)
        return await self._confirm(number)

    async def _confirm(self, number: str) -> Response:
        if self._delay:
            await asyncio.sleep(self._delay)
        pending = self._pending.pop(number, None)
        if pending is None:
            return _message("This sign-in is over", "It was answered before.", 404)
        # Characters that need escaping belong in: a client that forgets to unquote must fail here, not in production.
        pending.token = f"{secrets.token_urlsafe(48)}+/{secrets.token_urlsafe(8)}=="
        self._tokens[pending.token] = pending
        return RedirectResponse(f"http://localhost:{pending.port}/?token={quote(pending.token, safe='')}", 302)


def _page(title: str, body: str, status: int = 200) -> Response:
    # The empty icon keeps browsers from asking for /favicon.ico.
    document = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<style>{_STYLE}</style></head><body><main>{body}</main></body></html>"""
    return HTMLResponse(document, status, headers={"cache-control": "no-store"})


def _message(title: str, text: str, status: int) -> Response:
    return _page(title, f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p>", status)
