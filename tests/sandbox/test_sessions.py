"""Logins of every kind, and the life of a session."""

from __future__ import annotations

import base64
import hashlib
import time
from pathlib import Path

import jwt
import pytest
import snowflake.connector
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from orders import connect
from raw_client import RawClient
from snowmelt_sandbox.testing import Sandbox


def test_login_answer(sandbox: Sandbox) -> None:
    data = RawClient(sandbox).login("databaseName=shop&schemaName=public&warehouse=w&roleName=r")["data"]
    assert data["sessionInfo"] == {
        "databaseName": "SHOP", "schemaName": "PUBLIC", "warehouseName": "W", "roleName": "R",
    }  # fmt: skip
    assert isinstance(data["sessionId"], int) and data["masterToken"] and data["idToken"] is None
    assert (data["validityInSeconds"], data["masterValidityInSeconds"]) == (3600, 14400)
    assert {"name": "TIMEZONE", "value": "UTC"} in data["parameters"]


@pytest.mark.parametrize(
    ("kind", "fields", "wrong", "code"),
    [
        ("password", {}, {"PASSWORD": "no"}, "390100"),
        ("password", {}, {"LOGIN_NAME": "nobody"}, "390100"),
        ("mfa", {"PASSCODE": "123456", "EXT_AUTHN_DUO_METHOD": "passcode"}, {"PASSCODE": "0"}, "390127"),
        ("mfa", {"AUTHENTICATOR": "USERNAME_PASSWORD_MFA"}, {"PASSWORD": "no"}, "390100"),
        ("pat", {"AUTHENTICATOR": "PROGRAMMATIC_ACCESS_TOKEN", "TOKEN": "sandbox-pat"}, {"TOKEN": "no"}, "394400"),
        ("oauth", {"AUTHENTICATOR": "OAUTH", "TOKEN": "sandbox-oauth"}, {"TOKEN": "no"}, "390303"),
        ("oauth", {"AUTHENTICATOR": "OAUTH", "TOKEN": "sandbox-oauth"}, {"TOKEN": "expired"}, "390318"),
        ("wif", {"AUTHENTICATOR": "WORKLOAD_IDENTITY", "TOKEN": "t", "PROVIDER": "AWS"}, {"TOKEN": ""}, "390100"),
        ("okta", {"RAW_SAML_RESPONSE": "<form SAMLResponse>"}, {"RAW_SAML_RESPONSE": "x"}, "390133"),
    ],
)
def test_methods(sandbox: Sandbox, kind: str, fields: dict, wrong: dict, code: str) -> None:
    before = sandbox.stats()
    assert RawClient(sandbox).login(**fields)["success"]
    refused = RawClient(sandbox).login(**{**fields, **wrong})
    after = sandbox.stats()
    assert (refused["success"], refused["code"], refused["data"]["sqlState"]) == (False, code, "08004")
    assert after["logins"][kind] == before["logins"][kind] + 1
    assert after["login_failures"] == before["login_failures"] + 1


def test_mfa_token_and_denial(data: Path) -> None:
    with Sandbox("--deny-mfa") as server:
        assert RawClient(server).login(PASSCODE="123456")["code"] == "390120"
    with Sandbox() as server:
        asked = {"SESSION_PARAMETERS": {"CLIENT_REQUEST_MFA_TOKEN": True}}
        token = RawClient(server).login(PASSCODE="123456", **asked)["data"]["mfaToken"]
        assert RawClient(server).login(TOKEN=token, **asked)["success"]
        assert server.stats()["logins"]["mfa"] == 2


def test_any_credentials() -> None:
    with Sandbox("--any-credentials") as server:
        assert RawClient(server).login(LOGIN_NAME="anyone", PASSWORD="anything")["success"]


def test_key_pair(tmp_path: Path) -> None:
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(public)

    def der(private: rsa.RSAPrivateKey) -> bytes:
        form = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return private.private_bytes(*form)

    with Sandbox("--public-key", tmp_path / "key.pub") as server:
        options = {"authenticator": "SNOWFLAKE_JWT", "password": None, "database": None, "schema": None}
        with connect(server, private_key=der(key), **options) as connection:
            assert connection.cursor().execute("select 1").fetchone() == (1,)
        with pytest.raises(snowflake.connector.errors.DatabaseError, match="390144|JWT"):
            connect(server, private_key=der(other), login_timeout=5, **options)
        assert server.stats()["logins"]["keypair"] == 1
    with Sandbox() as server:
        now = int(time.time())
        digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
        claims = {"iss": f"SANDBOX.SNOWMELT.SHA256:{digest}", "sub": "SANDBOX.SNOWMELT", "iat": now, "exp": now + 60}
        fields = {"AUTHENTICATOR": "SNOWFLAKE_JWT", "LOGIN_NAME": None, "PASSWORD": None}
        assert RawClient(server).login(TOKEN=jwt.encode(claims, key, "RS256"), **fields)["success"]
        old = jwt.encode({**claims, "exp": now - 60}, key, "RS256")
        assert RawClient(server).login(TOKEN=old, **fields)["code"] == "390144"


def test_unknown_database(sandbox: Sandbox) -> None:
    strict = {"SESSION_PARAMETERS": {"CLIENT_VALIDATE_DEFAULT_PARAMETERS": True}}
    assert RawClient(sandbox).login("databaseName=NOPE", **strict)["code"] == "390201"
    assert RawClient(sandbox).login("databaseName=NOPE")["success"]


def test_tokens_expire_and_renew() -> None:
    with Sandbox() as server:
        client = RawClient(server)
        client.login()
        assert client.query("select 1")["success"]
        server.expire_sessions()
        assert client.query("select 1")["code"] == "390112"
        old = client.token
        assert client.renew()["success"]
        assert client.query("select 1")["success"]
        assert client.post("/session/heartbeat", token=old)["code"] == "390112"
        assert client.post("/session/heartbeat")["success"]
        server.expire_masters()
        assert client.query("select 1")["code"] == "390112"
        assert client.renew()["code"] == "390114"
        stats = server.stats()
        assert (stats["renewals"], stats["heartbeats"]) == (1, 1)


def test_tokens_last_as_long_as_told() -> None:
    with Sandbox("--session-validity", 0.1) as server:
        client = RawClient(server)
        client.login()
        time.sleep(0.2)  # it has run out by then, however long the rest took
        assert client.query("select 1")["code"] == "390112"
        assert client.renew()["success"]
    with Sandbox("--session-validity", 0.1, "--master-validity", 0.1) as server:
        client = RawClient(server)
        client.login()
        time.sleep(0.2)
        assert client.query("select 1")["code"] == "390112"
        assert client.renew()["code"] == "390114"


def test_connector_renews_by_itself(data: Path) -> None:
    with Sandbox("--data", data) as server, connect(server) as connection:
        server.expire_sessions()
        assert connection.cursor().execute("select 1").fetchone() == (1,)
        stats = server.stats()
        assert (stats["renewals"], stats["logins"]["password"]) == (1, 1)


def test_refusals() -> None:
    with Sandbox() as server:
        client = RawClient(server)
        client.login()
        assert server.request("POST", "/session/heartbeat", {})["code"] == "390103"
        assert client.post("/session/heartbeat", token="nonsense")["code"] == "390104"
        assert client.post("/session/token-request", token="nonsense")["code"] == "390115"
        assert server.stats()["sessions_open"] == 1
        assert client.post("/session?delete=true")["success"]
        assert client.query("select 1")["code"] == "390111"
        stats = server.stats()
        assert (stats["sessions_open"], stats["sessions_opened"], stats["sessions_closed"]) == (0, 1, 1)


def test_administration() -> None:
    with Sandbox() as server:
        client = RawClient(server)
        client.login()
        server.expire_masters()
        assert client.query("select 1")["code"] == "390112"
        assert client.renew()["code"] == "390114"
        client.login()
        server.kill_sessions()
        assert client.query("select 1")["code"] == "390111"
        paths = [r["path"] for r in server.requests()]
        assert paths.count("/session/v1/login-request") == 2
        assert "Signature" not in str(server.requests()) and client.token not in str(server.requests())
