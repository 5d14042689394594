"""A Hub on 127.0.0.1 that can misbehave."""

import base64
import contextlib
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789" * 4


def blob_name(filename, data):
    """What the Hub calls a file: sha256 of a large one, git's sha1 of another."""
    if filename.endswith(".safetensors"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class LoopbackHub:
    """Serves files as huggingface.co does, as far as the client asks.

    Attributes:
        repositories: dict from `"organisation/name"` to a dict from file name to
            bytes. All revisions of `revisions` hold the same.
        stated: dict from file name to bytes, whose hash is stated instead of that of
            what is sent.
        revisions: set of strings.
        gated: dict from repository to the token that opens it.
        cut: dict from file name to a number of bytes, after which the connection is
            cut; `cuts` says how often.
        ranges: bool, whether the rest of a file can be asked for.
        plain: bool, answer without the Hub's own error codes.
        requests: list of `(method, path)`.
        waits: list of seconds that the client wanted to wait.
    """

    def __init__(self):
        self.repositories = {}
        self.stated = {}
        self.revisions = {"main", COMMIT}
        self.gated = {}
        self.cut = {}
        self.cuts = 1_000_000
        self.ranges = True
        self.plain = False
        self.requests = []
        self.waits = []
        self.connections = []

    def __enter__(self):
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """From now on nobody answers, on connections that are open either."""
        self.server.shutdown()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server.server_close()

    def fetched(self, filename):
        """How often the body of a file was asked for."""
        return sum(m == "GET" and p.endswith(filename) for m, p in self.requests)


class Handler(BaseHTTPRequestHandler):
    """Answers for the `hub` of its class."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.hub.connections.append(self.connection)

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def do_POST(self):
        """What an upload asks for: a new repository, how to send files, a commit."""
        hub = self.hub
        hub.requests.append((self.command, self.path))
        sent = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
        lines = [json.loads(line) for line in sent]
        if self.path == "/api/repos/create":
            name = f"{lines[0]['organization']}/{lines[0]['name']}"
            hub.repositories.setdefault(name, {})
            return self.reply({"url": f"{hub.url}/{name}"})
        repository, action, _ = self.path.removeprefix("/api/models/").rsplit("/", 2)
        files = hub.repositories.get(repository)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        if action == "preupload":
            way = {"uploadMode": "regular", "shouldIgnore": False}
            return self.reply({"files": [f | way for f in lines[0]["files"]]})
        for line in lines:
            if line["key"] == "file":
                data = base64.b64decode(line["value"]["content"])
                files[line["value"]["path"]] = data
        url = f"{hub.url}/{repository}/commit/{COMMIT}"
        self.reply({"commitUrl": url, "commitOid": COMMIT})

    def log_message(self, *_):
        pass

    def answer(self, body):
        hub = self.hub
        hub.requests.append((self.command, self.path))
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, filename = rest.partition("/")
        files = hub.repositories.get(repository)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        if repository in hub.gated:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token != hub.gated[repository]:
                return self.refuse(403 if token else 401, "GatedRepo")
        if revision not in hub.revisions:
            return self.refuse(404, "RevisionNotFound")
        if filename not in files:
            return self.refuse(404, "EntryNotFound")
        stated = {**files, **{n: d for n, d in self.hub.stated.items() if n in files}}
        self.commit = hashlib.sha1(repr(sorted(stated.items())).encode()).hexdigest()
        if revision == COMMIT:
            self.commit = COMMIT
        self.etag = blob_name(filename, stated[filename])
        self.send(files[filename], filename, body)

    def refuse(self, status, code):
        self.send_response(status)
        if not self.hub.plain:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def reply(self, answer):
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send(self, data, filename, body):
        start = 0
        if self.hub.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start > len(data):
            return self.refuse(416, "")
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{self.etag}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            rest = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send_header("Content-Range", rest)
        self.end_headers()
        if body:
            if filename in self.hub.cut and self.hub.cuts > 0:
                self.hub.cuts -= 1
                data = data[: max(self.hub.cut[filename], start)]
                self.close_connection = True
            self.wfile.write(data[start:])
