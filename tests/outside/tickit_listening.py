"""tickit, with a stream that only listens: run as ``python tickit_listening.py all eiger.yaml``.

tickit's PUSH socket also connects to its own address. Two PUSH sockets have nothing to say to each other, and ZeroMQ drops the
connection when the connecting end notices first. When the listening end does, as on a busy machine, the connection is made again and
again, and takes every other message meanwhile.
"""

import runpy
import sys
from typing import Any

import aiozmq

_create = aiozmq.create_zmq_stream


async def _listening(kind: int, *, bind: str, connect: str) -> Any:
    return await _create(kind, bind=bind)


aiozmq.create_zmq_stream = _listening
sys.argv[0] = "tickit"
runpy.run_module("tickit", run_name="__main__")
