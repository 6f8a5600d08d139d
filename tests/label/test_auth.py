# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Tokens of a local OpenID Connect realm, against a real server."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from monai_cuas.label.install import write_app

from . import scans
from .server_process import running

PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
USER, ANNOTATOR, ADMIN = (f"monailabel-{role}" for role in ("user", "annotator", "admin"))


def new_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, PUBLIC)


class Realm:
    """What Keycloak answers at the address of a realm, and a way to sign tokens in its name."""

    def __init__(self) -> None:
        self.key = new_key()
        realm = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                der = realm.key.public_key().public_bytes(serialization.Encoding.DER, PUBLIC)
                body = json.dumps({"realm": "hospital", "public_key": base64.b64encode(der).decode()}).encode()
                self.send_response(200 if self.path == "/realms/hospital" else 404)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}/realms/hospital"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, *roles: str, key=None, algorithm: str = "RS256", without: tuple = (), **claims) -> str:
        payload = {
            **{"exp": int(time.time()) + 300, "iss": self.uri, "preferred_username": "reader"},
            **{"realm_access": {"roles": list(roles)}},
            **claims,
        }
        payload = {name: value for name, value in payload.items() if name not in without}
        return jwt.encode(payload, key or self.key, algorithm)


@pytest.fixture(scope="module")
def realm():
    made = Realm()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def server(realm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("auth")
    (folder / "studies").mkdir()
    scans.save(folder / "studies" / "lesion.nii.gz", scans.brain())
    environment = {"MONAI_LABEL_AUTH_ENABLE": "true", "MONAI_LABEL_AUTH_REALM_URI": realm.uri}
    with running(folder, write_app(folder / "app"), str(folder / "studies"), **environment) as started:
        yield started


def ask(server, token: str | None, method: str = "GET", path: str = "/info/", **kwargs):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return requests.request(method, server.url + path, headers=headers, timeout=60, **kwargs)


def test_valid_expired_forged_missing_and_without_role(server, realm):
    assert ask(server, realm.token(USER)).status_code == 200
    assert ask(server, realm.token(USER, exp=int(time.time()) - 5)).status_code == 401
    assert ask(server, realm.token(USER, key=new_key())).status_code == 401
    assert ask(server, None).status_code == 401
    assert ask(server, realm.token("something-else")).status_code == 403


def hmac_with_the_public_key(realm) -> str:
    """The known trick: the public key as the secret of a symmetric signature. PyJWT will not even make it."""
    import hashlib
    import hmac

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {"exp": int(time.time()) + 300, "iss": realm.uri, "realm_access": {"roles": [USER]}}
    head = b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()) + "." + b64(json.dumps(claims).encode())
    return head + "." + b64(hmac.new(pem(realm.key), head.encode(), hashlib.sha256).digest())


def test_other_forgeries(server, realm):
    bad = {
        "none": jwt.encode({"exp": int(time.time()) + 300, "iss": realm.uri}, None, "none"),
        "hmac": hmac_with_the_public_key(realm),
        "garbage": "x.y.z",
        "another issuer": realm.token(USER, iss="http://127.0.0.1/realms/other"),
        "never expires": realm.token(USER, without=("exp",)),
        "no issuer": realm.token(USER, without=("iss",)),
        "not yet valid": realm.token(USER, nbf=int(time.time()) + 100),
    }
    assert {name: ask(server, token).status_code for name, token in bad.items()} == dict.fromkeys(bad, 401)


def test_claims_of_another_shape_are_no_role(server, realm):
    for access in (None, [], "monailabel-user", {"roles": None}, {"roles": "monailabel-user"}):
        assert ask(server, realm.token(realm_access=access)).status_code == 403


def test_each_route_asks_for_its_role(server, realm):
    user, annotator = realm.token(USER), realm.token(USER, ANNOTATOR)
    answer = ask(server, user, "POST", "/infer/cuas?image=lesion&output=json")
    assert answer.status_code == 200
    assert answer.json()["scan_score"] > 0
    routes = {
        ("POST", "/infer/cuas?image=lesion"): USER,
        ("GET", "/datastore/"): USER,
        ("GET", "/datastore/image?image=lesion"): USER,
        ("POST", "/activelearning/most_anomalous"): USER,
        ("GET", "/train/"): USER,
        ("GET", "/ohif/"): USER,
        ("GET", "/proxy/dicom/qido/studies"): USER,
        ("PUT", "/datastore/image"): ANNOTATOR,
        ("PUT", "/datastore/label?image=lesion"): ANNOTATOR,
        ("POST", "/scoring/scan_score"): ANNOTATOR,
        ("POST", "/train/cuas"): ADMIN,
        ("DELETE", "/datastore/image?id=lesion"): ADMIN,
        ("GET", "/logs/"): ADMIN,
    }
    for (method, path), role in routes.items():
        files = {"file": ("a.nii.gz", b"x"), "label": ("a.nii.gz", b"x")} if method == "PUT" else None
        assert ask(server, None, method, path, files=files).status_code == 401, path
        refused = realm.token("other") if role == USER else user if role == ANNOTATOR else annotator
        assert ask(server, refused, method, path, files=files).status_code == 403, path


def test_who_may_only_read_saves_no_label(server, realm):
    reader, annotator = realm.token(USER), realm.token(USER, ANNOTATOR)
    form = {"data": {"params": json.dumps({"save_label": True, "min_component_ml": 3000, "label_tag": "second"})}}
    path = "/infer/cuas?image=lesion&output=json"
    assert ask(server, reader, "POST", path, **form).status_code == 403
    final = {"data": {"params": json.dumps({"save_label": True, "label_tag": "final"})}}
    assert ask(server, reader, "POST", path, **final).status_code == 400
    assert ask(server, annotator, "POST", path, **final).status_code == 400
    assert ask(server, annotator, "POST", path, **form).status_code == 200
    told = ask(server, annotator, "GET", "/datastore/label/info?label=lesion&tag=second").json()
    assert told["by"] == "model"
    assert told["user"]


def test_what_stays_open(server):
    """Each route that answers without a token is named here, and in docs/how-to/hospital.md."""
    open_routes = {"/health", "/auth/"}
    closed = {
        "/static/ohif/index.html",
        "/ohif/",
        "/ohif/app-config.js",
        "/openapi.json",
        "/docs",
        "/redoc",
        "/",
        "/info/",
        "/model/info/cuas",
        "/session/x",
        "/batch/infer",
    }
    answers = {path: ask(server, None, path=path).status_code for path in open_routes | closed}
    assert {path for path, status in answers.items() if status == 200} <= open_routes
    assert {answers[path] for path in closed} <= {401, 404}
    assert answers["/health"] == answers["/auth/"] == 200


def test_a_new_key_of_the_realm_is_fetched_once_a_minute(realm, monkeypatch):
    from monailabel.config import settings

    from monai_cuas.label import auth

    clock = [1000.0]
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", realm.uri)
    monkeypatch.setattr(auth.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(auth, "_last_refresh", 0.0)
    old_key, old = realm.key, realm.token(USER)
    assert auth.user_of(old).roles == [USER]
    realm.key = new_key()
    try:
        assert auth.user_of(realm.token(USER)).username == "reader"
        with pytest.raises(jwt.InvalidTokenError):
            auth.user_of(old)
        realm.key = new_key()
        with pytest.raises(jwt.InvalidTokenError):
            auth.user_of(realm.token(USER))
        clock[0] += 61
        assert auth.user_of(realm.token(USER)).roles == [USER]
    finally:
        realm.key = old_key


def test_no_token_in_the_log(server, realm):
    token = realm.token(USER)
    assert ask(server, token).status_code == 200
    text = server.log.read_text() + (server.folder / "app" / "logs" / "app.log").read_text()
    assert token not in text
    assert token.split(".")[2] not in text
