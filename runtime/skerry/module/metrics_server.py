"""`http://<module>:9600/metrics`, for Prometheus and upstream's metrics collector.

One request at a time, each with 10 s; whoever asks sees figures and nothing else. A port that
cannot be had costs the figures and not the module.
"""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

from skerry.base.log import Logger

PORT = 9600
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = 10.0


def serve_metrics(text: Callable[[], str], port: int, log: Logger) -> HTTPServer | None:
    """Serve in a thread until `shutdown`; None where the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS
        server_version = "Skerry"
        sys_version = ""

        def do_GET(self) -> None:
            is_known = self.path.partition("?")[0].rstrip("/") == "/metrics"
            body = text().encode() if is_known else b""
            self.send_response(HTTPStatus.OK if is_known else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", TEXT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug("metrics", request=format % args)

    try:
        server = HTTPServer(("", port), Handler)
    except OSError as error:
        log.warning("no metrics: the port cannot be had", port=port, reason=error)
        return None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
