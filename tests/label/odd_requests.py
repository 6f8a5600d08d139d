# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Requests that are wrong in every place that the description of the routes names, one thing at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

TIMEOUT = 30.0
LETTERS = 256 * "x"

# as they stand in an address: percent signs are escapes already
IN_ADDRESS = [
    *("", "%00", "a%00b", LETTERS, 5000 * "y", "%FF%FE", "%C3%28", "%ED%A0%80", "..%2Fx", "%0d%0aX:1", "%E2%80%AE"),
    *("1e400", "-1", "NaN", "9" * 400, "9" * 5000, "true", "null", "%7B%7D", "a,b", ":", "MD5:", "x:y:z"),
    *("SHA256:00", "%F0%9F%98%80", "a%2Fb", "%25s", "*", "%20", ".", "-", "0"),
]

_DEEP = 20_000
_VALUES = [
    *("1e400", "-1e400", "NaN", "Infinity", "9" * 400, "9" * 5000, "null", "true", '""', '"x"', "[]", "{}", "[[[]]]"),
    *('"\\u0000"', '"\\ud800"', '"' + LETTERS + '"', "-1", "0", "1.5", '{"a": {"b": []}}', '["\\ud800", 1, null]'),
    *("[" * _DEEP + "]" * _DEEP, '{"a":' * _DEEP + "1" + "}" * _DEEP),
]
_INSIDE = ["1e400", "NaN", "9" * 5000, "null", '""', "-1", "1.5", '{"a": {"b": []}}', '["\\ud800", 1, null]']
_NAMES = [
    *("seconds", "rate", "threshold", "min_component_ml", "result_extension", "result_compress", "save_label"),
    *("label_tag", "label_info", "anomaly_map", "images", "max_batch_size", "max_epochs", "pretrained", "client_id"),
    *("cuas", "model", "shape", "user", "ts", "name", "monai_cuas", "strategy", "\\u0000", "\\ud800", ""),
]
WHOLE = [
    *(value.encode() for value in _VALUES),
    *(b"", b"{", b"\xff\xfe{}", b"\x1f\x8b\x08", b"\xef\xbb\xbf{}", b"{}{}", b"{'a': 1}"),
    *(f'{{"{name}": {value}}}'.encode() for name in _NAMES for value in _INSIDE),
]

FILE_NAMES = [
    *("", "a.nii.gz", "a\x00.nii.gz", f"{LETTERS}.nii.gz", "../../a.nii.gz", "a.nii", "a.nrrd", "label.bin"),
    *("é\udcff.nii", ".nii.gz", "a.zip", "/etc/passwd", "a\r\nb.nii.gz", "CON.nii", "meta.info"),
]
CONTENTS = [b"", b"x", b"\x00" * 400, b"\x1f\x8b\x08\x00", b"NRRD0004\n\n", b"\x5c\x01\x00\x00" + b"\xff" * 400]

CONTENT_TYPES = [
    *("", "text/plain", "application/json; charset=utf-16", "application/json; charset=nonsense", "application/xml"),
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + 300 * "b"),
    *("application/x-www-form-urlencoded", "x" * 2000, "multipart/form-data; boundary=\xe9", "application/json/json"),
]


@dataclass
class Odd:
    """One request: ``what`` tells where it is wrong."""

    method: str
    address: str
    what: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, url: str) -> requests.Response:
        """
        Raises:
            requests.Timeout: if the server does not answer.
        """
        prepared = requests.Request(self.method, url, data=self.body, headers=self.headers).prepare()
        # requests would mend the address
        prepared.url = url + self.address
        with requests.Session() as session:
            return session.send(prepared, timeout=TIMEOUT, allow_redirects=False)


def form(parts: list[tuple[str, str | None, bytes]], boundary: str = "b0") -> tuple[bytes, dict[str, str]]:
    """A multipart body of (name, file name or None, content), which no library has put in order."""
    body = b""
    for name, file_name, content in parts:
        said = f'form-data; name="{name}"' + ("" if file_name is None else f'; filename="{file_name}"')
        head = f"--{boundary}\r\nContent-Disposition: {said}\r\n\r\n"
        body += head.encode("utf-8", "surrogateescape") + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def _fields(schema: dict[str, Any], body: dict[str, Any]) -> dict[str, bool]:
    """Fields of a form, and whether each is a file."""
    part = body["content"].get("multipart/form-data") or body["content"].get("application/x-www-form-urlencoded") or {}
    named = part.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
    properties = schema["components"]["schemas"].get(named, {}).get("properties", {})
    return {
        name: any(word in json.dumps(said) for word in ("binary", "octet-stream")) for name, said in properties.items()
    }


def odd_requests(schema: dict[str, Any], usual: dict[str, str]) -> Iterator[Odd]:
    """
    Requests to every route of a description.

    Args:
        schema: OpenAPI, as a dictionary.
        usual: a right value of parameters by name, which the others of a request have; those not named are left out
            if they may be, or are "x".
    """
    for path, methods in sorted(schema["paths"].items()):
        for method, operation in sorted(methods.items()):
            yield from _of_route(schema, path, method.upper(), operation, usual)


def _address(path: str, given: dict[str, str], places: dict[str, str]) -> str:
    for name, place in places.items():
        if place == "path":
            path = path.replace("{" + name + "}", given[name])
    return path + "?" + "&".join(f"{n}={v}" for n, v in given.items() if places[n] == "query")


def _of_route(
    schema: dict[str, Any], path: str, method: str, operation: dict[str, Any], usual: dict[str, str]
) -> Iterator[Odd]:
    parameters = operation.get("parameters", [])
    places = {p["name"]: p["in"] for p in parameters}
    given = {p["name"]: usual.get(p["name"], "x") for p in parameters if p.get("required") or p["name"] in usual}
    where = f"{method} {path}"
    yield Odd(method, _address(path, given, places), where)
    yield Odd("PATCH", _address(path, given, places), f"PATCH {path}")
    for name in places:
        for value in IN_ADDRESS:
            yield Odd(method, _address(path, {**given, name: value}, places), f"{where} {name}={value[:30]}")
    body = operation.get("requestBody")
    if body is None:
        return
    address = _address(path, given, places)
    for kind in CONTENT_TYPES:
        for content in (b"", b"{}", b"--b0\r\n"):
            yield Odd(method, address, f"{where} of type {kind[:40]!r}", content, {"Content-Type": kind})
    if "application/json" in body["content"]:
        for content in WHOLE:
            yield Odd(method, address, f"{where} {content[:40]!r}", content, {"Content-Type": "application/json"})
        return
    yield from _of_form(where, method, address, _fields(schema, body))


def _of_form(where: str, method: str, address: str, fields: dict[str, bool]) -> Iterator[Odd]:
    files = [name for name, is_file in fields.items() if is_file]
    good = [(name, "a.nii.gz", b"x") for name in files]
    for name in (name for name, is_file in fields.items() if not is_file):
        for content in WHOLE:
            yield Odd(method, address, f"{where} {name}={content[:40]!r}", *form([*good, (name, None, content)]))
        yield Odd(method, address, f"{where} {name} twice", *form([*good, (name, None, b"{}"), (name, None, b"{}")]))
        yield Odd(method, address, f"{where} {name} as a file", *form([*good, (name, "p.json", b"{}")]))
    for name in files:
        others = [part for part in good if part[0] != name]
        named = [(file_name, content) for file_name in FILE_NAMES for content in CONTENTS[:2]]
        known = ("a.nii.gz", "a.nii", "a.nrrd", "label.bin")
        for file_name, content in [*named, *((known_name, content) for known_name in known for content in CONTENTS)]:
            what = f"{where} {name}: {file_name[:40]!r} {content[:20]!r}"
            yield Odd(method, address, what, *form([*others, (name, file_name, content)]))
        yield Odd(method, address, f"{where} {name} as text", *form([*others, (name, None, b"x")]))
        whole, headers = form([*others, (name, "a.nii.gz", 4000 * b"x")])
        yield Odd(method, address, f"{where} {name} cut off", whole[: len(whole) // 2], headers)
    many = [(f"f{n}", None, b"") for n in range(1100)]
    yield Odd(method, address, f"{where} with many fields", *form([*good, *many]))


def failures(
    url: str, schema: dict[str, Any], usual: dict[str, str], secret: str, bodies: bool = True
) -> tuple[int, list[str]]:
    """
    Send them all.

    Args:
        url: of the server.
        schema, usual: see :func:`odd_requests`.
        secret: what no answer may hold, such as a folder of the server.
        bodies: False: those alone that are odd in their address.

    Returns:
        How many there were, and those that ended with a failure of the server, no answer, or told the secret.
    """
    wrong, count = [], 0
    for odd in odd_requests(schema, usual):
        if odd.body and not bodies:
            continue
        count += 1
        try:
            answer = odd.send(url)
        except (requests.RequestException, UnicodeError) as error:
            wrong.append(f"{odd.what}: {type(error).__name__} {str(error)[:100]}")
            continue
        # the log is for who runs the server
        told = not odd.address.startswith("/logs/") and ("Traceback" in answer.text or secret in answer.text)
        if answer.status_code >= 500 or told:
            wrong.append(f"{odd.what}: {answer.status_code} {answer.text[:150]}")
    return count, wrong
