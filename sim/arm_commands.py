"""The Meca500's motion queue commands and what their arguments may be (MC-PM-MECA500, section 2.1, "Motion commands")."""

from __future__ import annotations

from sim.arm_gripper import STROKE_MM
from sim.arm_protocol import Command, refusal
from sim.arm_steps import Step

MAX_CHECKPOINT = 8191
"""The manual gives 8000 to users; those above are taken too, for the vendor's own driver counts with them."""

Limits = tuple[float, float]

# The robot refuses what it cannot reach or turn to when it comes to it; this only keeps arithmetic within bounds.
_ANY: Limits = (-1e6, 1e6)
_FLAG: Limits = (0.0, 1.0)
_SIGN: Limits = (-1.0, 1.0)

QUEUED: dict[str, tuple[Limits, ...]] = {
    "movejoints": (_ANY,) * 6,
    "movejointsrel": (_ANY,) * 6,
    "movepose": (_ANY,) * 6,
    "movelin": (_ANY,) * 6,
    "movelinreltrf": (_ANY,) * 6,
    "movelinrelwrf": (_ANY,) * 6,
    "gripperopen": (),
    "gripperclose": (),
    "movegripper": ((0.0, STROKE_MM),),
    "delay": ((0.0, 1e6),),
    "setcheckpoint": ((1.0, MAX_CHECKPOINT),),
    "settrf": (_ANY,) * 6,
    "setwrf": (_ANY,) * 6,
    "setgripperforce": ((5.0, 100.0),),
    "setgrippervel": ((5.0, 100.0),),
    "setjointvel": ((0.001, 100.0),),
    "setjointacc": ((0.001, 150.0),),
    "setcartlinvel": ((0.001, 1000.0),),
    "setcartangvel": ((0.001, 300.0),),
    "setcartacc": ((0.001, 600.0),),
    "setblending": ((0.0, 100.0),),
    "setconf": (_SIGN,) * 3,
    "setautoconf": (_FLAG,),
    "setconfturn": ((-100.0, 100.0),),
    "setautoconfturn": (_FLAG,),
}
"""By name in lower case: the range of each argument."""

_WHOLE = frozenset({"setcheckpoint", "setconf", "setautoconf", "setconfturn", "setautoconfturn"})


def checked(command: Command) -> Step:
    """The step of the motion queue that a command stands for.

    Raises
    ------
    Refusal
        [1003] for too many or too few arguments, or one out of its range.
    """
    limits = QUEUED[command.name]
    values = command.numbers(len(limits))
    is_inside = all(low <= value <= high for value, (low, high) in zip(values, limits, strict=True))
    is_whole = command.name not in _WHOLE or all(value.is_integer() for value in values)
    if not is_inside or not is_whole or (command.name == "setconf" and 0.0 in values):
        raise refusal(1003, command.text)
    return Step(command.name, values, command.text)
