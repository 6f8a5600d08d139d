# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What the files of deploy/ say: nobody is root, nothing can be written but what is named, and memory has an end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
DOCKERFILE = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))


def _lines(instruction: str) -> list[str]:
    return [line.split(" ", 1)[1] for line in DOCKERFILE.splitlines() if line.startswith(f"{instruction} ")]


def test_the_services():
    assert set(SERVICES) == {"orthanc", "label", "proxy"}


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert not any("docker.sock" in str(volume) for volume in service["volumes"])


@pytest.mark.parametrize("name", ["label", "proxy"])
def test_nobody_is_root(name):
    user, group = SERVICES[name]["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_one_door():
    """Only the proxy has a port, and the PACS without a login has no way out."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert SERVICES["orthanc"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["label"]["environment"]["MONAI_LABEL_AUTH_ENABLE"] == "true"


def test_the_proxy_listens_where_it_may():
    (_, inside), command = SERVICES["proxy"]["ports"][0].split(":"), SERVICES["proxy"]["command"][-1]
    assert int(inside) >= 1024
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for old, new in re.findall(r"s/([^/]+)/([^/]+)/", command):
        assert old in nginx
        nginx = nginx.replace(old, new)
    assert f"listen {inside} ssl;" in nginx
    assert "proxy_pass http://label:8000;" in nginx
    # what a file system that is read-only lets it write
    assert "/tmp/nginx.pid" in command
    assert [place.split(":")[0] for place in SERVICES["proxy"]["tmpfs"]] == ["/tmp", "/var/cache/nginx"]


def test_the_image():
    assert _lines("USER") == [SERVICES["label"]["user"]]
    # nothing is built as the user and nothing runs as root
    assert DOCKERFILE.rindex("RUN ") < DOCKERFILE.index("USER ")
    variables = dict(word.split("=", 1) for line in _lines("ENV") for word in line.split())
    volume = SERVICES["label"]["volumes"][0].split(":")[1]
    assert _lines("VOLUME") == [volume]
    written = ("HOME", "MONAI_CUAS_TMP", "MONAI_LABEL_DATASTORE_CACHE_PATH", "MONAI_LABEL_SESSION_PATH")
    assert all(variables[name].startswith(f"{volume}/") for name in written)
    assert "APP=${APP:-/data/app}" in (DEPLOY / "start.sh").read_text(encoding="utf-8")


def test_compose_and_image_have_one_health_check():
    (line,) = _lines("HEALTHCHECK")
    check = SERVICES["label"]["healthcheck"]
    assert json.loads(line.split("CMD ")[1]) == check["test"][1:]
    for option in ("interval", "timeout", "start_period", "retries"):
        assert f"--{option.replace('_', '-')}={check[option]}" in line
    assert SERVICES["proxy"]["depends_on"] == {"label": {"condition": "service_healthy"}}


@contextmanager
def _answering(status: int, text: str):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _check(port: int) -> tuple[int, str]:
    command = [sys.executable, str(DEPLOY / "healthcheck.py")]
    done = subprocess.run(command, env={**os.environ, "PORT": str(port)}, capture_output=True, text=True, timeout=30)
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (500, 1)])
def test_health_is_what_the_server_says(status, code):
    with _answering(status, '{"status": "so"}') as port:
        assert _check(port) == (code, '{"status": "so"}\n')


def test_a_server_that_is_gone_is_not_healthy():
    with _answering(200, "") as port:
        pass
    code, said = _check(port)
    assert code == 1
    assert "does not answer" in said
