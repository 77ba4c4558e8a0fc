"""The simulated Meca500 itself: activation, homing, the motion queue in physics time, errors. No protocol, no network.

The robot is brought up to its clock by `advance`, event by event, so that when a motion ends and what follows it do not
depend on how often it is called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf

from lab.core.clock import Clock
from sim.arm_gripper import STROKE_MM, ArmWorld, Gripper
from sim.arm_motion import Motion, Settings
from sim.arm_protocol import TEXTS, Refusal
from sim.arm_steps import Step, motion_of, set_value
from sim.kinematics import Six, forward, pose_of

ACTIVATION_S = 2.0
HOMING_S = 4.0
"""About as long as the robot takes, laboratory seconds."""
QUEUE_LENGTH = 13_000
"""Commands that the motion queue holds; further ones are answered with [1000]."""

_ZERO: Six = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class SafetyStop(Enum):
    """What stops the robot from outside, by the code of its signal."""

    P_STOP_2 = 3032
    E_STOP = 3070
    CONNECTION_DROPPED = 3086


@dataclass(frozen=True)
class Status:
    """What GetStatusRobot reports."""

    is_activated: bool
    is_homed: bool
    is_in_error: bool
    is_paused: bool
    is_block_ended: bool
    is_still: bool


class Robot:
    """The arm, its gripper and its motion queue.

    Parameters
    ----------
    clock : Clock
        Laboratory time: motion, homing, gripper.
    world : ArmWorld
    say : callable
        Takes the code and text of every message that the robot sends by itself.
    changed : callable
        Called after each change of `status`.
    """

    def __init__(self, clock: Clock, world: ArmWorld, say: Callable[[int, str], None], changed: Callable[[], None]) -> None:
        self._clock, self._say, self._changed = clock, say, changed
        self._joints: Six = _ZERO
        self.gripper = Gripper(world)
        self.power_on()

    def power_on(self) -> None:
        """As after the power has come back: nothing active, nothing queued; joints and fingers are where they were."""
        self._now_s = self._clock.now()
        self.settings = Settings()
        self.gripper.stop()
        self.gripper.is_homed = False
        self.is_activated = self.is_homed = self.is_paused = False
        self.has_eob, self.has_eom = True, False
        self.checkpoint = 0
        self.stops: set[SafetyStop] = set()
        self._error: int | None = None
        self._queue: deque[Step] = deque()
        self._motion: Motion | None = None
        self._elapsed_s = 0.0
        self._service_s: float | None = None
        self._service: Callable[[], None] = lambda: None

    # ---------------------------------------------------------------------------------------------- what it is

    @property
    def is_in_error(self) -> bool:
        return self._error is not None

    @property
    def is_busy(self) -> bool:
        """Activating or homing: further commands wait."""
        return self._service_s is not None

    @property
    def is_moving(self) -> bool:
        return self._motion is not None and self._motion.is_moving and not self.is_paused

    @property
    def n_pending(self) -> int:
        """Commands in the queue."""
        return len(self._queue) + (self._motion is not None)

    @property
    def status(self) -> Status:
        is_still = not self.is_moving
        return Status(self.is_activated, self.is_homed, self.is_in_error, self.is_paused or self.is_in_error,
                      is_still and self.n_pending == 0, is_still)

    @property
    def joints(self) -> Six:
        return self._joints

    @property
    def pose(self) -> Six:
        """Tool in the world frame."""
        return pose_of(self.settings.tool(self._joints))

    @property
    def joint_velocities(self) -> tuple[float, ...]:
        """deg/s."""
        if not self.is_moving or self._motion is None:
            return _ZERO
        dt_s = 1e-3
        before, after = self._motion.joints(self._elapsed_s - dt_s), self._motion.joints(self._elapsed_s + dt_s)
        return tuple((b - a) / (2.0 * dt_s) for a, b in zip(before, after, strict=True))

    # ---------------------------------------------------------------------------------------------- what is asked

    def activate(self) -> None:
        """Power the motors; [2000] when done, [1013] under an emergency stop."""
        if SafetyStop.E_STOP in self.stops:
            raise Refusal(1013, TEXTS[1013])
        if self.is_activated:
            self._tell(2000)
            return
        self._serve(ACTIVATION_S, self._activated)

    def home(self) -> None:
        """Home all joints and the gripper; [2002] when done."""
        if self.is_homed:
            self._tell(2002)
            return
        self._serve(HOMING_S, self._homed)

    def deactivate(self) -> None:
        """Motors off, brakes on; homing and motion settings are lost."""
        self._motors_off()
        self._tell(2004)
        self._changed()

    def pause(self) -> None:
        self._hold_still()
        self._tell(2042)
        self._changed()

    def resume(self) -> None:
        """Go on; a safety stop that is over is acknowledged by it."""
        for stop in (SafetyStop.P_STOP_2, SafetyStop.CONNECTION_DROPPED):
            self._release(stop)
        self.is_paused = False
        self._tell(2043)
        self._changed()
        self._run_ready()

    def clear(self) -> None:
        """Stop and forget the queue; motion stays paused."""
        self._forget()
        self._tell(2044)
        self._changed()

    def reset_error(self) -> None:
        """[2005], [2006] when there is nothing to reset, [1025] when only the power switch helps. Motion stays paused."""
        if self._error == 3006:
            raise Refusal(1025, TEXTS[1025])
        self._tell(2006 if self._error is None else 2005)
        self._error = None
        self._changed()

    def enqueue(self, step: Step) -> None:
        """Append to the motion queue. Raises Refusal [1000] when it is full."""
        if self.n_pending >= QUEUE_LENGTH:
            raise Refusal(1000, TEXTS[1000])
        self._queue.append(step)
        self._changed()
        self._run_ready()

    # ------------------------------------------------------------------------------------------- what befalls it

    def go_wrong(self, code: int, text: str) -> None:
        """Go into error mode: motion stops, the queue is forgotten."""
        self._service_s = None
        self._error = code
        self.gripper.stop()
        self._forget(is_told=False)
        self._say(code, text)
        self._changed()

    def stop(self, stop: SafetyStop) -> None:
        """A safety signal is raised: motion stops and the queue is forgotten; an emergency stop cuts the motors too."""
        self.stops.add(stop)
        if stop is SafetyStop.E_STOP:
            self._motors_off()
        else:
            self._forget(is_told=False)
        self._say(stop.value, "1")
        self._changed()

    def release(self, stop: SafetyStop) -> None:
        """The safety signal is reset."""
        self._release(stop)
        self._changed()

    # ------------------------------------------------------------------------------------------------- time

    def advance(self) -> None:
        """Let everything happen that is due by the clock's time."""
        now_s = self._clock.now()
        while True:
            self._run_ready()
            left_s = now_s - self._now_s
            if left_s <= 0.0:
                return
            due_s = min(left_s, self.due_s())
            self._pass(due_s)
            if due_s >= left_s:
                self._now_s = now_s
                self._finish_due()
                self._run_ready()
                return
            self._finish_due()

    def due_s(self) -> float:
        """Laboratory seconds until a motion, the fingers, activation or homing end."""
        return min(self._motion_due_s(), self._service_due_s(), self.gripper.due_s())

    def _motion_due_s(self) -> float:
        if self._motion is None or self.is_paused:
            return inf
        return max(0.0, self._motion.duration_s - self._elapsed_s)

    def _service_due_s(self) -> float:
        return inf if self._service_s is None else max(0.0, self._service_s - self._now_s)

    def _pass(self, dt_s: float) -> None:
        self._now_s += dt_s
        if self._motion is not None and not self.is_paused:
            self._elapsed_s += dt_s
            self._joints = self._motion.joints(self._elapsed_s)
        if self.gripper.due_s() < inf:
            self.gripper.advance(dt_s, self._flange())
            self._changed()

    def _finish_due(self) -> None:
        if self._service_s is not None and self._now_s >= self._service_s:
            self._service_s = None
            self._service()
        if self._motion is not None and not self.is_paused and self._elapsed_s >= self._motion.duration_s:
            was_moving = self._motion.is_moving
            self._motion = None
            self._changed()
            if was_moving:
                self._came_to_rest()
            if not self._queue:
                self._ended_block()

    # ------------------------------------------------------------------------------------------------ the queue

    def _run_ready(self) -> None:
        """Carry out the queue until something takes time."""
        while self._queue and self._motion is None and not self.is_paused and not self.is_in_error:
            step = self._queue.popleft()
            try:
                motion = self._begin(step)
            except Refusal as error:
                self.go_wrong(error.code, error.text)
                return
            if motion is not None and motion.duration_s > 0.0:
                self._motion, self._elapsed_s = motion, 0.0
                self._changed()
            elif motion is not None:
                self._joints = motion.joints(0.0)
            if self._motion is None and not self._queue:
                self._changed()
                self._ended_block()

    def _begin(self, step: Step) -> Motion | None:
        """The motion that a command asks for; None when it is done at once."""
        match step.name:
            case "setcheckpoint":
                self.checkpoint = int(step.values[0])
                self._say(3030, str(self.checkpoint))
            case "gripperopen":
                self._move_gripper(STROKE_MM)
            case "gripperclose":
                self._move_gripper(0.0)
            case "movegripper":
                self._move_gripper(step.values[0])
            case name if name.startswith("set"):
                set_value(step, self._joints, self.settings)
            case _:
                return motion_of(step, self._joints, self.settings)
        return None

    def _move_gripper(self, target_mm: float) -> None:
        self.gripper.move(target_mm, self.settings.gripper_vel, self._flange())
        self._changed()

    # ----------------------------------------------------------------------------------------------- in common

    def _flange(self) -> Six:
        return pose_of(forward(self._joints))

    def _serve(self, duration_s: float, done: Callable[[], None]) -> None:
        self._service_s, self._service = self._now_s + duration_s, done

    def _activated(self) -> None:
        self.is_activated, self.is_paused = True, False
        self._tell(2000)
        self._changed()

    def _homed(self) -> None:
        self.is_homed = True
        self.gripper.home()
        self._tell(2002)
        self._changed()

    def _motors_off(self) -> None:
        self._service_s = None
        self._forget(is_told=False)
        self.gripper.stop()
        self.settings = Settings()
        self.is_activated = self.is_homed = self.is_paused = False

    def _hold_still(self) -> None:
        was_moving = self.is_moving
        self.is_paused = True
        if was_moving:
            self._changed()
            self._came_to_rest()

    def _forget(self, is_told: bool = True) -> None:
        """Stop, and empty the queue."""
        had_block = self.n_pending > 0
        self._hold_still()
        self._queue.clear()
        self._motion = None
        if had_block and is_told:
            self._ended_block()

    def _release(self, stop: SafetyStop) -> None:
        if stop in self.stops:
            self.stops.remove(stop)
            self._say(stop.value, "0")

    def _came_to_rest(self) -> None:
        if self.has_eom:
            self._tell(3004)

    def _ended_block(self) -> None:
        if self.has_eob:
            self._tell(3012)

    def _tell(self, code: int) -> None:
        self._say(code, TEXTS[code])
