# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A realm that logs people in, as Keycloak does, and Apache with deploy/apache.conf before a server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlparse

import jwt
from cryptography.hazmat.primitives import serialization

from .test_auth import PUBLIC, new_key

APACHE_CONFIG = Path(__file__).parents[2] / "deploy" / "apache.conf"
CLIENT, SECRET = "monailabel", "not-secret-at-all"
FORM = '<form method=post><input name=user><input name=query type=hidden value="{}"><button>Log in</button></form>'


class LoginRealm:
    """OpenID Connect's authorization code flow with PKCE; ``roles`` says who there is."""

    def __init__(self, roles: dict[str, list[str]]) -> None:
        self.key, self.roles = new_key(), roles
        self.codes: dict[str, dict[str, str]] = {}
        realm = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body: str | dict, status: int = 200, **headers: str) -> None:
                kind = "text/html" if isinstance(body, str) else "application/json"
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                url = urlparse(self.path)
                pages = {"": realm.about, "/.well-known/openid-configuration": realm.metadata, "/certs": realm.certs}
                name = url.path.removeprefix("/realms/hospital")
                if name == "/auth":
                    self.answer(FORM.format(url.query.replace("&", "&amp;")))
                else:
                    self.answer(pages[name]() if name in pages else {}, 200 if name in pages else 404)

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(sent).items()}
                if self.path.startswith("/realms/hospital/auth"):
                    asked = {name: values[0] for name, values in parse_qs(form["query"]).items()}
                    self.answer("", 303, Location=realm.log_in(form["user"], asked))
                else:
                    answer = realm.exchange(form)
                    self.answer(answer or {"error": "invalid_grant"}, 200 if answer else 400)

            def log_message(self, *args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}/realms/hospital"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def about(self) -> dict:
        der = self.key.public_key().public_bytes(serialization.Encoding.DER, PUBLIC)
        return {"realm": "hospital", "public_key": base64.b64encode(der).decode()}

    def metadata(self) -> dict:
        return {
            "issuer": self.uri,
            **{
                f"{name}_endpoint": f"{self.uri}/{path}"
                for name, path in (("authorization", "auth"), ("token", "token"))
            },
            "jwks_uri": f"{self.uri}/certs",
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def certs(self) -> dict:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**key, "kid": "one", "use": "sig", "alg": "RS256"}]}

    def log_in(self, user: str, asked: dict[str, str]) -> str:
        code = secrets.token_urlsafe()
        self.codes[code] = {**asked, "user": user}
        return asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"]})

    def exchange(self, form: dict[str, str]) -> dict:
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or form.get("client_secret") != SECRET or asked["code_challenge"] != challenge:
            return {}
        now, user = int(time.time()), asked["user"]
        common = {"iss": self.uri, "sub": user, "iat": now, "exp": now + 600, "preferred_username": user}
        access = {**common, "realm_access": {"roles": self.roles.get(user, [])}}
        identity = {**common, "aud": CLIENT, "nonce": asked["nonce"]}
        tokens = {"access_token": access, "id_token": identity}
        signed = {n: jwt.encode(t, self.key, "RS256", headers={"kid": "one"}) for n, t in tokens.items()}
        return {**signed, "token_type": "Bearer", "expires_in": 600}


@contextlib.contextmanager
def apache(folder: Path, realm: LoginRealm, port: int) -> Iterator[Path]:
    """Apache on port 443 before the server on ``port``; gives its log. The port is the one change to the config."""
    for name in ("tls", "run"):
        (folder / name).mkdir()
    crt, key = folder / "tls" / "server.crt", folder / "tls" / "server.key"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*request, "-keyout", str(key), "-out", str(crt)], check=True, capture_output=True)
    (folder / "apache.conf").write_text(APACHE_CONFIG.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    environment = {
        **{"HOST": "127.0.0.1", "REALM": realm.uri, "CLIENT": CLIENT, "CLIENT_SECRET": SECRET},
        **{"PASSPHRASE": secrets.token_hex(), "TLS": str(folder / "tls"), "RUN": str(folder / "run")},
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    log = folder / "apache.log"
    with open(log, "w") as file:
        command = ["apache2", "-f", str(folder / "apache.conf"), "-DFOREGROUND"]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 443), 1):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield log
    finally:
        process.terminate()
        process.wait(20)
