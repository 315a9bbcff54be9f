"""An HTTP server with faults by schedule, for the tests of remote shards and of downloads.

flaky_server.py FOLDER LOG [FAULT ...]: serves FOLDER on a free port of 127.0.0.1 and prints the port. The n-th request
for a file suffers the n-th fault, later ones none: 503, 429 (busy), reset (no reply), drop:N (connection closed after N
bytes), short:N (a well-formed reply of N bytes), whole (the range is ignored), chunked (the same, in chunks), sizeless
(the same, ended by closing the connection), longer (some bytes added at the end), spoilt (a byte is wrong), stall (half
the reply, then nothing), ok. Before a fault, "bare+" leaves out the ETag, and "chunked+" makes a broken reply one in
chunks. /to/PORT/NAME redirects to NAME on another port. Files beside NAME change the replies for it: NAME.redirect
holds an address to redirect to, NAME.headers lines to add, NAME.login the token that a request must bear. HEAD suffers
no faults. Each request adds "PATH RANGE AUTHORIZATION" to LOG, with HEAD in place of a range.
"""
import collections
import hashlib
import os
import re
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder, log, faults = sys.argv[1], sys.argv[2], sys.argv[3:]
requests = collections.Counter()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.note("HEAD")
        path = self.path_of_file()
        if path:
            self.empty(200, {"Content-Length": str(os.path.getsize(path))})

    def do_GET(self):
        self.note(self.headers.get("Range", "-"))
        redirect = re.fullmatch(r"/to/(\d+)/(.*)", self.path)
        if redirect:
            return self.empty(302, {"Location": f"http://127.0.0.1:{redirect[1]}/{redirect[2]}"})
        number = requests[self.path]
        requests[self.path] += 1
        *how, fault = (faults[number] if number < len(faults) else "ok").split("+")
        path = self.path_of_file()
        if not path:
            return None
        if fault in ("503", "429"):
            return self.empty(int(fault), {"Retry-After": "0"})
        if fault == "reset":
            self.close_connection = True
            return None
        return self.send(open(path, "rb").read(), fault, how)

    def note(self, kind):
        with open(log, "a") as out:
            out.write(f"{self.path} {kind} {self.headers.get('Authorization', '-')}\n")

    def path_of_file(self):
        """What is to be sent; none: the reply has been given."""
        path = os.path.join(folder, urllib.parse.unquote(self.path).lstrip("/"))
        token = self.beside(path, "login")
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            self.empty(403 if "Authorization" in self.headers else 401, {})
        elif self.beside(path, "redirect"):
            self.empty(302, {"Location": self.beside(path, "redirect")})
        elif not os.path.isfile(path):
            self.empty(404, {})
        else:
            self.more_headers = self.beside(path, "headers").splitlines()
            return path
        return None

    @staticmethod
    def beside(path, kind):
        return open(f"{path}.{kind}").read() if os.path.isfile(f"{path}.{kind}") else ""

    def empty(self, status, headers):
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, data, fault, how):
        if fault == "longer":
            data += b"more"
        if fault == "spoilt":
            data = bytes([data[0] ^ 1]) + data[1:]
        chunked = "chunked" in (fault, *how)
        tag = '"' + hashlib.md5(data).hexdigest() + '"'
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", tag) == tag
        start = int(wanted[1]) if wanted and same and not chunked and fault not in ("whole", "sizeless") else None
        if start is not None and start >= len(data):
            return self.empty(416, {"Content-Range": f"bytes */{len(data)}"})
        body = data[start or 0:]
        limit = int(fault.split(":")[1]) if ":" in fault else len(body)
        body_size = min(limit, len(body)) if fault.startswith("short") else len(body)
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{start + body_size - 1}/{len(data)}")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif fault != "sizeless":
            self.send_header("Content-Length", str(body_size))
        if "bare" not in how:
            self.send_header("ETag", tag)
        for line in self.more_headers:
            self.send_header(*line.split(": ", 1))
        self.end_headers()
        if fault == "stall":
            self.wfile.write(body[:len(body) // 2])
            time.sleep(600)
        self.wfile.write(self.in_chunks(body[:limit]) if chunked else body[:limit])
        if fault.startswith("drop") or fault == "sizeless":
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")
        return None

    @staticmethod
    def in_chunks(body, size=1000):
        pieces = (body[at:at + size] for at in range(0, len(body), size))
        return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.handle_error = lambda *_: None  # clients that leave early
server.serve_forever()
