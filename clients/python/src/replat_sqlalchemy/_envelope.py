"""Envelopes: one published version of a context's routes, with the digest and the mac by which it is believed."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ._delta import read_delta
from ._errors import RoutesDamaged, WrongProject
from ._json import fields, parse_json
from ._routes import Routes, expect, read_routes

FORMAT: Final = 1
"""The layout of envelopes that is understood here."""
_MESSAGE: Final = b"replat-envelope-1\n"
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}\Z")
_HEADER: Final[dict[str, type]] = {
    "format": int,
    "project": str,
    "context": str,
    "version": int,
    "at": int,
    "digest": str,
}
_MAY: Final[dict[str, type]] = {"from": int, "mac": str}


@dataclass(frozen=True, slots=True)
class Envelope:
    """One version: whole routes if ``since`` is ``None``, else what changed since that version."""

    project: str
    context: str
    version: int
    since: int | None
    at: int
    """When it was published, by the publisher's clock. Unit: milliseconds since 1970."""
    body: str
    digest: str
    mac: str | None

    def message(self) -> bytes:
        """What digest and mac are computed over."""
        since = "" if self.since is None else str(self.since)
        parts = (self.project, self.context, str(self.version), since, str(self.at), self.body)
        encoded = (part.encode() for part in parts)
        return _MESSAGE + b"".join(b"%d:%s\n" % (len(part), part) for part in encoded)

    def check(self, project: str, context: str, key: bytes | None) -> None:
        """Refuses what is not this project's, this context's, and just as it was sealed."""
        try:
            message = self.message()
        except UnicodeEncodeError:
            raise RoutesDamaged("an envelope cannot be written in UTF-8") from None
        if not hmac.compare_digest(hashlib.sha256(message).hexdigest().encode(), self.digest.encode()):
            raise RoutesDamaged("an envelope's contents do not have its digest: it was cut off or changed")
        if (self.project, self.context) != (project, context):
            raise WrongProject(
                f"an envelope belongs to {self.project}/{self.context}, not to {project}/{context}"
            )
        if key is not None:
            if self.mac is None:
                raise RoutesDamaged("an envelope is not signed, and this project's routes are")
            signed = hmac.new(key, message, hashlib.sha256).digest()
            if not _HEX.match(self.mac) or not hmac.compare_digest(signed, bytes.fromhex(self.mac)):
                raise RoutesDamaged("an envelope is signed by another key than this project's")
        if self.since == 0 or (self.since or 0) >= self.version:
            raise RoutesDamaged(f"an envelope leads from version {self.since or 0} to version {self.version}")


def project_key(path: str | Path) -> bytes:
    """The project's key from its file: 64 hexadecimal digits."""
    text = Path(path).read_text(encoding="ascii", errors="replace").strip()
    if not _HEX.match(text):
        raise RoutesDamaged(f"{path} holds no key: 64 hexadecimal digits are expected")
    return bytes.fromhex(text)


def read_envelope(document: object) -> Envelope:
    """An envelope as a JSON object, with its body as a text in it."""
    return _envelope(fields(document, "an envelope", {**_HEADER, "body": str}, _MAY))


def stored_envelope(data: bytes) -> Envelope:
    """An envelope as registries store it: a line of JSON with all but the body, and then the body."""
    header, newline, body = data.partition(b"\n")
    if not newline:
        raise RoutesDamaged("a stored envelope's first line has no end")
    raw = fields(parse_json(header, "an envelope's first line"), "an envelope", _HEADER, _MAY)
    try:
        return _envelope({**raw, "body": body.decode()})
    except UnicodeDecodeError:
        raise RoutesDamaged("an envelope's body is not UTF-8") from None


def _envelope(raw: dict[str, Any]) -> Envelope:
    if raw["format"] != FORMAT:
        raise RoutesDamaged(f"an envelope's format is {raw['format']}, and this version knows {FORMAT}")
    names = ("project", "context", "version", "at", "body", "digest", "mac")
    return Envelope(since=raw["from"], **{name: raw[name] for name in names})


def seal(
    project: str,
    context: str,
    version: int,
    body: str,
    *,
    at: int,
    since: int | None = None,
    key: bytes | None = None,
) -> dict[str, Any]:
    """An envelope as a JSON object, for those who publish routes from Python, such as tests."""
    bare = Envelope(project, context, version, since, at, body, "", None)
    message = bare.message()
    document: dict[str, Any] = {
        "format": FORMAT,
        "project": project,
        "context": context,
        "version": version,
        "at": at,
        "body": body,
        "digest": hashlib.sha256(message).hexdigest(),
    }
    if since is not None:
        document["from"] = since
    if key is not None:
        document["mac"] = hmac.new(key, message, hashlib.sha256).hexdigest()
    return document


def advance(
    routes: Routes | None, envelope: Envelope, project: str, context: str, key: bytes | None
) -> Routes:
    """The routes after ``envelope``; the same ones if it is not newer."""
    envelope.check(project, context, key)
    have = 0 if routes is None else routes.version
    if envelope.version <= have:
        return _there(routes)
    body = parse_json(envelope.body, "the body of an envelope")
    if envelope.since is None:
        after = read_routes(body)
    else:
        if routes is None or envelope.since != have:
            raise RoutesDamaged(f"a delta goes on from version {envelope.since}, and version {have} is here")
        after = read_delta(body).after(routes)
    if after.version != envelope.version:
        raise RoutesDamaged(f"an envelope of version {envelope.version} holds version {after.version}")
    return expect(after, project, context)


def _there(routes: Routes | None) -> Routes:
    if routes is None:
        raise RoutesDamaged("versions count from 1")
    return routes


def read_document(data: bytes) -> Iterator[Envelope | Routes]:
    """What a file of routes holds: envelopes (one, a list, or one as stored), or bare routes without a digest."""
    first, newline, _ = data.partition(b"\n")
    head = _object_or_none(first) if newline else None
    if head is not None and "digest" in head and "body" not in head:
        yield stored_envelope(data)
        return
    document = parse_json(data, "the file of routes")
    if isinstance(document, dict) and "map" in document:
        yield read_routes(document)
        return
    for one in document if isinstance(document, list) else [document]:
        yield read_envelope(one)


def _object_or_none(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
