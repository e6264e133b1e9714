"""The gate before the routes: who may ask, under what name the server is called, how much is read."""

import asyncio
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vecspeak.serve.failures import Failure
from vecspeak.serve.limits import Limits

OPEN_PATHS = ("/health", "/assets/")
"""Beside the page itself; they tell nothing of the space."""

HEADERS = {
    # the map's WebGL library compiles its draw calls with Function()
    "content-security-policy": "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    token: str | None = None
    """Bearer token of every request; None where everybody may who reaches the port."""
    hosts: Collection[str] | None = None
    """Names the server answers to, None for any. On loopback without a token a page of another site could otherwise
    reach it under a name of its own that it lets point to 127.0.0.1 (DNS rebinding)."""


class Guard:
    """ASGI middleware. The body is counted as it arrives, so that no more than the limit is ever held.

    FastAPI's own `max_body_size` answers in plain text, not in the shape of the API's errors.
    """

    def __init__(self, app: ASGIApp, *, access: Access, limits: Limits) -> None:
        self.app = app
        self.access = access
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        failure = self._stranger(headers) or self._unknown(scope["path"], headers) or self._announced(headers)
        app = failure.response if failure else self.app
        await app(scope, self._counted(receive), _with_headers(send))

    def _stranger(self, headers: Headers) -> Failure | None:
        if self.access.hosts is None or host_name(headers.get("host", "")) in self.access.hosts:
            return None
        return Failure(403, "This server answers to localhost only. Start it with a token to use another name.")

    def _unknown(self, path: str, headers: Headers) -> Failure | None:
        if self.access.token is None or path == "/" or path.startswith(OPEN_PATHS):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        known = secrets.compare_digest(given.strip().encode("latin-1", "replace"), self.access.token.encode())
        if scheme.lower() == "bearer" and known:
            return None
        message = "The bearer token is missing or wrong. Send the header `Authorization: Bearer TOKEN`."
        told = {"www-authenticate": "Bearer"}
        return Failure(401, message, kind="authentication_error", code="invalid_api_key", headers=told)

    def _announced(self, headers: Headers) -> Failure | None:
        length = headers.get("content-length", "0")
        return self._too_large() if length.isdecimal() and int(length[:20]) > self.limits.body_bytes else None

    def _too_large(self) -> Failure:
        message = f"The body is larger than {self.limits.body_bytes:,} bytes. Send fewer or shorter parts."
        return Failure(413, message, code="body_too_large", headers={"connection": "close"})

    def _counted(self, receive: Receive) -> Receive:
        size, whole, deadline = 0, False, 0.0

        async def counted() -> Message:
            nonlocal size, whole, deadline
            if whole:  # from here on the server only tells that the client has gone
                return await receive()
            deadline = deadline or asyncio.get_running_loop().time() + self.limits.body_seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body did not arrive in time. Send it again.") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self.limits.body_bytes:
                failure = self._too_large()
                raise HTTPException(413, str(failure), failure.headers)
            return message

        return counted


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
