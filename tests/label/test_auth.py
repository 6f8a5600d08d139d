# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Tokens of a local OpenID Connect realm, against a real server."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

pytest.importorskip("monailabel", reason="needs monai_cuas[label] (docs/how-to/hospital.md)")

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

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


@pytest.mark.parametrize(
    "head",
    [
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/cert"},
        {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": ["a"]},
        {"kid": {"a": 1}},
        {"kid": "a" * 8000},
        {"alg": "None"},
        {"alg": ["RS256"]},
        {"alg": "RS256", "crit": ["exp"]},
    ],
)
def test_a_token_does_not_choose_its_key(server, realm, head):
    """What a header names, a key's place, the key itself, another algorithm, is neither asked for nor believed."""
    other = new_key()

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {"exp": int(time.time()) + 300, "iss": realm.uri, "realm_access": {"roles": [USER]}}
    signed = ".".join(b64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "RS256", **head}, claims))
    signature = other.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert ask(server, f"{signed}.{b64(signature)}").status_code == 401


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

    from monai_cuas.label import auth, keys

    clock = [1000.0]
    auth._provider.cache_clear()
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", realm.uri)
    monkeypatch.setattr(keys.time, "monotonic", lambda: clock[0])
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


class Provider:
    """A provider that tells its keys by a discovery document, several at once, and changes them."""

    def __init__(self) -> None:
        self.keys: dict[str, object] = {}
        self.asked = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages = {"/.well-known/openid-configuration": provider.about, "/keys": provider.jwks}
                page = pages.get(self.path)
                self.send_response(200 if page else 404)
                self.end_headers()
                self.wfile.write(json.dumps(page() if page else {}).encode())

            def log_message(self, *args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def about(self) -> dict:
        return {"issuer": self.uri, "jwks_uri": f"{self.uri}/keys"}

    def jwks(self) -> dict:
        self.asked += 1
        shown = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "alg": "RS256"}
            for kid, key in self.keys.items()
        ]
        unknown = [
            {"kty": "RSA", "kid": "enc", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"},
            {"kty": "new", "kid": "x"},
        ]
        secret = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "secret", "alg": "HS256"}
        return {"keys": [*unknown, *shown, secret]}

    def token(self, kid: str | None, key, **claims) -> str:
        payload = {"exp": int(time.time()) + 300, "iss": self.uri, "realm_access": {"roles": [USER]}, **claims}
        return jwt.encode(payload, key, "RS256", headers={"kid": kid} if kid else None)


@pytest.fixture
def provider(monkeypatch):
    from monailabel.config import settings

    from monai_cuas.label import auth

    made = Provider()
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", made.uri)
    auth._provider.cache_clear()
    yield made
    made.server.shutdown()


def test_keys_by_discovery_their_names_and_their_rotation(provider):
    from monai_cuas.label.auth import user_of

    one, two, three = new_key(), new_key(), new_key()
    provider.keys = {"one": one, "two": two}
    for kid, key in (("one", one), ("two", two), (None, two)):
        assert user_of(provider.token(kid, key)).roles == [USER]
    with pytest.raises(jwt.InvalidTokenError):
        user_of(provider.token("one", two))
    provider.keys = {"two": two, "three": three}
    asked = provider.asked
    # the wrong signature above has had the keys fetched again within this minute
    for _ in range(5):
        with pytest.raises(jwt.InvalidTokenError):
            user_of(provider.token("three", three))
    assert provider.asked == asked


def test_an_unknown_key_is_asked_for_once(provider):
    from monai_cuas.label.auth import user_of

    one, two = new_key(), new_key()
    provider.keys = {"one": one}
    assert user_of(provider.token("one", one)).roles == [USER]
    provider.keys = {"two": two}
    assert user_of(provider.token("two", two)).roles == [USER]
    with pytest.raises(jwt.InvalidTokenError):
        user_of(provider.token("one", one))
    assert provider.asked == 2


def test_a_secret_among_the_keys_signs_nothing(provider):
    from monai_cuas.label.auth import user_of

    provider.keys = {"one": new_key()}
    payload = {"exp": int(time.time()) + 300, "iss": provider.uri}
    with pytest.raises(jwt.InvalidTokenError):
        user_of(jwt.encode(payload, "s" * 32, "HS256", headers={"kid": "secret"}))


def test_a_provider_that_is_away_is_503(provider):
    from fastapi import HTTPException

    from monai_cuas.label.auth import user_of

    key = new_key()
    provider.server.shutdown()
    provider.server.server_close()
    with pytest.raises(HTTPException) as error:
        user_of(provider.token("one", key))
    assert error.value.status_code == 503


def test_only_this_machines_names_call_a_server_for_this_machine(server):
    answer = requests.get(f"{server.url}/health", headers={"Host": "evil.example"}, timeout=60)
    assert answer.status_code == 400
    port = server.url.rsplit(":", 1)[1]
    assert requests.get(f"{server.url}/health", headers={"Host": f"localhost:{port}"}, timeout=60).status_code == 200


def test_a_training_without_normal_scans_does_not_begin(server, realm):
    answer = ask(server, realm.token(USER, ANNOTATOR, ADMIN), "POST", "/train/cuas")
    assert answer.status_code == 409
    assert "0 subjects are marked normal" in answer.json()["detail"]


def test_what_is_temporary_lies_in_the_servers_own_folder(server, realm):
    (folder,) = (server.folder / "tmp").glob("monai_cuas-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert ask(server, realm.token(USER), "POST", "/infer/cuas?image=lesion&output=json").status_code == 200
    end = time.monotonic() + 20
    while list(folder.glob("cuas-*")) and time.monotonic() < end:
        time.sleep(0.1)  # it is removed behind the answer
    assert not list((server.folder / "tmp").glob("cuas-*"))
    assert not list(folder.glob("cuas-*"))


@pytest.mark.parametrize(
    ("words", "hosts"),
    [
        (["start_server", "--host", "127.0.0.1"], ["127.0.0.1", "localhost"]),
        (["start_server", "--host=127.0.0.1"], ["127.0.0.1", "localhost"]),
        (["start_server", "-i", "localhost"], ["127.0.0.1", "localhost"]),
        (["start_server", "--host", "0.0.0.0"], ["*"]),
        (["start_server", "--host=0.0.0.0"], ["*"]),
        (["start_server"], ["*"]),
    ],
)
def test_however_the_host_is_written(words, hosts, monkeypatch):
    from monai_cuas.label import server

    monkeypatch.setattr("sys.argv", ["monailabel", *words])
    monkeypatch.delenv(server.HOSTS_VARIABLE, raising=False)
    assert server._hosts() == hosts
    monkeypatch.setenv(server.HOSTS_VARIABLE, "pacs.local, 10.0.0.1")
    assert server._hosts() == ["pacs.local", "10.0.0.1"]
