"""A program for the Aleph network by WSGI, with the standard library alone. One of Flask or Bottle is deployed in the same way."""

import json
import socket
import sys


def application(environ, start_response):
    if environ["PATH_INFO"] != "/":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there is nothing here\n"]
    start_response("200 OK", [("Content-Type", "application/json")])
    answer = {"message": "Hello from a virtual machine on Aleph", "python": sys.version.split()[0], "host": socket.gethostname()}
    return [json.dumps({**answer, "wsgi": environ["wsgi.version"]}).encode()]
