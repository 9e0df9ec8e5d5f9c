"""A hub of repositories in memory on this machine: what nibble pull and huggingface_hub ask of the real one.

    /api/models/org/name[/revision/R]      the commit and the names of the files
    /api/models/org/name/tree/R            the files with their hashes, in pages
    /org/name/resolve/R/path               a file; one of LFS by a redirect to another host, as the real one does
    (datasets/org/name for data sets)

`Hub.trouble` maps a path's end to what goes wrong with it (class Trouble); `Hub.requests` lists what was asked, with
the headers.  Only the standard library; one thread for each connection."""
import hashlib
import http.server
import json
import socketserver
import sys
import threading
import urllib.parse


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repository:
    """files: path -> bytes; lfs: the paths that are large files.  Each commit is a hash of all of it."""
    def __init__(self, files, lfs=(), kind="models", token=None, gated=False):
        self.files, self.lfs, self.kind, self.token, self.gated = dict(files), set(lfs), kind, token, gated
        self.refs = {}
        self.commits = {}
        self.commit("main")

    def commit(self, *revisions):
        text = json.dumps([[p, hashlib.sha256(d).hexdigest(), p in self.lfs] for p, d in sorted(self.files.items())])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = dict(self.files)
        for revision in revisions:
            self.refs[revision] = sha
        return sha

    def resolve(self, revision):
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def etag(self, path, data):
        return hashlib.sha256(data).hexdigest() if path in self.lfs else git_sha1(data)


class Trouble:
    """What goes wrong, `times` times (-1: always): status (with headers), torn after so many bytes of what is sent,
    other bytes, no ranges, another etag, more bytes than there are, a redirect to an address."""
    def __init__(self, times=1, **what):
        self.times = times
        self.status, self.headers = what.pop("status", None), what.pop("headers", {})
        self.torn, self.data, self.no_range = what.pop("torn", None), what.pop("data", None), what.pop("no_range", False)
        self.etag, self.redirect, self.body = what.pop("etag", None), what.pop("redirect", None), what.pop("body", None)
        assert not what, what

    def take(self):
        if self.times == 0:
            return False
        self.times -= self.times > 0
        return True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = cdn = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message):
        self.answer(status, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def trouble(self):
        path = urllib.parse.urlsplit(self.path).path
        for end, trouble in self.hub.trouble.items():
            if path.endswith(end) and (self.command != "HEAD" or trouble.status) and trouble.take():
                return trouble
        return None

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.hub
        with hub.lock:
            hub.requests.append((self.command, hub.name_of(self), self.path, dict(self.headers)))
        trouble = self.trouble()
        if trouble and trouble.status:
            self.answer(trouble.status, b"{}", trouble.headers)
            return
        if trouble and trouble.redirect:
            self.answer(302, b"", {"Location": trouble.redirect})
            return
        if trouble and trouble.body is not None:
            self.answer(200, trouble.body)
            return
        parts = [urllib.parse.unquote(p) for p in urllib.parse.urlsplit(self.path).path.strip("/").split("/")]
        if self.cdn:
            data = hub.cdn_files.get("/".join(parts))
            if data is None:
                self.answer(404)
            else:
                self.send_file(data, {"ETag": '"of-another-host"'}, trouble)
        elif parts[0] == "api":
            self.api(parts[1], *self.split(parts[1], parts[2:]))
        else:
            kind = "datasets" if parts[0] == "datasets" else "models"
            name, rest = self.split(kind, parts[kind == "datasets":])
            self.resolve(kind, name, rest[1], "/".join(rest[2:]), trouble)

    def split(self, kind, parts):
        """"org/name", or "name", and what is behind it."""
        n = 1 if (kind, parts[0]) in self.hub.repositories else 2
        return "/".join(parts[:n]), parts[n:]

    def repository(self, kind, name):
        """None: it was refused."""
        found = self.hub.repositories.get((kind, name))
        sent = self.headers.get("Authorization") == f"Bearer {found.token}" if found and found.token else True
        if found and sent:
            return found
        if found and found.gated:
            self.refuse(403, "GatedRepo", f"Access to {name} is restricted")
        else:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
        return None

    def api(self, kind, name, rest):
        found = self.repository(kind, name)
        if not found:
            return
        revision = rest[1] if len(rest) > 1 else "main"
        commit = found.resolve(revision)
        if not commit:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = found.commits[commit]
        if rest and rest[0] == "tree":
            self.tree(found, files)
            return
        info = {"_id": "1", "id": name, "modelId": name, "sha": commit, "private": False, "tags": [], "downloads": 0,
                "likes": 0, "siblings": [{"rfilename": path} for path in sorted(files)], "gated": False, "disabled": False,
                "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"}
        self.answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def tree(self, found, files):
        entries, query = [], urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        for folder in sorted({path.rsplit("/", 1)[0] for path in files if "/" in path}):
            entries.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": folder})
        for path, data in sorted(files.items()):
            entry = {"type": "file", "oid": git_sha1(data), "size": len(data), "path": path}
            if path in found.lfs:
                sha256 = hashlib.sha256(data).hexdigest()
                entry["oid"] = git_sha1(f"version 1\noid sha256:{sha256}\n".encode())
                entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 135}
            entries.append(entry)
        begin = int(query.get("cursor", ["0"])[0])
        headers = {"Content-Type": "application/json"}
        if begin + self.hub.page < len(entries):
            base = self.hub.endpoint + urllib.parse.urlsplit(self.path).path
            headers["Link"] = f'<{base}?recursive=true&cursor={begin + self.hub.page}{self.hub.link_ending}>; rel="next"'
        self.answer(200, json.dumps(entries[begin:begin + self.hub.page]).encode(), headers)

    def resolve(self, kind, name, revision, path, trouble):
        found = self.repository(kind, name)
        if not found:
            return
        commit = found.resolve(revision)
        if not commit:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        data = found.commits[commit].get(path)
        if data is None:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        etag = trouble.etag if trouble and trouble.etag else found.etag(path, data)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if path not in found.lfs:
            self.send_file(data, {**headers, "ETag": f'"{etag}"'}, trouble)
            return
        key = f"blobs/{hashlib.sha256(data).hexdigest()}"
        self.hub.cdn_files[key] = data
        headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data)), "ETag": f'"{etag}"',
                    "Location": f"{self.hub.cdn_endpoint}/{key}"}
        self.answer(302, b"", headers)

    def send_file(self, data, headers, trouble):
        data = trouble.data if trouble and trouble.data is not None else data
        asked, status, begin = self.headers.get("Range"), 200, 0
        if asked and not (trouble and trouble.no_range):
            begin = int(asked.removeprefix("bytes=").split("-")[0])
            if begin >= len(data):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status, headers = 206, {**headers, "Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
        rest = data[begin:]
        if not trouble or trouble.torn is None:
            self.answer(status, rest, headers)
            return
        self.answer(status, rest[:trouble.torn], headers, len(rest))
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self):
        """Without asking for this machine's name, which may take a second."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def handle_error(self, *_):
        """Connections that a test breaks are no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)


class Hub:
    """with Hub({("models", "org/name"): Repository(...)}) as hub: ... hub.endpoint"""
    def __init__(self, repositories, page=1000):
        self.repositories, self.page, self.link_ending = repositories, page, ""
        self.trouble, self.requests, self.cdn_files, self.lock = {}, [], {}, threading.Lock()

    def name_of(self, handler):
        return "cdn" if handler.cdn else "hub"

    def __enter__(self):
        self.servers = []
        for cdn in False, True:
            handler = type("BoundHandler", (Handler,), {"hub": self, "cdn": cdn})
            # another host by its address too: some clients (huggingface_hub 1.33) do not look at ports
            server = Server(("127.0.0.2" if cdn else "127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self.servers.append(server)
        self.endpoint, self.cdn_endpoint = (
            "http://{}:{}".format(*s.server_address) for s in self.servers)
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def asked(self, end, command="GET"):
        """The headers of the requests for a path that ends so, at either host."""
        return [headers for verb, _, path, headers in self.requests
                if verb == command and urllib.parse.urlsplit(path).path.endswith(end)]
