"""The robot arm: takes samples from one place of lab.yaml to another.

A `Pick`, `Place` or `Park` is a sequence of commands to the bridge under one status with one deadline. No command follows
after a `stop`: stopping and commanding exclude each other by a lock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

from bluesky.utils import NoReplayAllowed
from ophyd import Component, Kind

from devices.instrument import BridgedDevice
from devices.signals import Command, Reading
from devices.statuses import OperationStatus, Steps, follow
from lab.core.capabilities import ArmMove, Park, Pick, Place
from lab.core.channels import ARM, by_name, narrow
from lab.core.clock import deadline_s
from lab.core.config import ArmConfig, ArmPlace
from lab.core.errors import CommandError, EmptyPlace, LimitError

MOTION_S = 1300.0
"""Net under one motion, laboratory seconds: the slowest velocity (1 %). The bridge's own deadline, which knows the velocity,
comes first; this one is for a bridge that hangs."""

POWER_S = 60.0
"""Net under activation and homing, laboratory seconds."""

SLACK_S = 15.0
"""Added to every deadline, wall seconds."""

IN_PLACE_MM = 2.0
"""The tool is in a place, or on the straight way into it, when it is no further from that line."""

_COMMANDS = {"activate": "ACTIVATE", "home": "HOME", "deactivate": "DEACTIVATE", "halt": "STOP", "move_joints": "MOVE_JOINTS",
             "move_pose": "MOVE_POSE", "move_lin": "MOVE_LIN", "gripper": "GRIPPER", "velocity": "VELOCITY"}


class Arm(BridgedDevice):
    """The Meca500 behind its bridge; implements `lab.core.capabilities.Arm`.

    Parameters
    ----------
    prefix : str
        PV prefix with its colon: ``f"{lab.prefix}{name}:"``.
    name : str
    places : mapping of str to ArmPlace
        Where samples may stand (``lab.places``).
    config : ArmConfig
        The arm's part of lab.yaml: parking position, limits.
    speed : float
        Laboratory seconds per wall second; for deadlines.
    """

    joints = Component(Reading, "JOINTS", kind=Kind.normal)
    pose = Component(Reading, "POSE", kind=Kind.normal)
    state = Component(Reading, "STATE", string=True, kind=Kind.normal)
    holding = Component(Reading, "HOLDING", kind=Kind.hinted)
    gripper_readback = Component(Reading, "GRIPPER_RBV", string=True, kind=Kind.omitted)
    error_text = Component(Reading, "ERROR_TEXT", is_text=True, kind=Kind.omitted)
    activate = Component(Command, "ACTIVATE", is_exclusive=True, kind=Kind.omitted)
    home = Component(Command, "HOME", is_exclusive=True, kind=Kind.omitted)
    deactivate = Component(Command, "DEACTIVATE", kind=Kind.omitted)
    halt = Component(Command, "STOP", kind=Kind.omitted)
    move_joints = Component(Command, "MOVE_JOINTS", is_exclusive=True, kind=Kind.omitted)
    move_pose = Component(Command, "MOVE_POSE", is_exclusive=True, kind=Kind.omitted)
    move_lin = Component(Command, "MOVE_LIN", is_exclusive=True, kind=Kind.omitted)
    gripper = Component(Command, "GRIPPER", is_exclusive=True, kind=Kind.omitted)
    velocity = Component(Command, "VELOCITY", kind=Kind.omitted)

    def __init__(self, prefix: str, *, name: str, places: Mapping[str, ArmPlace], config: ArmConfig, speed: float,
                 **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.places = dict(places)
        self._park_joints = config.park_joints
        self._speed = speed
        self._commanding = threading.RLock()
        self._moving: OperationStatus | None = None
        rows = by_name(narrow(ARM, config.limits, f"instruments.{name}.limits"))
        for attribute, channel in _COMMANDS.items():
            getattr(self, attribute).channel = rows[channel]

    # ------------------------------------------------------------------------------------------------------- moves

    def set(self, move: ArmMove) -> OperationStatus:
        """Carry out a `Pick`, `Place` or `Park`.

        Returns
        -------
        OperationStatus
            Fails with LimitError for an unknown place (nothing moves), with CommandError when the arm is moving already,
            when there is nothing to pick or to place, and in the robot's own words.
        """
        what = _in_words(move)
        status = OperationStatus(self, f"{self.name}: {what}", self._wall_s(6 * MOTION_S))
        with self._commanding:
            pending = self._moving
            if pending is not None and not pending.done:
                status.fail(CommandError(f"{self.name}: {what} refused: a move is under way; wait for it or stop it"))
                return status
            try:
                steps = self._steps_of(move, status)
            except (LimitError, CommandError) as error:
                status.fail(error)
                return status
            self._moving = status
        return follow(status, steps)

    def stop(self, *, success: bool = False) -> None:
        """Stop the motion at once; the move under way fails (Bluesky calls this when it pauses or aborts)."""
        with self._commanding:
            self._give_up("it was stopped")
            self.halt.set(1)
        super().stop(success=success)

    def pause(self) -> None:
        """Bluesky asks whether it may repeat messages after a pause: a transfer that began may not be begun again."""
        raise NoReplayAllowed(f"{self.name}: moves are not repeated")

    def resume(self) -> None:
        """Nothing to do: the plan goes on by itself."""

    def is_holding(self) -> bool:
        """Whether the gripper holds a sample, read now; raises when the arm cannot be asked."""
        return bool(self.holding.get(use_monitor=False))

    # ------------------------------------------------------------------------------------------------------ health

    def recover(self) -> OperationStatus:
        """Reset errors, resume, activate and home as needed; done when the arm is ready to move."""
        status = OperationStatus(self, f"{self.name}: recover", self._wall_s(3 * POWER_S))
        return follow(status, self._recovering(status))

    def make_safe(self) -> OperationStatus:
        """Stop, clear the motion queue; a move under way fails."""
        with self._commanding:
            self._give_up("the arm was made safe")
            return super().make_safe()

    def state_in_words(self) -> str:
        """The robot's state, and whether it holds a sample."""
        return f"{self.state.get(use_monitor=False)}{', holding a sample' if self.is_holding() else ''}"

    def fault(self) -> str:
        """The robot's error in its own words."""
        return str(self.error_text.get(use_monitor=False))

    # ------------------------------------------------------------------------------------------------------- steps

    def _steps_of(self, move: ArmMove, status: OperationStatus) -> Steps:
        match move:
            case Park():
                return self._parking(status)
            case Pick(place=place):
                return self._picking(place, self._place(place), status)
            case Place(place=place):
                return self._placing(place, self._place(place), status)
        raise CommandError(f"{self.name}: given {move!r}; allowed: Pick(place), Place(place) or Park()")

    def _rising(self, status: OperationStatus) -> Steps:
        """Straight up out of a place, if a move that failed has left the tool in one: sideways it would take everything along."""
        x, y, z, *_ = self.pose.get(use_monitor=False)
        for place in self.places.values():
            beside_mm, above_mm = math.dist((x, y), place.pose[:2]), z - place.pose[2]
            if beside_mm <= IN_PLACE_MM and -IN_PLACE_MM <= above_mm < place.approach_mm - IN_PLACE_MM:
                yield self._step(self.move_lin, _above(place), status)
                return

    def _parking(self, status: OperationStatus) -> Steps:
        yield from self._rising(status)
        yield self._step(self.move_joints, self._park_joints, status)

    def _picking(self, name: str, place: ArmPlace, status: OperationStatus) -> Steps:
        if self.is_holding():
            raise CommandError(f"{self.name}: cannot pick at {name}: the gripper holds a sample already; Place it first")
        yield from self._rising(status)
        yield self._step(self.gripper, "open", status)
        yield self._step(self.move_pose, _above(place), status)
        yield self._step(self.move_lin, place.pose, status)
        yield self._step(self.gripper, "closed", status)
        was_there = self.is_holding()
        yield self._step(self.move_lin, _above(place), status)
        if not was_there:
            raise EmptyPlace(f"{self.name}: no sample at {name}: the gripper closed on nothing")
        if not self.is_holding():
            raise CommandError(f"{self.name}: lost the sample of {name} while lifting it")

    def _placing(self, name: str, place: ArmPlace, status: OperationStatus) -> Steps:
        if not self.is_holding():
            raise CommandError(f"{self.name}: cannot place at {name}: the gripper holds nothing")
        yield from self._rising(status)
        yield self._step(self.move_pose, _above(place), status)
        if not self.is_holding():
            raise CommandError(f"{self.name}: lost the sample on the way to {name}")
        yield self._step(self.move_lin, place.pose, status)
        yield self._step(self.gripper, "open", status)
        yield self._step(self.move_lin, _above(place), status)
        if self.is_holding():
            raise CommandError(f"{self.name}: the sample did not come off at {name}: the gripper still holds it")

    def _recovering(self, status: OperationStatus) -> Steps:
        yield self._step(self.reset_errors, 1, status)
        if self._state_now() == "off":
            yield self._step(self.activate, 1, status, POWER_S)
        if self._state_now() == "activated":
            yield self._step(self.home, 1, status, POWER_S)
        if (state := self._state_now()) not in ("ready", "moving"):
            raise CommandError(f"{self.name}: is {state} after recovery: {self.fault() or 'no cause given'}")

    def _step(self, signal: Command, value: Any, status: OperationStatus, lab_s: float = MOTION_S) -> OperationStatus:
        """One command of a sequence, unless the sequence was ended in the meantime."""
        with self._commanding:
            if status.done:
                raise CommandError(f"{self.name}: {signal.attr_name}: not begun, the sequence had ended")
            return signal.set(value, timeout=self._wall_s(lab_s))

    def _give_up(self, why: str) -> None:
        if self._moving is not None and not self._moving.done:
            self._moving.fail(CommandError(f"{self.name}: the move failed: {why}"))

    def _place(self, name: str) -> ArmPlace:
        if name not in self.places:
            raise LimitError(f"{self.name}: given place {name!r}; allowed: {', '.join(self.places)} (lab.yaml: stations)")
        return self.places[name]

    def _state_now(self) -> str:
        return str(self.state.get(use_monitor=False))

    def _wall_s(self, lab_s: float) -> float:
        return deadline_s(lab_s, self._speed, SLACK_S)


def _above(place: ArmPlace) -> tuple[float, ...]:
    x, y, z, *angles = place.pose
    return (x, y, z + place.approach_mm, *angles)


def _in_words(move: ArmMove) -> str:
    return "park" if isinstance(move, Park) else f"{type(move).__name__.lower()} {getattr(move, 'place', move)}"
