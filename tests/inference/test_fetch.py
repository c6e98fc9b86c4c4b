"""Pictures of the web come from public addresses, within bytes, redirects and time."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli_ray.inference import fetch as module
from cli_ray.inference.fetch import fetch
from cli_ray.inference.request import BadRequestError


class Answers(BaseHTTPRequestHandler):
    """Answers by the path."""

    def do_GET(self) -> None:
        path, _, rest = self.path.strip("/").partition("/")
        if path in ("again", "away"):
            self.send_response(302)
            self.send_header("location", "/" + rest if path == "again" else "file:///etc/passwd")
            self.end_headers()
            return
        if path == "slow":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(50):
                self.wfile.write(b"a: b\r\n")
                time.sleep(0.05)
            return
        self.send_response(200 if path == "picture" else 404)
        self.end_headers()
        self.wfile.write(b"picture")

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


PRIVATE = (
    "http://127.0.0.1/a", "http://localhost:8000/a", "http://2130706433/a", "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/", "http://[::1]/a", "http://[::ffff:192.168.0.1]/", "http://[2002:7f00:1::]/",
    "http://[64:ff9b::7f00:1]/", "http://0.0.0.0/",
)  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_addresses_of_the_own_network_are_refused(url: str) -> None:
    with pytest.raises(BadRequestError, match="no public address"):
        fetch(url, 1000)


def test_pictures_are_read_within_limits(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_public", lambda address: True)
    assert fetch(f"{site}/picture", 7) == b"picture"
    assert fetch(f"{site}/again/again/again/picture", 7) == b"picture"
    for path, reason in {
        "picture": "above",
        "none": "answers 404",
        "again/again/again/again/picture": "more than 3 redirects",
        "away": "no web address",
    }.items():
        with pytest.raises(BadRequestError, match=reason):
            fetch(f"{site}/{path}", 6)
    monkeypatch.setattr(module, "SECONDS", 0.2)
    with pytest.raises(BadRequestError, match="cannot be read: ReadTimeout"):
        fetch(f"{site}/slow", 1000)


def test_a_redirect_into_the_own_network_is_refused(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([True, False])
    monkeypatch.setattr(module, "is_public", lambda address: next(found))
    with pytest.raises(BadRequestError, match="no public address"):
        fetch(f"{site}/again/picture", 1000)
