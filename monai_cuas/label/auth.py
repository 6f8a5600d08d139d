# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Tokens of an OpenID Connect realm, checked as monailabel 0.8.5 means to but does not."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import jwt
import requests
from fastapi import HTTPException
from monailabel.config import settings
from monailabel.endpoints.user import auth

__all__ = ["AUDIENCE_VARIABLE", "ISSUER_VARIABLE", "install", "user_of"]

logger = logging.getLogger(__name__)

ISSUER_VARIABLE = "MONAI_CUAS_AUTH_ISSUER"
AUDIENCE_VARIABLE = "MONAI_CUAS_AUTH_AUDIENCE"
_REFRESH_SECONDS = 60.0
_last_refresh = -_REFRESH_SECONDS


def _key() -> str:
    try:
        return str(auth.get_public_key(settings.MONAI_LABEL_AUTH_REALM_URI))
    except (requests.RequestException, KeyError, ValueError):
        raise HTTPException(503, "The server cannot reach the realm that tokens are checked with.") from None


def _decode(token: str) -> dict[str, Any]:
    audience = os.environ.get(AUDIENCE_VARIABLE) or None
    return jwt.decode(
        token,
        _key(),
        # Only these: a token may not choose "none", or HMAC with the public key for a secret.
        algorithms=["RS256", "RS384", "RS512"],
        issuer=os.environ.get(ISSUER_VARIABLE) or settings.MONAI_LABEL_AUTH_REALM_URI,
        audience=audience,
        options={"require": ["exp", "iss"], "verify_aud": audience is not None},
    )


def _forget_key() -> bool:
    """Let the key be fetched again, as the realm may have a new one; at most once a minute."""
    global _last_refresh
    if time.monotonic() - _last_refresh < _REFRESH_SECONDS:
        return False
    _last_refresh = time.monotonic()
    auth.get_public_key.cache.clear()
    return True


def _roles(payload: dict[str, Any]) -> list[str]:
    value: Any = payload
    for name in settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#"):
        value = value.get(name) if isinstance(value, dict) else None
    return [str(role) for role in value] if isinstance(value, list) else []


def user_of(token: str) -> auth.User:
    """
    The user of a token: signature, issuer, time of expiry and (if set) audience are checked.

    Raises:
        jwt.InvalidTokenError: if the token is not valid; MONAI Label answers 401.
        HTTPException: 503 if the realm cannot be reached.
    """
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        return auth.DEFAULT_USER
    try:
        payload = _decode(token)
    except jwt.InvalidSignatureError:
        if not _forget_key():
            raise
        payload = _decode(token)
    names = (settings.MONAI_LABEL_AUTH_TOKEN_USERNAME, settings.MONAI_LABEL_AUTH_TOKEN_EMAIL)
    name, email = (payload.get(n) for n in names)
    return auth.User(username=str(name or payload.get("sub", "unknown")), email=email, roles=_roles(payload))


def install() -> None:
    """Put the check in the place of MONAI Label's own, which refuses every token with PyJWT 2."""
    auth.from_token = user_of
