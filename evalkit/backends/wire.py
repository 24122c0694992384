"""The edge to HTTP: one request out, one reply back, within limits of time and size. Knows not what they mean."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from functools import cache
from typing import Any, Self

import httpx

from evalkit.backends.endpoint import Reply
from evalkit.backends.secret import Secret
from evalkit.jsonl import dump

CONNECT = 10.0
"""Seconds for a connection to be made."""
LARGEST = 16 * 2**20
"""Bytes of a body that are read at most."""


class Unanswered(Exception):
    """No whole reply came, and why; `slow` where time ran out."""

    def __init__(self, reason: str, *, slow: bool = False) -> None:
        super().__init__(reason)
        self.slow = slow


class Wire:
    """Connections to one endpoint, open while a batch is asked; redirects are not followed, cookies are not kept."""

    def __init__(self, base: str, key: Secret | None, seconds: float) -> None:
        """Speak to `base` with a key; a request may take `seconds` in all."""
        self.base, self.seconds = base, seconds
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", "User-Agent": "evalkit"}
        if key:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(seconds, connect=min(CONNECT, seconds)),
            limits=httpx.Limits(max_connections=None),
            verify=_certificates(),
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        """Return the wire."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def post(self, path: str, payload: dict[str, Any]) -> Reply:
        """Post JSON and return the reply, of whatever status.

        Raises:
            Unanswered: no whole reply within the time.
        """
        try:
            async with asyncio.timeout(self.seconds):
                sending = self._client.stream("POST", self.base + path, content=dump(payload).encode())
                async with sending as response:
                    return await _read(response)
        except httpx.ConnectTimeout:
            raise Unanswered(f"no connection within {min(CONNECT, self.seconds):g} s") from None
        except (TimeoutError, httpx.TimeoutException):
            raise Unanswered(f"no whole reply within {self.seconds:g} s", slow=True) from None
        except (httpx.TransportError, OSError) as fault:
            raise Unanswered(_reason(fault)) from None


async def _read(response: httpx.Response) -> Reply:
    """Read a body as it comes; what is packed or too large is left unread."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    packed = headers.get("content-encoding", "identity")
    if packed != "identity":
        return Reply(response.status_code, headers, fault=f"the reply is packed ({packed}), which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LARGEST:
            return Reply(response.status_code, headers, fault=f"the reply is larger than {LARGEST:,} bytes")
    return Reply(response.status_code, headers, bytes(body))


def _reason(fault: BaseException) -> str:
    """Return what the system says at the root of a failure, else what the client says."""
    root: BaseException | None = fault
    while root is not None:
        if isinstance(root, socket.gaierror | ssl.SSLError) and root.strerror:
            return root.strerror
        if isinstance(root, OSError) and root.errno:
            return os.strerror(root.errno)
        root = root.exceptions[0] if isinstance(root, BaseExceptionGroup) else root.__cause__ or root.__context__
    return str(fault) or type(fault).__name__


@cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()
