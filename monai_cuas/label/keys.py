# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Keys of an OpenID Connect provider, by its discovery document; of a Keycloak without one, by its realm's page."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

import jwt
import requests
from cryptography.hazmat.primitives import serialization

__all__ = ["ALGORITHMS", "ProviderKeys"]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Only these: a token may not choose "none", or HMAC with the public key for a secret."""

_REFRESH_SECONDS = 60.0
_TIMEOUT_SECONDS = 10


class ProviderKeys:
    """
    The keys that a provider signs with, fetched when they are needed and again when a token names or needs another.

    A provider changes its keys now and then, so an unknown one makes them be fetched anew, at most once a minute:
    tokens of anybody's must not make the server ask the provider again and again.

    Args:
        uri: of the issuer or realm; ``/.well-known/openid-configuration`` below it is the discovery document.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._keys: list[tuple[str | None, Any]] = []
        self._refreshed = -_REFRESH_SECONDS
        self._lock = threading.Lock()

    def candidates(self, token: str) -> list[Any]:
        """
        Keys that a token may be signed with: that of its ``kid``, or all if it names none or the keys have no names.

        Raises:
            jwt.InvalidTokenError: if this is no token, or its key is not the provider's.
            requests.RequestException, ValueError, KeyError, jwt.PyJWKSetError: if the provider cannot be asked.
        """
        kid = jwt.get_unverified_header(token).get("kid")
        if not self._keys:
            self._keys = self._fetch()
        found = self._named(kid)
        if not found and self.refresh():
            found = self._named(kid)
        if not found:
            raise jwt.InvalidTokenError("The token's key is not the provider's.")
        return found

    def refresh(self) -> bool:
        """Fetch the keys again, unless that was done within the last minute; whether it was done."""
        with self._lock:
            if time.monotonic() - self._refreshed < _REFRESH_SECONDS:
                return False
            self._refreshed = time.monotonic()
            self._keys = self._fetch()
            return True

    def _named(self, kid: str | None) -> list[Any]:
        return [key for name, key in self._keys if kid is None or name is None or name == kid]

    def _fetch(self) -> list[tuple[str | None, Any]]:
        found = requests.get(f"{self.uri}/.well-known/openid-configuration", timeout=_TIMEOUT_SECONDS)
        if found.status_code == 404:
            return [(None, self._realm_key())]
        found.raise_for_status()
        answer = requests.get(str(found.json()["jwks_uri"]), timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        # keys of kinds that PyJWT does not know are passed over by it, as the standard asks
        keys = [key for key in jwt.PyJWKSet.from_dict(answer.json()).keys if key.public_key_use in (None, "sig")]
        signing = [(key.key_id, key.key) for key in keys if key.algorithm_name in ALGORITHMS]
        if not signing:
            raise ValueError("the provider has no key to sign with")
        return signing

    def _realm_key(self) -> Any:
        """``public_key`` of a Keycloak realm's page."""
        answer = requests.get(self.uri, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        return serialization.load_der_public_key(base64.b64decode(answer.json()["public_key"]))
