#!/ usr / bin / env python3
"""A Google Cloud Storage emulator on 127.0.0.1 for tests.

    google_object_server.py FOLDER LOG

Creates the bucket "shards" of the files below FOLDER, prints its port, then serves until it is ended. Nothing is
written to LOG: the arguments are those of the other servers.
"""
import pathlib
import sys
import time
import urllib.parse
import urllib.request

from gcp_storage_emulator.server import create_server

folder = pathlib.Path(sys.argv[1])
server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="shards")
server.start()
port = server._api._httpd.server_port
for path in sorted(folder.rglob("*")):
    if path.is_file():
        name = urllib.parse.quote(str(path.relative_to(folder)), safe="")
        urllib.request.urlopen(urllib.request.Request(
            f"http://127.0.0.1:{port}/upload/storage/v1/b/shards/o?uploadType=media&name={name}",
            data=path.read_bytes(), headers={"Content-Type": "application/octet-stream"})).read()
print(port, flush=True)
time.sleep(1e9)
