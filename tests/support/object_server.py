#!/ usr / bin / env python3
"""An S3 server on 127.0.0.1 for tests: moto's, in front of which requests are logged and spoiled.

    object_server.py FOLDER LOG [FAULT ...]

Creates the bucket "shards" of the files below FOLDER, prints its port, then serves until it is ended. The n-th GET
of an object meets the n-th fault: ok, 503 (busy), 403 (refused), cut:N (the connection ends after N bytes of the
body), change (answers, then the object is written anew).
"""
import pathlib
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client

BUCKET = "shards"
folder, log = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
faults = sys.argv[3:]
application = DomainDispatcherApplication(create_backend_app)
client = Client(application)
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, Signature=b"}


class QuietHandler(WSGIRequestHandler):
    def log(self, *_):
        pass


def fill():
    client.put(f"/{BUCKET}", headers=SIGNED)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put(f"/{BUCKET}/{path.relative_to(folder)}", data=path.read_bytes(), headers=SIGNED)


def refuse(start_response, status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def spoiled(environ, start_response):
    path = environ["PATH_INFO"]
    is_read = environ["REQUEST_METHOD"] == "GET" and path.startswith(f"/{BUCKET}/") and len(path) > len(BUCKET) + 2
    with log.open("a") as file:
        file.write(f"{environ['REQUEST_METHOD']} {path} {environ.get('HTTP_RANGE', '')} "
                   f"{environ.get('HTTP_AUTHORIZATION', '')}\n")
    fault = faults.pop(0) if is_read and faults else "ok"
    if fault == "503":
        return refuse(start_response, "503 Slow Down", "SlowDown")
    if fault == "403":
        return refuse(start_response, "403 Forbidden", "AccessDenied")
    answer = application(environ, start_response)
    if fault.startswith("cut:"):
        return [b"".join(answer)[: int(fault[4:])]]
    if fault == "change":
        answer = list(answer)
        client.put(path, data=b"another object", headers=SIGNED)
    return answer


fill()
server = make_server("127.0.0.1", 0, spoiled, threaded=True, request_handler=QuietHandler)
print(server.server_port, flush=True)
server.serve_forever()
