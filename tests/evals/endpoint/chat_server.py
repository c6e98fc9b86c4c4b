"""A judge or another model behind a real HTTP server on this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any, dict[str, str]]
"""Status, the content of the answer's message (the whole body for other statuses than 200, or if it is a dictionary),
and headers."""


class ChatServer:
    """Answers as `behave` says, which gets the request's body and its number from 0."""

    def __init__(self, behave: Callable[[dict[str, Any], int], Answer]) -> None:
        self.behave = behave
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""
        self._lock = threading.Lock()

    def handle(self, path: str, key: str, body: dict[str, Any]) -> Answer:
        """One request."""
        assert path == "/v1/chat/completions"
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.keys.append(key)
        return self.behave(body, number)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent, for clients may go away."""


@contextmanager
def serving(behave: Callable[[dict[str, Any], int], Answer]) -> Iterator[ChatServer]:
    """The server, until the end of the block."""
    chat = ChatServer(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content, headers = chat.handle(self.path, self.headers.get("Authorization", ""), asked)
            if status == 200 and not isinstance(content, dict):
                content = {"choices": [{"message": {"content": content}}]}
            if isinstance(content, dict):
                content = json.dumps(content)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Silent."""

    server = _Server(("127.0.0.1", 0), Handler)
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
