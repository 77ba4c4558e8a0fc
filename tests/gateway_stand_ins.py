"""A gateway process, and what stands behind it in tests: an RE Manager and a steward that only take note of what they are asked."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import zmq

from lab.core.config import LabConfig
from lab.core.remote import Role
from lab.home import Home
from lab.layout import Layout, write_for_owner
from lab.remote.access.keys import KeyFile, KeyRegistry, load_key

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class StandIn:
    """A service behind the door, in a thread: a REP as the RE Manager's, or a ROUTER as the steward's.

    Parameters
    ----------
    kind : int
        ``zmq.REP`` or ``zmq.ROUTER``.
    address : str
        Port 0: one that is free.
    answer : callable
        What it answers; it runs in the thread.
    """

    def __init__(self, kind: int, address: str, answer: Answer | None = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self.answer: Answer = answer if answer is not None else lambda message: {"success": True, "msg": "", "heard": message["method"]}
        self._context: zmq.Context[Any] = zmq.Context()
        self._kind = kind
        self._is_over = threading.Event()
        self._socket = self._context.socket(kind)
        self._socket.setsockopt(zmq.LINGER, 0)
        # One that has just ended may still have the address.
        for attempt in range(500):
            try:
                self._socket.bind(address)
                break
            except zmq.ZMQError:
                assert attempt < 499
                time.sleep(0.01)
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._thread = threading.Thread(target=self._serve, name="stand-in")
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._context.destroy(linger=0)

    def _serve(self) -> None:
        while not self._is_over.is_set():
            if not self._socket.poll(20):
                continue
            *envelope, payload = self._socket.recv_multipart()
            message = json.loads(payload)
            self.seen.append(message)
            self._socket.send_multipart([*envelope, json.dumps(self.answer(message)).encode()])


class Behind:
    """A LAB_HOME with keys, both stand-ins, and a gateway process in front of them.

    Parameters
    ----------
    folder : Path
    traffic : dict, optional
        As in lab.yaml.
    """

    def __init__(self, folder: Path, traffic: dict[str, Any] | None = None) -> None:
        self.home = Home(folder / "home")
        self.home.prepare()
        self.manager = StandIn(zmq.REP, "tcp://127.0.0.1:*")
        self.steward = StandIn(zmq.ROUTER, "tcp://127.0.0.1:*")
        self.layout = Layout("demo", "lab.yaml", str(self.home.path), "tcp://127.0.0.1:0", "127.0.0.1:1", True, self.manager.address,
                             "tcp://127.0.0.1:1", self.steward.address, "", "", {})
        self.layout.save()
        config = LabConfig.model_validate({"name": "demo", "instruments": {"detector": {"kind": "detector"}}, "remote": {"traffic": traffic or {}}})
        write_for_owner(self.layout.config_file, config.model_dump_json())
        self.registry = KeyRegistry(self.home)
        self._keys: dict[str, KeyFile] = {}
        self._context: zmq.Context[Any] = zmq.Context()
        self.log = folder / "gateway.log"
        self.start()

    options: tuple[str, ...] = ()
    """Of the interpreter, to profile it."""

    def start(self) -> None:
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen([sys.executable, *self.options, "-m", "lab.remote.gateway", "--home", str(self.home.path)],
                                            stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        assert ready.get("ready"), ready
        self.address: str = ready["address"]
        self.port = int(self.address.rpartition(":")[2])

    def stop(self) -> int:
        """End the gateway alone."""
        self.process.terminate()
        status = self.process.wait(120)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def close(self) -> None:
        if self.process.returncode is None:
            self.stop()
        self.manager.stop()
        self.steward.stop()
        self._context.destroy(linger=0)

    def rss(self) -> int:
        """Bytes of memory that the gateway process has."""
        resident: int = psutil.Process(self.process.pid).memory_info().rss
        return resident

    def key(self, name: str, role: Role = "scientist") -> KeyFile:
        if name not in self._keys:
            self._keys[name] = load_key(self.registry.new(name, role, self.address.removeprefix("tcp://"), by="test"))
        return self._keys[name]

    def client(self, key: KeyFile | None, kind: int = zmq.DEALER, **options: Any) -> Client:
        """A client with this key; None: one that knows no CURVE."""
        return Client(self._context, self.address, key, kind, **options)


class Client:
    """A client that does as it likes."""

    def __init__(self, context: zmq.Context[Any], address: str, key: KeyFile | None, kind: int, **options: Any) -> None:
        self.socket = context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        if key is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, key.server_key.encode())
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public_key.encode())
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret_key.encode())
        for option, value in options.items():
            self.socket.set(getattr(zmq, option), value)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED
                                                      | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        self.socket.connect(address)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.disable_monitor()
        self.socket.close()

    def ask(self, method: str, params: dict[str, Any] | None = None, deadline_s: float = 30.0) -> dict[str, Any]:
        """A request and its answer."""
        return self.send(json.dumps({"method": method, "params": params or {}}).encode(), deadline_s)

    def send(self, payload: bytes, deadline_s: float = 30.0) -> dict[str, Any]:
        """Any payload as a request, and its answer as JSON."""
        self.socket.send_multipart([b"", payload])
        answer = self.receive(deadline_s)
        assert answer is not None, "no answer"
        message: dict[str, Any] = json.loads(answer[-1])
        return message

    def receive(self, deadline_s: float = 30.0) -> list[bytes] | None:
        return self.socket.recv_multipart() if self.socket.poll(int(1000 * deadline_s)) else None

    def event(self, deadline_s: float = 30.0) -> int | None:
        """What became of the connection."""
        if not self.monitor.poll(int(1000 * deadline_s)):
            return None
        return int.from_bytes(self.monitor.recv_multipart()[0][:2], "little")
