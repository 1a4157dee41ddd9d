"""Browser sign-in: the page, the redirect, proof keys, id tokens."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from orders import connect
from raw_client import RawClient
from snowmelt_sandbox.testing import PATIENCE, Sandbox

STORE = {"SESSION_PARAMETERS": {"CLIENT_STORE_TEMPORARY_CREDENTIAL": True}}


def start(server: Sandbox, port: int = 40123) -> dict[str, Any]:
    request = {
        "ACCOUNT_NAME": "sandbox", "LOGIN_NAME": "snowmelt", "AUTHENTICATOR": "EXTERNALBROWSER",
        "BROWSER_MODE_REDIRECT_PORT": str(port),
    }  # fmt: skip
    return server.request("POST", "/session/authenticator-request", {"data": request})["data"]


def fetch(url: str, form: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """One request, redirects not followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    target = f"{parts.path}?{parts.query}"
    if form is None:
        connection.request("GET", target)
    else:
        connection.request("POST", target, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
    return connection.getresponse()


def token_of(location: str) -> str:
    assert location.startswith("http://localhost:40123/?token=")
    return parse_qs(urlsplit(location).query)["token"][0]


def login(server: Sandbox, token: str, proof_key: str, **more: Any) -> dict[str, Any]:
    fields = {"AUTHENTICATOR": "EXTERNALBROWSER", "TOKEN": token, "PROOF_KEY": proof_key, "PASSWORD": None}
    return RawClient(server).login(**fields, **more)


def test_page_with_a_person() -> None:
    with Sandbox() as server:
        begun = start(server)
        page = fetch(begun["ssoUrl"]).read().decode()
        assert 'id="sign-in"' in page and 'id="deny"' in page and 'href="data:,"' in page
        number = parse_qs(urlsplit(begun["ssoUrl"]).query)["request"][0]
        answer = fetch(f"{server.url}/sso/answer", {"request": number, "answer": "allow"})
        assert answer.status == 302
        token = token_of(answer.headers["location"])
        assert "+" in token, "a token that must be unquoted"
        other = start(server)
        assert login(server, token, other["proofKey"])["code"] == "390190", "the proof key of another sign-in"
        begun = start(server)
        number = parse_qs(urlsplit(begun["ssoUrl"]).query)["request"][0]
        token = token_of(fetch(f"{server.url}/sso/answer", {"request": number, "answer": "allow"}).headers["location"])
        assert login(server, token, begun["proofKey"])["success"]
        assert login(server, token, begun["proofKey"])["code"] == "390190", "a second use"
        assert fetch(f"{server.url}/sso/answer", {"request": number, "answer": "allow"}).status == 404
        stats = server.stats()
        assert (stats["browser_launches"], stats["sso_pages"], stats["logins"]["externalbrowser"]) == (3, 1, 1)


def test_denied() -> None:
    with Sandbox() as server:
        number = parse_qs(urlsplit(start(server)["ssoUrl"]).query)["request"][0]
        answer = fetch(f"{server.url}/sso/answer", {"request": number, "answer": "deny"})
        assert answer.headers["location"] == "http://localhost:40123/?error=access_denied"


def test_id_tokens() -> None:
    with Sandbox("--sso-auto", "--idp-delay", 0.3) as server:
        begun = start(server)
        started = time.monotonic()
        token = token_of(fetch(begun["ssoUrl"]).headers["location"])
        assert time.monotonic() - started >= 0.3
        id_token = login(server, token, begun["proofKey"], **STORE)["data"]["idToken"]
        fields = {"AUTHENTICATOR": "ID_TOKEN", "PASSWORD": None, **STORE}
        again = RawClient(server).login(TOKEN=id_token, **fields)
        assert again["success"] and again["data"]["idToken"]
        assert RawClient(server).login(TOKEN=id_token, **{**fields, "LOGIN_NAME": "other"})["code"] == "390195"
        assert server.stats()["logins"]["id_token"] == 1
    with Sandbox("--sso-auto", "--id-token-validity", 0.1) as server:
        begun = start(server)
        token = token_of(fetch(begun["ssoUrl"]).headers["location"])
        id_token = login(server, token, begun["proofKey"], **STORE)["data"]["idToken"]
        time.sleep(0.2)  # it has run out by then, however long the rest took
        assert RawClient(server).login(TOKEN=id_token, **fields)["code"] == "390195"


def test_accounts_without_id_tokens_and_revocation() -> None:
    with Sandbox("--sso-auto", "--no-id-token") as server:
        begun = start(server)
        token = token_of(fetch(begun["ssoUrl"]).headers["location"])
        assert login(server, token, begun["proofKey"], **STORE)["data"]["idToken"] is None
    with Sandbox("--sso-auto") as server:
        begun = start(server)
        token = token_of(fetch(begun["ssoUrl"]).headers["location"])
        id_token = login(server, token, begun["proofKey"], **STORE)["data"]["idToken"]
        server.revoke_id_tokens()
        assert RawClient(server).login(AUTHENTICATOR="ID_TOKEN", TOKEN=id_token)["code"] == "390195"


def test_console_login() -> None:
    with Sandbox("--sso-auto") as server:
        query = urlencode({"login_name": "snowmelt", "browser_mode_redirect_port": 40123, "proof_key": "own+key="})
        token = token_of(fetch(f"{server.url}/console/login?{query}").headers["location"])
        assert login(server, token, "own+key=")["success"]
        assert server.stats()["browser_launches"] == 1


def test_connector_signs_in(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole flow of the official Python driver, with a browser that follows redirects."""

    def browse(url: str, *_: Any) -> bool:
        threading.Thread(target=lambda: urllib.request.urlopen(url, timeout=PATIENCE).read(), daemon=True).start()
        return True

    monkeypatch.setattr("webbrowser.open_new", browse)
    with Sandbox("--data", data, "--sso-auto") as server:
        with connect(server, authenticator="externalbrowser", password=None) as connection:
            assert connection.cursor().execute("select count(*) from empty").fetchone() == (0,)
        stats = server.stats()
        assert (stats["browser_launches"], stats["logins"]["externalbrowser"]) == (1, 1)
