"""A package registry on loopback for tests of fetching: an index as pip reads it, and files with ranges.

The requests that it received are in `requests`; a test sets the faults on the instance.
"""

import http.server
import io
import os
import threading
import zipfile


class Registry:
    """Serves `files` (name to bytes) until it is closed. Every test has its own."""

    def __init__(self):
        self.files = {}
        self.requests = []  # (path, Range header or None) of every file asked for
        self.ranges = True
        self.turn_away = ""  # a program whose User-Agent starts with this gets 403 for files
        self.stop_after = None  # bytes of a file's response after which it hangs until released
        self.stopped, self.release = threading.Event(), threading.Event()
        self.drop_after = []  # bytes after which a response's connection is cut, one entry for each response in turn
        registry = self

        class Handler(RegistryHandler):
            owner = registry

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def index(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/simple/"

    def asked_for(self, name):
        return [range_ for path, range_ in self.requests if path.endswith(name)]

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


    def environment(self, cache):
        """This process's environment, with `cache` as the user's cache and pip configured for this registry only."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "FINETUNED_", "LIBTORCH")) and not name.lower().endswith("_proxy")
        }
        pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": self.index, "PIP_NO_CACHE_DIR": "1", "PIP_RETRIES": "0"}
        return {**inherited, **pip, "XDG_CACHE_HOME": str(cache)}


class RegistryHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def do_GET(self):
        if self.path.startswith("/simple/"):
            self.index_page(self.path.split("/")[2])
        else:
            self.file(self.path.rpartition("/")[2])

    def index_page(self, project):
        names = [name for name in self.owner.files if name.split("-")[0].replace("_", "-") == project]
        page = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in names).encode()
        self.answer(200 if names else 404, page, {"Content-Type": "text/html"})

    def file(self, name):
        range_ = self.headers.get("Range")
        self.owner.requests.append((self.path, range_))
        agent = self.headers.get("User-Agent", "")
        if self.owner.turn_away and agent.startswith(self.owner.turn_away):
            return self.answer(403, b"", {})
        body = self.owner.files[name]
        if range_ and self.owner.ranges:
            start = int(range_[len("bytes=") :].rstrip("-"))
            rest = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            return self.answer(206, body[start:], rest)
        return self.answer(200, body, {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        is_file = self.path.startswith("/files/")
        if is_file and self.owner.drop_after:
            self.wfile.write(body[: self.owner.drop_after.pop(0)])
            self.close_connection = True
        elif is_file and self.owner.stop_after is not None:
            self.wfile.write(body[: self.owner.stop_after])
            self.wfile.flush()
            self.owner.stopped.set()
            self.owner.release.wait(60)
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def wheel(project, version, members):
    """The bytes of a wheel that pip accepts, holding `members` (name to bytes)."""
    info = f"{project}-{version}.dist-info"
    members = dict(members)
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n"
    record = "".join(f"{name},,\n" for name in members) + f"{info}/RECORD,,\n"
    members[f"{info}/RECORD"] = record.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()
