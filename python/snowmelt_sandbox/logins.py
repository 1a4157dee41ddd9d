"""Login requests: which method was used, and whether it is accepted."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from snowmelt_sandbox import errors
from snowmelt_sandbox.errors import ServerError
from snowmelt_sandbox.sessions import SessionStore
from snowmelt_sandbox.settings import Settings
from snowmelt_sandbox.sso import SsoBroker

_JWT_INVALID = ("390144", "JWT token is invalid.")
_MFA_DENIED = ("390120", "Duo Security authentication is denied.")
_PASSCODE_INVALID = ("390127", "Invalid MFA passcode.")
_OAUTH_INVALID = ("390303", "Invalid OAuth access token.")
_OAUTH_EXPIRED = ("390318", "OAuth access token expired.")
_PAT_INVALID = ("394400", "Programmatic access token is invalid.")
_SAML_INVALID = ("390133", "SAML response is invalid or matching user is not found.")


@dataclass
class LoginCheck:
    """Decides about one login's credentials."""

    settings: Settings
    store: SessionStore
    sso: SsoBroker
    mfa_tokens: set[str] = field(default_factory=set)

    @staticmethod
    def kind(data: dict[str, Any]) -> str:
        """The method, told by the fields alone: Go sends no AUTHENTICATOR for several of them."""
        word = str(data.get("AUTHENTICATOR") or "").upper()
        named = {
            "EXTERNALBROWSER": "externalbrowser", "ID_TOKEN": "id_token", "SNOWFLAKE_JWT": "keypair", "OAUTH": "oauth",
            "PROGRAMMATIC_ACCESS_TOKEN": "pat", "WORKLOAD_IDENTITY": "wif", "USERNAME_PASSWORD_MFA": "mfa",
        }  # fmt: skip
        if word in named:
            return named[word]
        if data.get("RAW_SAML_RESPONSE"):
            return "okta"
        wants_token = (data.get("SESSION_PARAMETERS") or {}).get("CLIENT_REQUEST_MFA_TOKEN") is True
        if data.get("PASSCODE") or data.get("EXT_AUTHN_DUO_METHOD") or data.get("TOKEN") or wants_token:
            return "mfa"
        return "password"

    def user_of(self, data: dict[str, Any], kind: str) -> str:
        """The user's name; a key-pair login from Go carries it in the token only."""
        if data.get("LOGIN_NAME"):
            return str(data["LOGIN_NAME"])
        if kind == "keypair":
            return str(_claims(data.get("TOKEN"), None).get("sub", "")).rpartition(".")[2]
        return self.settings.credentials.user

    def verify(self, data: dict[str, Any], kind: str, user: str) -> None:
        """Raises the refusal of the real server when the credentials are wrong."""
        if kind == "externalbrowser":
            self.sso.redeem(str(data.get("TOKEN") or ""), str(data.get("PROOF_KEY") or ""))
            return
        if kind == "id_token":
            self.store.check_id_token(str(data.get("TOKEN") or ""), user)
            return
        accepted = self.settings.credentials
        if accepted.accept_any:
            return
        token = str(data.get("TOKEN") or "")
        known_user = user.upper() == accepted.user.upper()
        if kind in {"password", "mfa"}:
            if not known_user or (data.get("PASSWORD") != accepted.password and token not in self.mfa_tokens):
                raise ServerError(errors.WRONG_PASSWORD, "08004")
            if kind == "mfa" and token not in self.mfa_tokens:
                if accepted.deny_mfa:
                    raise ServerError(_MFA_DENIED, "08004")
                if data.get("PASSCODE") not in (None, accepted.passcode):
                    raise ServerError(_PASSCODE_INVALID, "08004")
        elif kind == "keypair":
            self._verify_jwt(token, user)
        elif kind == "oauth" and token != accepted.oauth_token:
            raise ServerError(_OAUTH_EXPIRED if token.startswith("expired") else _OAUTH_INVALID, "08004")
        elif kind == "pat" and (token != accepted.pat or not known_user):
            raise ServerError(_PAT_INVALID, "08004")
        elif kind == "wif" and not (token and data.get("PROVIDER")):
            raise ServerError(errors.WRONG_PASSWORD, "08004")
        elif kind == "okta" and "SAMLResponse" not in str(data["RAW_SAML_RESPONSE"]):
            raise ServerError(_SAML_INVALID, "08004")

    def issue_mfa_token(self) -> str:
        token = "mfa:" + secrets.token_urlsafe(32)
        self.mfa_tokens.add(token)
        return token

    def _verify_jwt(self, token: str, user: str) -> None:
        path = self.settings.credentials.public_key
        key = serialization.load_pem_public_key(path.read_bytes()) if path else None
        claims = _claims(token, key)
        issuer = str(claims.get("iss", ""))
        if user.upper() != self.settings.credentials.user.upper() or "SHA256:" not in issuer:
            raise ServerError(_JWT_INVALID, "08004")
        if key is not None:
            der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            if not issuer.endswith("SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()):
                raise ServerError(_JWT_INVALID, "08004")


def _claims(token: Any, key: Any) -> dict[str, Any]:
    """A JWT's claims. Without a configured key the signature cannot be checked; form and times are."""
    checks = {"verify_signature": key is not None, "verify_exp": True, "require": ["iss", "sub", "exp", "iat"]}
    try:
        return jwt.decode(str(token or ""), key, algorithms=["RS256", "ES256"], options=checks, leeway=10)
    except jwt.PyJWTError:
        raise ServerError(_JWT_INVALID, "08004") from None
