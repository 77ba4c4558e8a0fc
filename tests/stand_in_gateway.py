"""A gateway's door without what is behind it: CURVE, ZAP, requests answered by functions of the test, streams pushed by it."""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
import zmq
from zmq.utils import z85

from lab.remote.access.key_files import KeyFile, new_pair


class Lose(Exception):
    """Raised by an answering function: the request was taken, and the connection ends before the answer."""


class StandIn:
    """Listens on a port of loopback that the system assigns, from a thread of its own.

    Attributes
    ----------
    answers : dict
        By method: ``function(params) -> answer``.
    requests : list of (str, dict)
        Every method and its parameters, as they came.
    controls : queue.Queue of dict
        What streams have said: subscriptions, credit, signs of life.
    on_subscribe : callable
        Called with each subscription; may `push`.
    """

    def __init__(self) -> None:
        self._server = new_pair()
        self._context: zmq.Context[Any] = zmq.Context()
        self.answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.controls: queue.Queue[dict[str, Any]] = queue.Queue()
        self.known: set[str] = set()
        self.on_subscribe: Callable[[dict[str, Any]], object] = lambda message: None
        self._encode: dict[bytes, Callable[[Any], bytes]] = {}
        self._listeners: dict[bytes, int] = {}
        self._do: queue.Queue[Callable[[], None]] = queue.Queue()
        self._router: Any = None
        self._port = 0
        self._thread = threading.Thread(target=self._run, name="stand-in gateway")
        self._is_ending = threading.Event()
        self._thread.start()
        self.listen()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def key(self, name: str = "alice", is_known: bool = True) -> KeyFile:
        public, secret = new_pair()
        if is_known:
            self.known.add(public)
        return KeyFile(name, "scientist", self.address, self._server[0], public, secret)

    def listen(self) -> None:
        """Open the door, again on the same port."""
        self._call(self._listen)

    def hang_up(self) -> None:
        """Close the door: all connections end, nobody listens."""
        self._call(lambda: self._router.close())

    def push(self, topic: bytes, payload: Any) -> None:
        """Send one message of a stream to everybody who has subscribed."""
        def send() -> None:
            for identity in list(self._listeners):
                self._router.send_multipart([identity, topic, self._encode[identity](payload)])
        self._call(send)

    def cut_listeners(self) -> None:
        """End the connections of all who have subscribed."""
        def cut() -> None:
            for descriptor in self._listeners.values():
                _cut(descriptor)
            self._listeners.clear()
        self._call(cut)

    def close(self) -> None:
        self._is_ending.set()
        self._thread.join(60)
        self._context.destroy(linger=0)

    # ---------------------------------------------------------------------------------------------- in the thread

    def _call(self, action: Callable[[], None]) -> None:
        if threading.current_thread() is self._thread:
            action()
            return
        done = threading.Event()
        self._do.put(lambda: _in_order(action, done.set))
        assert done.wait(60)

    def _listen(self) -> None:
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.curve_server = True
        self._router.curve_secretkey = self._server[1].encode()
        if self._port:
            _bind(self._router, f"tcp://127.0.0.1:{self._port}")
        else:
            self._port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self._listeners.clear()

    def _run(self) -> None:
        zap = self._context.socket(zmq.REP)
        zap.bind("inproc://zeromq.zap.01")
        while not self._is_ending.is_set():
            while not self._do.empty():
                self._do.get()()
            if zap.poll(2):
                self._let_in(zap)
            if self._router is not None and not self._router.closed and self._router.poll(2):
                self._serve(self._router.recv_multipart(copy=False))
        zap.close(0)
        self._router.close(0)

    def _let_in(self, zap: Any) -> None:
        version, number, *_, key = zap.recv_multipart()
        status = b"200" if z85.encode(key).decode() in self.known else b"400"
        zap.send_multipart([version, number, status, b"", b"", b""])

    def _serve(self, frames: list[Any]) -> None:
        identity, descriptor = bytes(frames[0]), frames[-1].get(zmq.SRCFD)
        payload = bytes(frames[-1])
        is_json = payload.startswith(b"{")
        encode: Callable[[Any], bytes] = (lambda given: json.dumps(given).encode()) if is_json else msgpack.packb
        message = json.loads(payload) if is_json else msgpack.unpackb(payload)
        self._encode[identity] = encode
        if len(frames) == 2:
            self.controls.put(message)
            if "subscribe" in message:
                self._listeners[identity] = descriptor
                self.on_subscribe(message)
            return
        self.requests.append((message["method"], message["params"]))
        try:
            answer = self.answers[message["method"]](message["params"])
        except Lose:
            _cut(descriptor)
            return
        self._router.send_multipart([identity, b"", encode(answer)])


def _bind(router: Any, url: str) -> None:
    """A socket that is closed keeps its port for a moment."""
    end = time.monotonic() + 5
    while True:
        try:
            router.bind(url)
            return
        except zmq.ZMQError:
            if time.monotonic() > end:
                raise


def _cut(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _in_order(*actions: Callable[[], None]) -> None:
    for action in actions:
        action()
