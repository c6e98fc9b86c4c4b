"""A server that answers as the Hugging Face hub does for datasets, out of a folder OWNER/NAME/FILE."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.evals.items.hub_cache import REVISION

_INFO = re.compile(r"/api/datasets/([^/]+/[^/]+)(?:/revision/\w+)?")
_TREE = re.compile(r"/api/datasets/([^/]+/[^/]+)/tree/\w+/?(.*)")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/\w+/(.+)")


@contextmanager
def hub(root: Path) -> Iterator[tuple[str, list[tuple[str, str, int]]]]:
    """Serves a folder; gives the address, and what was asked: method, path and bytes sent."""
    asked: list[tuple[str, str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if found := _INFO.fullmatch(path):
                self._info(root / found[1], found[1])
            elif found := _TREE.fullmatch(path):
                self._json([_listed(one, root / found[1]) for one in sorted((root / found[1] / found[2]).iterdir())])
            elif (found := _FILE.fullmatch(path)) and (root / found[1] / found[2]).is_file():
                self._file((root / found[1] / found[2]).read_bytes())
            else:
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION})

        do_HEAD = do_GET

        def _info(self, folder: Path, name: str) -> None:
            if not folder.is_dir():
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return
            names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
            self._json({"id": name, "sha": REVISION, "siblings": [{"rfilename": one} for one in names]})

        def _file(self, content: bytes) -> None:
            head = {"X-Repo-Commit": REVISION, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if not span:
                self._send(200, content, head)
                return
            piece = content[int(span[1]) : int(span[2] or len(content) - 1) + 1]
            end = int(span[1]) + len(piece) - 1
            self._send(206, piece, head | {"Content-Range": f"bytes {span[1]}-{end}/{len(content)}"})

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _send(self, code: int, body: bytes, head: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in {**head, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                asked.append((self.command, self.path, len(body)))
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def _listed(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40}
    return {"type": "file", "path": name, "oid": "0" * 40, "size": path.stat().st_size}
