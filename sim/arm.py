"""The simulated Meca500 R3 on the network: its control port and its monitoring port.

Written from the vendor's programming manual (MC-PM-MECA500, firmware 9.x); the robot itself is `sim.arm_robot`. One client at
a time has the control port, a second is turned away with [3001]. The monitoring port listens to nobody and tells
everybody the status when it changes, joints and pose once per monitoring interval (wall time).

What the manual leaves open, and was decided here:

- Commands other than requests that come while the robot activates or homes wait until it is done.
- A command that cannot be understood ([1001] to [1003]) puts an activated robot into error mode, like one that cannot be
  carried out: what was queued behind it was meant to follow it. ([3031], "a previously received text API command was
  incorrect", is such an error's name.)
- After ResetError motion stays paused until ResumeMotion.
- A control connection that is lost while commands are pending stops the robot and forgets its queue, signal [3086]; the next
  client sees it as [3086][2], to be acknowledged by ResumeMotion.
- Not simulated: blending, deceleration at a pause, velocity-mode moves, torque, offline programs, recovery and simulation mode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from lab.core.clock import Clock
from sim import arm_reports as reports
from sim.arm_commands import QUEUED, checked
from sim.arm_gripper import ArmWorld
from sim.arm_monitoring import Monitoring
from sim.arm_protocol import TEXTS, Command, Lines, Refusal, encode, listed, refusal
from sim.arm_robot import Robot, SafetyStop
from sim.firmware import Outgoing

BANNER = f"Connected to Meca500 R3 {reports.FIRMWARE}"

_IN_ANY_STATE = frozenset({"activaterobot", "deactivaterobot", "reseterror", "resetpstop", "resetpstop2"})
_SETTINGS = frozenset({"seteob", "seteom", "setctrlportmonitoring", "setmonitoringinterval", "setrealtimemonitoring",
                       "getmonitoringinterval", "getrealtimemonitoring", "synccmdqueue", "setrtc", "logtrace"})
"""Commands about the connection, not the robot: taken in any state and at once."""
_MOTORS = frozenset({"home"})
_MOTION = frozenset({"pausemotion", "resumemotion", "clearmotion"})

_ERRORS = {"collision": 3005, "torque": 3029, "gripper": 3025, "drives": 3006}
_STOPS = {"p_stop": SafetyStop.P_STOP_2, "e_stop": SafetyStop.E_STOP}
_SIGNALS = frozenset(stop.value for stop in SafetyStop)
_INCORRECT = frozenset({1001, 1002, 1003})


class Meca500:
    """Firmware of the robot.

    Parameters
    ----------
    physics : Clock
        Laboratory time: everything that moves.
    wall : Clock
        Wall time: the monitoring interval and time stamps.
    world : ArmWorld
        What the gripper closes on.

    Notes
    -----
    `fail` knows ``collision`` [3005], ``torque`` [3029], ``gripper`` [3025], ``drives`` [3006] (only a power cycle helps),
    ``p_stop`` [3032], ``e_stop`` [3070] (motors off) and ``e_stop_reset``.
    """

    failures = (*_ERRORS, *_STOPS, "e_stop_reset")

    def __init__(self, physics: Clock, wall: Clock, world: ArmWorld) -> None:
        self._control: int | None = None
        self._monitors: list[int] = []
        self._out: dict[int, bytearray] = {}
        self._robot = Robot(physics, world, self._say, self._tell_changes)
        self._monitoring = Monitoring(self._robot, wall)
        self._forget_client()

    def _forget_client(self) -> None:
        self._control = None
        self._lines = Lines()
        self._held: deque[Command] = deque()
        self._is_copied = False

    # ------------------------------------------------------------------------------------------ NetworkFirmware

    def opened(self, port: str, connection: int) -> Sequence[Outgoing]:
        """Greet a client of the ``control`` or the ``monitor`` port; a second one on ``control`` is turned away."""
        self._robot.advance()
        if port == "control" and self._control is not None:
            return [Outgoing(connection, encode(3001, TEXTS[3001]), is_last=True)]
        self._to(connection, 3000, BANNER)
        for stop in self._robot.stops:
            # A lost connection is over now, but waits to be acknowledged (2); the others still stand (1).
            self._to(connection, stop.value, "2" if stop is SafetyStop.CONNECTION_DROPPED else "1")
        if port == "control":
            self._control = connection
        else:
            self._monitors.append(connection)
            self._put(connection, self._monitoring.everything())
        return self._flush()

    def feed(self, connection: int, data: bytes) -> Sequence[Outgoing]:
        """Take commands from the control port, in pieces of any size."""
        if connection != self._control:
            return ()
        self._robot.advance()
        for line in self._lines.feed(data):
            if line is None:
                self._say(3003, TEXTS[3003])
            else:
                self._take(line)
        return self._flush()

    def step(self) -> Sequence[Outgoing]:
        """Move on, and monitor when an interval is over."""
        self._robot.advance()
        self._work_off()
        self._tell(self._monitoring.cycle())
        return self._flush()

    def due_s(self) -> float:
        return self._robot.due_s()

    def closed(self, connection: int) -> None:
        """A client has gone; the robot stops when it was the one in control and had commands pending."""
        if connection in self._monitors:
            self._monitors.remove(connection)
        if connection == self._control:
            self._robot.advance()
            self._forget_client()
            if self._robot.n_pending > 0:
                self._robot.stop(SafetyStop.CONNECTION_DROPPED)

    def power_cycle(self) -> None:
        """All volatile state is lost; joints and fingers stay where they are."""
        self._forget_client()
        self._monitors.clear()
        self._out.clear()
        self._robot.power_on()
        self._monitoring.power_on()

    def fail(self, words: str) -> None:
        """Go into the error that `words` name (one of `failures`)."""
        self._robot.advance()
        if words in _ERRORS:
            self._robot.go_wrong(_ERRORS[words], TEXTS[_ERRORS[words]])
        elif words in _STOPS:
            self._robot.stop(_STOPS[words])
        else:
            self._robot.release(SafetyStop.E_STOP)

    # ------------------------------------------------------------------------------------------------ commands

    def _take(self, line: str) -> None:
        try:
            command = Command.parse(line)
            if self._robot.is_busy and not _is_immediate(command.name):
                self._held.append(command)
            else:
                self._obey(command)
        except Refusal as error:
            self._refuse(error)

    def _work_off(self) -> None:
        """Obey what was held back while the robot was activating or homing."""
        while self._held and not self._robot.is_busy:
            try:
                self._obey(self._held.popleft())
            except Refusal as error:
                self._refuse(error)

    def _refuse(self, error: Refusal) -> None:
        robot = self._robot
        if error.code in _INCORRECT and robot.is_activated and not robot.is_in_error:
            robot.go_wrong(error.code, error.text)
        else:
            self._say(error.code, error.text)

    def _obey(self, command: Command) -> None:
        robot, name = self._robot, command.name
        if reports.is_request(name):
            self._say(*reports.answer(command, robot, self._monitoring.stamp_us))
        elif name in _SETTINGS:
            self._adjust(command)
        elif name in _IN_ANY_STATE:
            command.numbers(0)
            self._switch(name)
        elif name in QUEUED or name in _MOTION or name in _MOTORS:
            self._check_state(name)
            self._move(command)
        else:
            raise refusal(1001, command.text)

    def _check_state(self, name: str) -> None:
        robot = self._robot
        for is_so, code in ((robot.is_in_error, 1011), (not robot.is_activated, 1005),
                            (not robot.is_homed and name not in _MOTORS, 1006)):
            if is_so:
                raise Refusal(code, TEXTS[code])

    def _switch(self, name: str) -> None:
        robot = self._robot
        match name:
            case "activaterobot":
                if robot.is_in_error:
                    raise Refusal(1011, TEXTS[1011])
                robot.activate()
            case "deactivaterobot":
                robot.deactivate()
            case "reseterror":
                robot.reset_error()
            case _:
                robot.release(SafetyStop.P_STOP_2)

    def _move(self, command: Command) -> None:
        robot = self._robot
        if command.name in QUEUED:
            robot.enqueue(checked(command))
            return
        command.numbers(0)
        match command.name:
            case "home":
                robot.home()
            case "pausemotion":
                robot.pause()
            case "resumemotion":
                robot.resume()
            case _:
                robot.clear()

    def _adjust(self, command: Command) -> None:
        """Commands about the connection and what is told over it."""
        robot = self._robot
        match command.name:
            case "seteob":
                robot.has_eob = bool(command.whole(0, 1))
                self._say(*_text(2054 if robot.has_eob else 2055))
            case "seteom":
                robot.has_eom = bool(command.whole(0, 1))
                self._say(*_text(2052 if robot.has_eom else 2053))
            case "setctrlportmonitoring":
                self._is_copied = bool(command.whole(0, 1))
                self._say(2096, listed((self._is_copied,)))
                if self._is_copied and self._control is not None:
                    self._put(self._control, self._monitoring.everything())
            case "setmonitoringinterval":
                (interval_s,) = command.numbers(1)
                if not 0.001 <= interval_s <= 1.0:
                    raise refusal(1003, command.text)
                self._monitoring.set_interval(interval_s)
            case "getmonitoringinterval":
                self._say(2116, listed((self._monitoring.interval_s,)))
            case "setrealtimemonitoring":
                self._monitoring.real_time = reports.real_time_codes(command)
                self._say(2117, listed(self._monitoring.real_time))
            case "getrealtimemonitoring":
                self._say(2117, listed(self._monitoring.real_time))
            case "synccmdqueue":
                self._say(2097, str(command.whole(0, 2**32 - 1)))
            case "setrtc":  # nothing depends on the robot's date
                command.numbers(1)
            case _:  # logtrace: no log is kept
                pass

    # ------------------------------------------------------------------------------------------------- messages

    def _say(self, code: int, text: str) -> None:
        """To the client in control; safety signals also to those who monitor."""
        if self._control is not None:
            self._to(self._control, code, text)
        if code in _SIGNALS:
            for connection in self._monitors:
                self._to(connection, code, text)

    def _tell_changes(self) -> None:
        self._tell(self._monitoring.changes())

    def _tell(self, data: bytes) -> None:
        """To all who monitor, and to the client in control when it asked for a copy."""
        if not data:
            return
        copied = [self._control] if self._is_copied and self._control is not None else []
        for connection in self._monitors + copied:
            self._put(connection, data)

    def _to(self, connection: int, code: int, text: str) -> None:
        self._put(connection, encode(code, text))

    def _put(self, connection: int, data: bytes) -> None:
        self._out.setdefault(connection, bytearray()).extend(data)

    def _flush(self) -> Sequence[Outgoing]:
        outgoing = [Outgoing(connection, bytes(data)) for connection, data in self._out.items()]
        self._out.clear()
        return outgoing


def _is_immediate(name: str) -> bool:
    return name in _SETTINGS or reports.is_request(name)


def _text(code: int) -> tuple[int, str]:
    return code, TEXTS[code]
