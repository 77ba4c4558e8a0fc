"""Bridge of the Mecademic Meca500 robot arm (control port 10000, monitoring port 10001).

A motion command has no reply. Whether it was carried out is known only from the checkpoint queued behind it: ``[3030][n]``
when it is reached, ``[3040][n]`` when it never will be (manual, SetCheckpoint). Time is used for deadlines alone.
A motion that was pending when the line dropped has failed: it is never sent again, because nobody knows how far it went.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from firmware_bridges import meca500 as m
from firmware_bridges.controller import BridgeSettings, Controller
from firmware_bridges.link import Endpoint, TcpLink
from firmware_bridges.robot_line import MALFORMED, RobotLine
from firmware_bridges.waits import Arrival
from lab.core.channels import ARM, narrow
from lab.core.clock import deadline_s
from lab.core.errors import CommandError, InstrumentError, LinkDown, LinkError

log = logging.getLogger(__name__)

CONTROL_PORT, MONITOR_PORT = 10000, 10001

DEFAULT_VELOCITY_PCT = 25.0
"""Joint velocity after activation (SetJointVel)."""

POWER_S = 30.0
"""Longest activation or homing, laboratory seconds (a few seconds on the robot)."""

GRIPPER_S = 10.0
"""Longest stroke of the gripper, laboratory seconds (below 1 s on the robot at its default velocity)."""

SLACK_S = 5.0
"""Added to every deadline on the wall for the network and the machine."""

MONITOR_S = 0.05
"""Joints and pose of the monitoring port are published at most this often, wall seconds."""

FINGERS_S = 0.005
"""Pause between two looks at fingers that move, wall seconds."""

_NO_GRIPPER = 1038
_STATUS = m.command("GetStatusRobot")
_POSITION = m.command("GetJoints") + m.command("GetPose")
_GRIPPER = m.command("GetRtGripperState")


def motion_deadline_s(velocity_pct: float, speed: float) -> float:
    """Longest wait for one motion on the wall, s.

    The longest joint move, 350 degrees of joint 1 at 150 degrees/s (data sheet), takes 2.3 s at full velocity; five times
    that for acceleration and straight lines, and 15 s more, all in laboratory time.
    """
    return deadline_s(15.0 + 1200.0 / velocity_pct, speed, SLACK_S)


class Motion:
    """One motion on its way, from queueing it to its checkpoint."""

    def __init__(self, what: str, checkpoint: int, n_halts: int) -> None:
        self.what = what
        self.checkpoint = checkpoint
        self.n_halts = n_halts
        """Stops that had been commanded before it: one more, and it is not to be."""
        self.cause = ""
        self.kind: type[InstrumentError] = CommandError
        self.ended = Arrival()

    def fail(self, cause: str, kind: type[InstrumentError] = CommandError) -> None:
        """The first cause counts: what follows is its consequence."""
        if not self.cause:
            self.cause, self.kind = cause, kind
        self.ended.set()

    def lose(self, error: LinkError) -> None:
        """The line has dropped."""
        self.fail(f"the line dropped during the motion, which is not sent again: {error}", LinkDown)

    def hear(self, message: m.Message) -> bool:
        """Take note of a message; returns whether it was about this motion."""
        if message.code in (m.CHECKPOINT_REACHED, m.CHECKPOINT_DISCARDED) and message.text.strip() == str(self.checkpoint):
            if message.code == m.CHECKPOINT_DISCARDED:
                self.fail(f"{message.words} the motion was discarded")
            self.ended.set()
            return True
        if message.is_failure:
            self.fail(message.words)
            return message.is_command_error
        if message.code in (m.CLEARED, m.DEACTIVATED):
            self.fail(message.words)
        return False


class ArmController(Controller):
    """The Meca500 behind the channel table ARM."""

    def __init__(self, settings: BridgeSettings, poll_s: float = 0.25) -> None:
        table = narrow(ARM, settings.config.limits, f"instruments.{settings.name}.limits")
        super().__init__(settings.name, {"": table}, poll_s)
        endpoint = Endpoint.parse(settings.endpoint)
        control = TcpLink(settings.name, endpoint.host, endpoint.port or CONTROL_PORT)
        monitor = TcpLink(settings.name, endpoint.host, int(endpoint.options.get("monitor", MONITOR_PORT)))
        self._line = RobotLine(settings.name, control, monitor, self._hear, self._watch, self._lost)
        self._speed = settings.speed
        self._velocity_pct = DEFAULT_VELOCITY_PCT
        self._moving = threading.Lock()
        self._asking_gripper = threading.RLock()
        """Held from the question to its answer: of two that are open, either may get the answer to the older one."""
        self._motion: Motion | None = None
        self._last_checkpoint = 0
        self._n_halts = 0
        self._halted_by = ""
        self._words = ""
        self._no_gripper = ""
        self._next_monitor_s = {m.JOINTS: 0.0, m.POSE: 0.0}
        self.commands |= {
            "ACTIVATE": lambda _: self._activate(),
            "HOME": lambda _: self._home(),
            "DEACTIVATE": lambda _: self._deactivate(),
            "STOP": lambda _: self._halt("STOP"),
            "MOVE_JOINTS": lambda v: self._move("MoveJoints", v),
            "MOVE_POSE": lambda v: self._move("MovePose", v),
            "MOVE_LIN": lambda v: self._move("MoveLin", v),
            "GRIPPER": self._grip,
            "VELOCITY": self._set_velocity,
        }

    # ------------------------------------------------------------------------------------------------- connection

    def _connect(self) -> None:
        greeting = self._line.open()
        self._words = self._no_gripper = ""
        firmware, serial = self._line.ask(m.command("GetFwVersionFull") + m.command("GetRobotSerial"),
                                          frozenset({m.FIRMWARE_FULL}), frozenset({m.SERIAL}))
        model = greeting.text.removeprefix("Connected to ").split(" v")[0]
        self.publish("IDENTITY", f"Mecademic {model}, firmware {firmware.text}, serial {serial.text}")
        self._read_back()

    def _disconnect(self) -> None:
        self._line.close()

    def _poll(self) -> None:
        epoch, waiting = self.waits.epoch, self.waits.told()
        if waiting and self.waits.is_virtual:
            self._read_status()  # any answer will do, and nobody looks at the rest before the motion has ended
        else:
            self._read_back()
        for wait in waiting:
            wait.not_yet(epoch)

    def _lost(self, error: LinkError) -> None:
        motion = self._motion
        if motion is not None:
            motion.lose(error)
        if not self.is_stopping:
            self.poll_soon()

    # ---------------------------------------------------------------------------------------------------- readings

    def _hear(self, message: m.Message) -> bool:
        """Every message of the control port, in its reader's thread: readings are published in the order the robot said them.

        So no status from before an error, a reset or a motion can be taken for one from after it.
        """
        motion = self._motion
        if motion is not None:
            self._heed_halts(motion)  # what the robot says next is the consequence
        match message.code:
            case m.STATUS_ROBOT:
                self._publish_status(m.RobotStatus.parse(message), motion)
            case m.JOINTS:
                self.publish("JOINTS", message.numbers(6))
            case m.POSE:
                self.publish("POSE", message.numbers(6))
            case m.GRIPPER_STATE:
                state = m.GripperState.parse(message)
                self.publish("HOLDING", state.is_holding)
                self.publish("GRIPPER_RBV", "open" if state.is_open else "closed")
        if message.is_failure:
            self._words = self._words or message.words  # the first one counts: [1011] and the like only follow
            log.warning("%s: %s", self.name, message.words)
        return motion is not None and motion.hear(message)

    def _publish_status(self, status: m.RobotStatus, motion: Motion | None) -> None:
        if motion is not None and (status.is_in_error or not status.is_activated):
            motion.fail(self._words or f"the robot is {status.state}")
        if not status.is_in_error:
            self._words = ""
        self.publish("STATE", status.state)
        self.publish("ERROR_TEXT", (self._words or "in error since before the bridge connected") if status.is_in_error else "")

    def _watch(self, message: m.Message) -> None:
        """Every message of the monitoring port, in its reader's thread: joints and pose during a motion, for people."""
        key = {m.JOINTS: "JOINTS", m.POSE: "POSE"}.get(message.code)
        if key is None or self._motion is None:
            return
        now = time.monotonic()
        if now >= self._next_monitor_s[message.code]:
            self._next_monitor_s[message.code] = now + MONITOR_S
            self.publish(key, message.numbers(6))

    def _read_back(self) -> m.RobotStatus:
        """Ask for everything; it is published as it comes."""
        wanted = (frozenset({code}) for code in (m.STATUS_ROBOT, m.JOINTS, m.POSE))
        status = self._line.ask(_STATUS + _POSITION, *wanted, refusals=MALFORMED)[0]
        self._read_gripper()
        return m.RobotStatus.parse(status)

    def _read_status(self) -> m.RobotStatus:
        return m.RobotStatus.parse(self._line.ask(_STATUS, frozenset({m.STATUS_ROBOT}), refusals=MALFORMED)[0])

    def _read_gripper(self) -> m.GripperState | None:
        if self._no_gripper:
            return None
        try:
            with self._asking_gripper:
                reply = self._line.ask(_GRIPPER, frozenset({m.GRIPPER_STATE}), refusals=MALFORMED | {_NO_GRIPPER})[0]
            return m.GripperState.parse(reply)
        except CommandError as error:
            if f"[{_NO_GRIPPER}]" not in str(error):
                raise
            self._no_gripper = str(error)
            for key in ("GRIPPER_RBV", "HOLDING"):
                self.invalidate(key, self._no_gripper)
            return None

    # ---------------------------------------------------------------------------------------------------- commands

    def _activate(self) -> None:
        self._line.ask(m.command("ActivateRobot"), frozenset({m.ACTIVATED, m.ALREADY_ACTIVATED}), deadline_s=self._wall_s(POWER_S),
                       waits=self.waits)
        self._read_back()

    def _home(self) -> None:
        self._line.ask(m.command("Home"), frozenset({m.HOMED, m.ALREADY_HOMED}), deadline_s=self._wall_s(POWER_S),
                       waits=self.waits)
        if self._velocity_pct != DEFAULT_VELOCITY_PCT:  # activation has put it back
            self._send_velocity(self._velocity_pct)
        self._read_back()

    def _deactivate(self) -> None:
        self._line.ask(m.command("DeactivateRobot"), frozenset({m.DEACTIVATED}), deadline_s=self._wall_s(POWER_S),
                       waits=self.waits)
        self._read_back()

    def _set_velocity(self, value: object) -> None:
        """Sent at once, or after homing: the robot takes it only when it is ready for motion (SetJointVel)."""
        velocity_pct = float(value)  # type: ignore[arg-type]
        if self.value("STATE") not in ("off", "activated"):
            self._send_velocity(velocity_pct)
        self._velocity_pct = velocity_pct

    def _send_velocity(self, velocity_pct: float) -> None:
        self._line.ask(m.command("SetJointVel", velocity_pct) + _STATUS, frozenset({m.STATUS_ROBOT}), is_fenced=True)

    def _move(self, name: str, target: object) -> None:
        numbers: Sequence[float] = [float(v) for v in target]  # type: ignore[attr-defined]
        self._carry_out(name, m.command(name, *numbers), motion_deadline_s(self._velocity_pct, self._speed))
        self._read_back()

    def _grip(self, target: object) -> None:
        """Open or close the gripper; done when the fingers have stopped, whether or not they hold something."""
        is_opening = target in ("open", 1)
        name = "GripperOpen" if is_opening else "GripperClose"
        # The checkpoint only tells that the fingers have begun to move: the robot does not wait for them (MoveGripper).
        self._carry_out(name, m.command(name), self._wall_s(GRIPPER_S), lambda motion: self._await_fingers(motion, is_opening))

    def _await_fingers(self, motion: Motion, is_opening: bool) -> None:
        deadline = time.monotonic() + self._wall_s(GRIPPER_S)
        with self.waits.waiting() as wait:
            while not motion.cause:
                with self._asking_gripper:
                    epoch = self.waits.epoch
                    state = self._read_gripper()
                if state is None:
                    motion.fail(self._no_gripper)
                elif state.has_done(opening=is_opening):
                    return
                elif self.is_stopping or time.monotonic() > deadline:
                    motion.fail(f"the fingers have not stopped within {GRIPPER_S:g} s of laboratory time: {state}")
                wait.not_yet(epoch)
                self.waits.pause(FINGERS_S, epoch)

    def _carry_out(self, what: str, request: bytes, deadline_s: float, finish: Callable[[Motion], None] | None = None) -> None:
        """Queue a command with a checkpoint behind it, and wait for the checkpoint, and then for `finish`."""
        if not self._moving.acquire(blocking=False):
            pending = self._motion
            raise CommandError(f"{self.name}: {what} refused: {pending.what if pending else 'a motion'} is pending; STOP it first")
        n_halts = self._n_halts
        try:
            self._ready_the_queue(what)
            self._last_checkpoint = self._last_checkpoint % m.MAX_CHECKPOINT + 1
            motion = self._motion = Motion(what, self._last_checkpoint, n_halts)
            fenced = request + m.command("SetCheckpoint", motion.checkpoint) + _STATUS
            try:
                self._line.ask(fenced, frozenset({m.STATUS_ROBOT}), is_fenced=True)
            except LinkError as error:
                motion.lose(error)
            else:
                if self._heed_halts(motion):  # a STOP may have overtaken the command, and found nothing to clear
                    self._clear()
            motion.ended.expect(self.waits)
            self.poll_soon()
            if not motion.ended.wait(deadline_s):
                motion.fail(f"not done within {deadline_s:.3g} s; it was stopped")
                self._clear()
            if finish is not None and not motion.cause:
                finish(motion)
        finally:
            self._motion = None
            self._moving.release()
        if motion.cause:
            self._show_failure()
            raise motion.kind(f"{self.name}: {what} failed: {motion.cause}")

    def _show_failure(self) -> None:
        """STATE and ERROR_TEXT are true when the command comes back."""
        try:
            self._read_back()
        except InstrumentError as error:
            log.debug("%s: %s", self.name, error)  # the next poll finds the same, and says so

    def _ready_the_queue(self, what: str) -> None:
        """After a stop the robot is paused with an empty queue: resume it, after making sure that it is empty."""
        status = self._read_status()
        if status.is_in_error:  # the robot would only say that it is in error, not why
            raise CommandError(f"{self.name}: {what} refused: the robot is in error: {self._words or 'since before the bridge connected'}")
        if status.is_activated and status.is_paused and not status.is_in_error:
            self._resume()

    def _resume(self) -> None:
        self._line.ask(m.command("ClearMotion"), frozenset({m.CLEARED}))
        self._line.ask(m.command("ResumeMotion"), frozenset({m.RESUMED}))

    def _clear(self) -> None:
        # Both at once, without waiting for one's turn or for an answer in between: stopping comes before everything else.
        self._line.urge(m.command("PauseMotion") + m.command("ClearMotion"))

    def _halt(self, who: str) -> None:
        """Stop and clear the motion queue; a pending motion fails."""
        self._halted_by = who
        self._n_halts += 1
        motion = self._motion
        if motion is not None:
            self._heed_halts(motion)
        if self.value("STATE") == "off" and motion is None:
            return  # without power nothing moves, and the robot would take the commands for an error ([1005])
        self._clear()
        if not self._comes_to_rest(who):
            raise CommandError(f"{self.name}: {who}: the robot still moves")

    def _heed_halts(self, motion: Motion) -> bool:
        """Fail a motion for which a stop has been commanded since it began; returns whether one has."""
        if is_halted := self._n_halts != motion.n_halts:
            motion.fail(f"stopped by {self._halted_by}")
        return is_halted

    def _comes_to_rest(self, who: str) -> bool:
        """The robot brakes first (manual, PauseMotion).

        A motion that was commanded just before the stop may be begun just after it, in a thread of its own: it is stopped too.
        """
        deadline = time.monotonic() + self._wall_s(2.0)
        while True:
            is_beginning, motion = self._moving.locked(), self._motion
            if motion is not None and not motion.cause:
                motion.fail(f"stopped by {who}")
                self._clear()
            if self._read_back().is_block_ended and not (is_beginning and motion is None):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)

    def _make_safe(self) -> None:
        self._halt("SAFE")

    def _reset(self) -> None:
        """ResetError, then ResumeMotion with an empty queue (manual, 2.2: error mode)."""
        if not self.is_connected:
            self.poll_soon()
            raise LinkDown(f"{self.name}: not connected: {self.value('LAST_ERROR')}")
        self._line.ask(m.command("ResetError"), frozenset({m.ERROR_RESET, m.NO_ERROR_TO_RESET}))
        status = self._read_back()
        if status.is_in_error:
            raise CommandError(f"{self.name}: the error persists after ResetError: {self._words or 'no cause given'}")
        if status.is_activated and status.is_paused:
            self._resume()
            self._read_back()

    def _wall_s(self, lab_s: float) -> float:
        return deadline_s(lab_s, self._speed, SLACK_S)


def build(settings: BridgeSettings) -> ArmController:
    """The controller for an endpoint ``tcp://host:10000?monitor=10001``.

    Raises
    ------
    InstrumentError
        When the endpoint is not a TCP one.
    """
    if not settings.endpoint.startswith("tcp://"):
        raise InstrumentError(f"{settings.name}: endpoint: given {settings.endpoint!r}; allowed: tcp://host:10000?monitor=10001")
    return ArmController(settings)
