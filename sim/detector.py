"""The simulated detector on the network: SIMPLON over HTTP, frames over ZeroMQ.

Three kinds of threads: one answers each HTTP connection, one accepts them, and one takes frames, sends them, and plugs the cable in
and out. The ZeroMQ socket is touched by that last one only. Nothing here waits for a client: a stream that nobody reads fills up to its high-water
mark, then messages are dropped and counted in ``stream/status/dropped``, as a detector with finite memory does it.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Protocol

import zmq

from lab.core.clock import Clock, WallClock
from lab.core.config import Geometry
from sim.faults import Fault, FaultPlan
from sim.simplon import Reply, Scene, Simplon
from sim.stream import Message

HOST = "127.0.0.1"

POLL_S = 0.01
"""How often the cable and the faults are looked at, wall seconds."""

STREAM_HIGH_WATER = 200
"""Messages that wait for a slow client before they are dropped."""

GREETING_MS = 300
"""How long the header of a series waits for a client that is just connecting."""

BODY_LIMIT = 1 << 20
"""No value of the API is longer."""


class DetectorScene(Scene, Protocol):
    """What the detector sees, and how it stands to it."""

    geometry: Geometry


class DetectorServer:
    """A Dectris detector at ``http://127.0.0.1:PORT?stream=PORT``.

    Parameters
    ----------
    scene : DetectorScene
        Usually a `sim.stage.Stage`.
    physics : Clock
        Exposures take its time.
    faults : sequence of Fault
        An exchange is one HTTP request. `Simplon.failures` lists what ``error`` can bring about.
    port : int
        Of HTTP; 0 for any.
    wall : Clock or None
        Time stamps and faults.
    """

    def __init__(self, scene: DetectorScene, physics: Clock, faults: Sequence[Fault] = (), port: int = 0, wall: Clock | None = None) -> None:
        self._wall: Clock = WallClock() if wall is None else wall
        self.firmware = Simplon(scene.geometry, physics, self._wall, scene)
        self.plan = FaultPlan(faults, self._wall, self.firmware.failures)
        self._port, self._stream_port = port, 0
        self._wake = threading.Event()
        self._stepped = threading.Condition()
        self._stopped = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._stream: zmq.Socket[bytes] | None = None
        self._http: _Http | None = None
        self._acceptor: threading.Thread | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Open both ports and power on; returns the endpoint.

        Raises
        ------
        OSError
            When the port is taken.
        """
        self._stopped.clear()
        self._context = zmq.Context()
        self._plug_in()
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()
        return f"http://{HOST}:{self._port}?stream={self._stream_port}"

    def stop(self) -> None:
        """Close both ports and end all threads. May be called twice."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.firmware.close()
        self._unplug()
        if self._context is not None:
            self._context.term()
            self._context = None

    def inject(self, fault: Fault) -> None:
        """Add a fault. Raises `FaultError` for an error the detector does not have."""
        self.plan.add(fault)
        self._wake.set()

    def clear_faults(self) -> None:
        """End all faults."""
        self.plan.clear()
        self._wake.set()

    def due_s(self) -> float:
        return self.firmware.due_s()

    def wake(self) -> None:
        self._wake.set()

    # ---------------------------------------------------------------------------------------------- requests

    def answer(self, method: str, path: str, body: bytes, hung_up: threading.Event) -> Reply | None:
        """What a request gives, waiting for commands that take time; None when it was lost on the way, or its client `hung_up`."""
        sent = f"{method} {path}\n".encode() + body
        heard = self.plan.request(sent)
        self._happen(self.plan.events(at_exchange=True))
        if not heard:
            return None
        if heard != sent:
            line, _, body = heard.partition(b"\n")
            method, _, path = line.decode("latin-1").partition(" ")
        reply = self.firmware.request(method, path, body)
        self._wake.set()
        while reply.ticket is not None and not self.firmware.is_over(reply.ticket):
            with self._stepped:
                self._stepped.wait(POLL_S)
            if hung_up.is_set():
                return None
        return reply

    # ---------------------------------------------------------------------------------------------- the loop

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            self._see_to_cable()
            self._happen(self.plan.events())
            if not self.plan.is_hung():
                for message in self.firmware.step():
                    self._send(message)
                with self._stepped:
                    self._stepped.notify_all()
                self._wake.wait(min(POLL_S, self.firmware.wait_s()))
            else:
                self._wake.wait(POLL_S)

    def _send(self, message: Message) -> None:
        if self._stream is None:
            self.firmware.dropped()
            return
        if b"dheader" in message[0]:
            self._stream.poll(GREETING_MS, zmq.POLLOUT)
        try:
            self._stream.send_multipart(message, zmq.NOBLOCK)
        except zmq.Again:
            self.firmware.dropped()

    def _happen(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault.kind == "power_cycle":
                self.firmware.power_cycle()
            elif fault.kind == "error":
                self.firmware.fail(fault.words)
            # Nothing comes unsolicited over HTTP.

    # ------------------------------------------------------------------------------------------------- cable

    def _see_to_cable(self) -> None:
        if self.plan.is_down():
            self._unplug()
        elif self._http is None or self._stream is None:
            # A port just closed may still be held for a moment; the next look tries again.
            with contextlib.suppress(OSError):
                self._plug_in()

    def _plug_in(self) -> None:
        if self._stream is None and self._context is not None:
            stream = self._context.socket(zmq.PUSH)
            stream.setsockopt(zmq.LINGER, 0)
            stream.setsockopt(zmq.SNDHWM, STREAM_HIGH_WATER)
            try:
                stream.bind(f"tcp://{HOST}:{self._stream_port or '*'}")
            except zmq.ZMQError as error:
                stream.close()
                raise OSError(f"stream port {self._stream_port}: {error}") from error
            self._stream_port = int(stream.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
            self._stream = stream
        if self._http is None:
            try:
                http = _Http(self, self._port)
            except OSError:
                self._unplug()
                raise
            self._port = http.server_address[1]
            self._http = http
            self._acceptor = threading.Thread(target=http.serve_forever, args=(POLL_S,), name="detector-http", daemon=True)
            self._acceptor.start()

    def _unplug(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._http is not None:
            self._http.shutdown()
            self._http.hang_up()
            self._http.server_close()
            self._http = None
        if self._acceptor is not None:
            self._acceptor.join()
            self._acceptor = None


class _Http(ThreadingMixIn, TCPServer):
    """One thread for each connection; all of them end with `hang_up`.

    Not `http.server.HTTPServer`: that one asks the name service for the host's name when it binds.
    """

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, detector: DetectorServer, port: int) -> None:
        self.detector = detector
        self.hung_up = threading.Event()
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        with self._guard:
            if isinstance(request, socket.socket):
                self._connections.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._guard:
            if isinstance(request, socket.socket):
                self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close all connections, so that their threads end."""
        self.hung_up.set()
        with self._guard:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # the client was first
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection broke while it was served: nothing to be told, a client may go when it likes."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "chunked" in self.headers.get("Transfer-Encoding", "") or not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            self._send(Reply(HTTPStatus.LENGTH_REQUIRED, b"Content-Length is missing or too large", "text/plain"))
            return
        body = self.rfile.read(int(length))
        reply = self.server.detector.answer(self.command, self.path, body, self.server.hung_up)
        if self.server.hung_up.is_set():
            self.close_connection = True
        elif reply is not None:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        head = (f"HTTP/1.1 {int(reply.status)} {HTTPStatus(reply.status).phrase}\r\nContent-Type: {reply.content_type}\r\n"
                f"Content-Length: {len(reply.body)}\r\n\r\n").encode("latin-1")
        whole = head + reply.body
        for parcel in self.server.detector.plan.reply(whole):
            if self.server.hung_up.wait(parcel.delay_s):
                return
            if len(parcel.data) < len(whole):
                self.close_connection = True  # cut off in the middle: the client is not to wait for the rest
            self.wfile.write(parcel.data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: requests are not worth a log line."""
