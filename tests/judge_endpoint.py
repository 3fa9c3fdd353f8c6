"""An OpenAI-compatible endpoint on this machine that says what a test tells it to.

    with serving(lambda asked: reply("safe")) as server:
        ... server.url ...

The test's function is called for every request, in the server's threads, and answers with a Say.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request: its number from 0, path, headers in small letters, and body."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def last(self) -> str:
        """The last message, or the prompt."""
        messages = self.body.get("messages")
        return str(messages[-1]["content"] if messages else self.body["prompt"])


@dataclass(frozen=True)
class Say:
    """A status, a body and headers; drop: close the connection instead; delay: seconds before."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    delay: float = 0.0


def reply(text: str | None) -> Say:
    """A reply of a chat and of a completion alike."""
    choice = {"message": {"role": "assistant", "content": text}, "text": text}
    return Say(json.dumps({"choices": [choice]}).encode())


Answer = Callable[[Asked], Say]


@dataclass
class Server:
    """url: up to /v1. asked: every request so far; most: that were under way at once."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    most: int = 0
    under_way: int = 0


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    """An endpoint for as long as the context lasts."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(size))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                asked = Asked(len(server.asked), self.path, headers, body)
                server.asked.append(asked)
                server.under_way += 1
                server.most = max(server.most, server.under_way)
            try:
                self._say(answer(asked))
            finally:
                with lock:
                    server.under_way -= 1

        def _say(self, said: Say) -> None:
            time.sleep(said.delay)
            if said.drop:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that has gone is no news."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_address[1]}/v1")
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
