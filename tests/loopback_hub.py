"""A Hub on 127.0.0.1 that can misbehave."""

import base64
import contextlib
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

COMMIT = "0123456789" * 4


def blob_name(filename, data):
    """What the Hub calls a file: sha256 of a large one, git's sha1 of another."""
    if filename.endswith(".safetensors"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def head(files):
    """The commit of what a repository holds."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


def way(file):
    """How the Hub wants to have a file."""
    mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


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
        tokens: dict from a token to the organisation that it may write to. `None`: no
            token is needed.
        private: set of repositories.
        failures: dict from a part of a path to the status that a request there gets
            that would write, or to `"cut"`.
        commits: list of `(repository, revision, summary, paths)`.
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
        self.tokens = None
        self.private = set()
        self.failures = {}
        self.commits = []
        self.large = {}
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
        hub, body = self.hub, self.received()
        if body is None:
            return
        lines = [json.loads(line) for line in body.splitlines()]
        if self.path == "/api/repos/create":
            return self.create(lines[0])
        if self.path == "/api/validate-yaml":
            return self.validate(lines[0]["content"])
        if self.path.endswith(".git/info/lfs/objects/batch"):
            upload = {"upload": {"href": f"{hub.url}/large"}}
            return self.reply(
                {"objects": [o | {"actions": upload} for o in lines[0]["objects"]]}
            )
        repository, action, revision = self.path[len("/api/models/") :].rsplit("/", 2)
        files = hub.repositories.get(repository)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        if action == "branch":
            known = revision in hub.revisions
            hub.revisions.add(revision)
            return self.reply({}, 409 if known else 200)
        if revision not in hub.revisions:
            return self.refuse(404, "RevisionNotFound")
        if action == "preupload":
            return self.reply({"files": [way(file) for file in lines[0]["files"]]})
        self.commit_files(repository, revision, lines)

    def do_PUT(self):
        """The bytes of a large file, by their hash."""
        body = self.received()
        if body is not None:
            self.hub.large[hashlib.sha256(body).hexdigest()] = body
            self.reply({})

    def received(self):
        """The body of a request, or `None` for one that is refused or cut."""
        hub = self.hub
        hub.requests.append((self.command, self.path))
        failures = [
            status for part, status in hub.failures.items() if part in self.path
        ]
        if failures == ["cut"]:
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if failures:
            return self.reply({"error": "as the test wants"}, failures[0])
        if hub.tokens is not None and self.command == "POST":
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in hub.tokens:
                return self.reply({"error": "Invalid username or password."}, 401)
            path = self.path.removeprefix("/api/models/")
            if path.startswith("/api/repos"):
                path = json.loads(body)["organization"]
            if path.lstrip("/").split("/")[0] not in (hub.tokens[token], "api"):
                return self.reply({"error": "You don't have the rights."}, 403)
        return body

    def create(self, wanted):
        hub, name = self.hub, f"{wanted['organization']}/{wanted['name']}"
        known = name in hub.repositories
        hub.repositories.setdefault(name, {})
        if not known and wanted.get("visibility") == "private":
            hub.private.add(name)
        self.reply({"url": f"{hub.url}/{name}"}, 409 if known else 200)

    def validate(self, card):
        """Whether the metadata of a card have the licence that they must have."""
        front = yaml.safe_load(card.split("---\n")[1]) if "---" in card else {}
        if front.get("license") in (None, "mit", "apache-2.0", "bsd-3-clause", "other"):
            return self.reply({"warnings": [], "errors": []})
        self.reply({"errors": [{"message": '"license" must be one of [...]'}]}, 400)

    def commit_files(self, repository, revision, lines):
        hub, files = self.hub, self.hub.repositories[repository]
        header = lines[0]["value"]
        if header.get("parentCommit", head(files)) != head(files):
            return self.reply({"error": "The branch has moved."}, 412)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                files[value["path"]] = hub.large[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        paths = [line["value"]["path"] for line in lines[1:]]
        hub.commits.append((repository, revision, header["summary"], paths))
        url = f"{hub.url}/{repository}/commit/{COMMIT}"
        self.reply({"commitUrl": url, "commitOid": COMMIT})

    def log_message(self, *_):
        pass

    def answer(self, body):
        hub = self.hub
        hub.requests.append((self.command, self.path))
        if self.path.startswith("/api/models/"):
            return self.describe(self.path.removeprefix("/api/models/"))
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
        self.commit = head(stated)
        if revision == COMMIT:
            self.commit = COMMIT
        self.etag = blob_name(filename, stated[filename])
        self.send(files[filename], filename, body)

    def describe(self, path):
        """What the Hub knows of a repository."""
        repository, _, revision = path.partition("/revision/")
        files = self.hub.repositories.get(repository)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        if revision and revision not in self.hub.revisions:
            return self.refuse(404, "RevisionNotFound")
        self.hub.revisions.add(head(files))
        private = repository in self.hub.private
        self.reply({"id": repository, "sha": head(files), "private": private})

    def refuse(self, status, code):
        self.send_response(status)
        if not self.hub.plain:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def reply(self, answer, status=200):
        data = json.dumps(answer).encode()
        self.send_response(status)
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
