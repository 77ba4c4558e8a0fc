"""What ``lab up`` decides before anything starts: ports, sockets, files. Services find it in `lab.layout.Layout`."""

from __future__ import annotations

import errno
import secrets
import socket
from dataclasses import replace
from pathlib import Path

from lab.core.config import LabConfig, TableWorld
from lab.core.errors import ConfigError
from lab.home import Home
from lab.layout import Layout, services_folder, write_for_owner
from lab.services import LOOPBACK, free_ports
from lab.up import events, queue, redis, supervisor
from lab.up.services import Service, services_of

STEWARD = "steward.sock"


def arrange(lab_file: Path, lab: LabConfig, home: Home, *, is_under_systemd: bool = False) -> tuple[Layout, tuple[Service, ...]]:
    """Decide where everything is, write it down, and forget what services of an earlier time have left.

    Parameters
    ----------
    lab_file : Path
    lab : LabConfig
        With a speed at which people can wait.
    home : Home
    is_under_systemd : bool

    Raises
    ------
    ConfigError
        When LAB_HOME cannot be used, the gateway's address is taken, or there is no Redis server.
    """
    home.prepare()
    layout = replace(_layout(lab_file, lab, home), is_under_systemd=is_under_systemd)
    layout.save()
    folder = layout.folder
    folder.chmod(0o700)
    for stale in (layout.instruments_file, layout.worker_file, layout.alarms_file, *folder.glob("*.sock"), folder / queue.KERNEL):
        stale.unlink(missing_ok=True)
    write_for_owner(layout.config_file, _here(lab).model_dump_json(indent=1))
    if layout.is_own_redis:
        redis.find_server()
        redis.write_configuration(layout)
    queue.write_configuration(layout)
    services = services_of(layout, lab)
    supervisor.write_configuration(layout, services)
    events.begin(folder)
    return layout, services


def _layout(lab_file: Path, lab: LabConfig, home: Home) -> Layout:
    folder = services_folder(home)
    names = list(lab.instruments)
    redis_port, tiled_port, gateway_port, *ca_ports = free_ports(len(names) + 3)
    is_own_redis = not lab.remote.redis
    return Layout(
        lab=lab.name, lab_file=str(lab_file.absolute()), home=str(home.path),
        gateway=f"tcp://{_listening(lab_file, lab.remote.listen, gateway_port)}",
        redis=f"{LOOPBACK}:{redis_port}" if is_own_redis else lab.remote.redis, is_own_redis=is_own_redis,
        queue_control=f"ipc://{folder / queue.CONTROL}", queue_info=f"ipc://{folder / queue.INFO}", steward=f"ipc://{folder / STEWARD}",
        tiled=f"http://{LOOPBACK}:{tiled_port}" if lab.catalogue else "", tiled_key=secrets.token_hex(24),
        ca_ports=dict(zip(names, ca_ports, strict=True)), redis_password=secrets.token_hex(24) if is_own_redis else "")


def _here(lab: LabConfig) -> LabConfig:
    """Files that lab.yaml names are relative to where ``lab up`` was called; services run in LAB_HOME."""
    if not isinstance(lab.world, TableWorld):
        return lab
    return lab.model_copy(update={"world": lab.world.model_copy(update={"file": str(Path(lab.world.file).absolute())})})


def _listening(lab_file: Path, asked: str, free: int) -> str:
    """Where the gateway will listen: a port of the system's choice for port 0.

    Raises
    ------
    ConfigError
        When somebody listens there, or this machine has no such address.
    """
    host, _, port = asked.rpartition(":")
    if port == "0":
        return f"{host}:{free}"
    bare = host.strip("[]")
    try:
        # In numbers only: where the gateway listens must not be a matter of a name server.
        family, _, _, _, address = socket.getaddrinfo("0.0.0.0" if bare == "*" else bare, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(address)
    except OSError as error:
        why = "somebody listens there already (another laboratory?)" if error.errno == errno.EADDRINUSE else str(error)
        raise ConfigError(str(lab_file), "remote.listen", f"{asked}: {why}",
                          "a free address of this machine, such as 127.0.0.1:60616; also lab up --listen HOST:PORT") from error
    return asked
