"""Serves one WSGI application over threads: serve.py MODULE:FACTORY PORT.

uwsgi's plain HTTP socket keeps connections open that OpenStack's own clients then wait for; this closes each.
"""
import importlib
import socketserver
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass

    def address_string(self):
        return self.client_address[0]


module, factory = sys.argv[1].split(":")
port = int(sys.argv[2])
sys.argv = sys.argv[:1]
application = getattr(importlib.import_module(module), factory)()
make_server("127.0.0.1", port, application, Server, Handler).serve_forever()
