# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Tokens of an OpenID Connect provider, checked as monailabel 0.8.5 means to but does not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jwt
import requests
from fastapi import HTTPException
from monailabel.config import settings
from monailabel.endpoints.user import auth

from .keys import ALGORITHMS, ProviderKeys

__all__ = ["AUDIENCE_VARIABLE", "ISSUER_VARIABLE", "install", "user_of"]

ISSUER_VARIABLE = "MONAI_CUAS_AUTH_ISSUER"
AUDIENCE_VARIABLE = "MONAI_CUAS_AUTH_AUDIENCE"


@lru_cache
def _provider(uri: str) -> ProviderKeys:
    return ProviderKeys(uri)


def _decode(token: str) -> dict[str, Any]:
    keys = _provider(settings.MONAI_LABEL_AUTH_REALM_URI)
    try:
        candidates = keys.candidates(token)
        try:
            return _verified(token, candidates)
        except jwt.InvalidSignatureError:
            # the provider may have a new key, of the same name or of none
            if not keys.refresh():
                raise
            return _verified(token, keys.candidates(token))
    except (requests.RequestException, jwt.PyJWKSetError, KeyError, ValueError):
        raise HTTPException(503, "The server cannot reach the provider that tokens are checked with.") from None


def _verified(token: str, keys: Sequence[Any]) -> dict[str, Any]:
    """What a token says, if one of the keys signed it."""
    audience = os.environ.get(AUDIENCE_VARIABLE) or None
    wrong: jwt.InvalidTokenError = jwt.InvalidSignatureError("no key")
    for key in keys:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                issuer=os.environ.get(ISSUER_VARIABLE) or settings.MONAI_LABEL_AUTH_REALM_URI,
                audience=audience,
                options={"require": ["exp", "iss"], "verify_aud": audience is not None},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            wrong = error
        except (jwt.InvalidKeyError, TypeError):  # a key of another kind than the token's algorithm
            wrong = jwt.InvalidSignatureError("another kind of key")
    raise wrong


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
        HTTPException: 503 if the provider cannot be reached.
    """
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        return auth.DEFAULT_USER
    payload = _decode(token)
    names = (settings.MONAI_LABEL_AUTH_TOKEN_USERNAME, settings.MONAI_LABEL_AUTH_TOKEN_EMAIL)
    name, email = (payload.get(n) for n in names)
    return auth.User(username=str(name or payload.get("sub", "unknown")), email=email, roles=_roles(payload))


def install() -> None:
    """Put the check in the place of MONAI Label's own, which refuses every token with PyJWT 2."""
    auth.from_token = user_of
