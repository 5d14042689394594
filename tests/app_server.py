"""`stzoo app` in a process of its own, and what a browser sends to it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys

import httpx

CODE = """
import sys
from stzoo.app import uploads
from stzoo.cli import main
uploads.KEPT = int(sys.argv.pop(1))
main()
"""


@contextlib.contextmanager
def serve(folder, *arguments, kept=3600, **environ):
    """Context manager that yields the address of a page and what was printed.

    Its temporary files are in `folder`, which must be empty again at the end.
    """
    places = {"TMPDIR": str(folder), "GRADIO_TEMP_DIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(kept), "app", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **places, **environ},
    )
    try:
        printed = []
        while not (found := re.search(r"http://\S+", "".join(printed))):
            line = process.stdout.readline()
            assert line, "the page does not start"
            printed.append(line)
        yield found[0].rstrip("/"), "".join(printed)
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=30)[0]
        assert "Traceback" not in rest
        assert [path.name for path in folder.rglob("*")] == []
    finally:
        process.kill()
        process.communicate()


def upload(client, path):
    """Uploads a file, and returns its path on the server."""
    with open(path, "rb") as file:
        answer = client.post("/gradio_api/upload", files={"files": file})
    answer.raise_for_status()
    return answer.json()[0]


def ask(client, path, model):
    """Returns the last event of an answer and its data."""
    video = {"path": path, "meta": {"_type": "gradio.FileData"}}
    sent = client.post("/gradio_api/call/answer", json={"data": [video, model]})
    sent.raise_for_status()
    place = f"/gradio_api/call/answer/{sent.json()['event_id']}"
    events = client.get(place).text.strip().split("\n\n")
    event, data = events[-1].split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def connect(address):
    return httpx.Client(base_url=address, timeout=300)
