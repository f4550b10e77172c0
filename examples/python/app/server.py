"""A service on Python's own HTTP server.

Segue sets PORT, HOST, SEGUE_RELEASE and SEGUE_INSTANCE, and stops an instance
with SIGTERM: then it accepts no more connections, closes those that are idle,
finishes the requests in flight and exits.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

RELEASE = os.environ.get("SEGUE_RELEASE", "local")
INSTANCE = os.environ.get("SEGUE_INSTANCE", "local-1")


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for the requests in flight
    request_queue_size = 128  # the default, 5, is soon full

    def __init__(self, address):
        self.lock = threading.Lock()
        self.idle = set()  # connections that wait for a request
        self.stopping = False
        super().__init__(address, Handler)

    def stop(self):
        """Ends serve_forever, and the connections that wait for a request."""
        with self.lock:
            self.stopping = True
            for connection in self.idle:
                no_more(connection)
        self.shutdown()


def no_more(connection):
    """Lets the connection end after what has come in already, which is answered."""
    try:
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        pass  # the client has gone


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes

    def handle_one_request(self):
        with self.server.lock:
            if self.server.stopping:
                no_more(self.connection)
            self.server.idle.add(self.connection)
        try:
            super().handle_one_request()
        finally:
            self.busy()

    def parse_request(self):
        self.busy()
        return super().parse_request()

    def busy(self):
        with self.server.lock:
            self.server.idle.discard(self.connection)

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/":
            self.answer(200, message="hello from Python", release=RELEASE, instance=INSTANCE,
                        load_id=self.headers.get("X-Load-Id", ""))
        elif url.path == "/healthz":
            self.answer(200, message="healthy")
        elif url.path == "/slow":
            self.slow(float(parse_qs(url.query).get("d", ["5s"])[0].rstrip("s")))
        else:
            self.answer(404, message="not found")

    def answer(self, status, **values):
        body = json.dumps(values).encode() + b"\n"
        self.head(status, "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def slow(self, seconds):
        """Sends a line every 100 ms for so many seconds, and the line "end"."""
        self.head(200, "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for n in range(1, int(seconds * 10) + 1):
            self.chunk(f"{n} {RELEASE} {self.headers.get('X-Load-Id', '')}\n")
            time.sleep(0.1)
        self.chunk("end\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def head(self, status, content_type):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("X-Release", RELEASE)
        self.send_header("X-Instance", INSTANCE)
        if "X-Load-Id" in self.headers:
            self.send_header("X-Load-Id", self.headers["X-Load-Id"])
        if self.server.stopping:
            # Who keeps the connection must know that it ends with this answer.
            self.send_header("Connection", "close")

    def log_message(self, *args):
        pass  # the proxy keeps an access log


def main():
    try:
        address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]))
    except (KeyError, ValueError):
        sys.exit("PORT is not set to a number")
    server = Server(address)

    def stop(*_):
        # shutdown waits for serve_forever, which this very thread runs.
        threading.Thread(target=server.stop).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"{INSTANCE} listens on port {address[1]}")
    server.serve_forever()
    print("stopping")
    server.server_close()


if __name__ == "__main__":
    main()
