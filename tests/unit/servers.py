"""An endpoint of our own over a real socket, which sends whatever bytes a test wants, and requests to it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable

from evalkit.backends.openai import OpenAiBackend
from evalkit.types import Message, Request, Response

Handle = Callable[[int, dict[str, object], asyncio.StreamWriter], Awaitable[object]]


def reply(content: object = "Hello", status: str = "200 OK", *headers: str, model: str = "m") -> bytes:
    """Return a reply that repeats `content`, or whose body is `content` where that is bytes."""
    if not isinstance(content, bytes):
        choice = {"message": {"content": content}, "text": content, "finish_reason": "stop"}
        content = json.dumps({"choices": [choice], "model": model}, ensure_ascii=False).encode()
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]).encode() + content


class Server:
    """An endpoint of our own in a thread: counts its requests, and sends whatever bytes `handle` writes."""

    def __init__(self, handle: Handle, port: int = 0) -> None:
        self.handle, self.count, self.flying, self.most = handle, 0, 0, 0
        self.loop: asyncio.AbstractEventLoop
        self.end: asyncio.Event
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run(port, ready)), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    async def _run(self, port: int, ready: threading.Event) -> None:
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self.end.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-length"))
                asked = json.loads(await reader.readexactly(length))
                self.count, self.flying = self.count + 1, self.flying + 1
                self.most = max(self.most, self.flying)
                try:
                    await self.handle(self.count, {**asked, "head": head}, writer)
                    await writer.drain()
                finally:
                    self.flying -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def model(self) -> str:
        return f"openai:http://127.0.0.1:{self.port}/v1#m"

    def close(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.end.set)
            self.thread.join(10)


def requests(count: int = 1) -> list[Request]:
    return [Request(f"q{i}", messages=(Message("user", f"Question {i}?"),)) for i in range(count)]


def ask(server: Server, count: int = 1, **limits: float) -> list[Response]:
    backend = OpenAiBackend(server.model.partition(":")[2], **limits)  # type: ignore[arg-type]  # int or float by name
    return list(backend.respond(requests(count)))


async def echo(number, asked, writer):
    writer.write(reply("a" + asked["messages"][-1]["content"][9:-1]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
