"""A hub in small: what `datasets` asks of one, answered by a server of this machine for the files of one data set at one commit."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse


class _Hub(BaseHTTPRequestHandler):
    name, commit = "", ""
    files: Mapping[str, bytes] = {}
    asked: list[str] = []  # noqa: RUF012  (of the class that `serving` makes)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.asked.append(path)
        files, api = f"/datasets/{self.name}/resolve/", f"/api/datasets/{self.name}"
        if path.startswith(files):
            self._file(path.removeprefix(files).partition("/")[2])
        elif path.startswith(f"{api}/tree/"):
            deep = "recursive=true" in urlparse(self.path).query.lower()
            self._send(200, json.dumps(self._tree(path.removeprefix(f"{api}/tree/").partition("/")[2], deep)).encode())
        elif path.startswith(api):
            listed = [{"rfilename": name} for name in self.files]
            self._send(
                200, json.dumps({"id": self.name, "sha": self.commit, "siblings": listed, "private": False, "gated": False}).encode()
            )
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str) -> None:
        head = {"X-Repo-Commit": self.commit}
        if name in self.files:
            self._send(200, self.files[name], {**head, "ETag": f'"{hashlib.sha256(self.files[name]).hexdigest()}"'})
        else:
            self._send(404, b"", {**head, "X-Error-Code": "EntryNotFound"})

    def _tree(self, folder: str, deep: bool) -> list[dict[str, object]]:
        start = f"{folder}/" if folder else ""
        below = {name.removeprefix(start): data for name, data in self.files.items() if name.startswith(start)}
        own = [
            {"type": "file", "path": start + name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in below.items()
            if deep or "/" not in name
        ]
        above = {name.rsplit("/", depth + 1)[0] for name in below for depth in range(name.count("/"))}
        folders = sorted(name for name in above if deep or "/" not in name)
        return [*own, *({"type": "directory", "path": start + name, "size": 0, "oid": "0" * 40} for name in folders)]

    def _send(self, status: int, body: bytes, head: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **(head or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving(name: str, commit: str, files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that has one data set, and the paths that were asked of it."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"name": name, "commit": commit, "files": files, "asked": asked}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
