"""Starting and stopping: the queue, the plan that runs, the worker's environment; and what is only passed on to the RE Manager, for admins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.remote.access.who import Who
from lab.remote.registry.refusals import refuse
from lab.remote.steward import pauses

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

Params = dict[str, Any]
Answer = dict[str, Any]

PASSED_ON = {
    "queue_stop_cancel": ("lock_key",), "re_stop": (), "re_abort": (), "re_halt": (),
    "environment_update": ("run_in_background", "lock_key"), "script_upload": ("script", "update_lists", "update_re", "run_in_background", "lock_key"),
    "permissions_reload": ("restore_plans_devices", "restore_permissions", "lock_key"), "permissions_set": ("user_group_permissions", "lock_key"),
    "lock": ("environment", "queue", "lock_key", "note"), "unlock": ("lock_key",),
    "kernel_interrupt": ("interrupt_task", "interrupt_plan"), "manager_stop": ("option",)}
"""Methods that the RE Manager answers as they are, each with the parameters that it takes."""

IN_WHOSE_NAME = ("lock",)


def queue_start(steward: Steward, who: Who, params: Params) -> Answer:
    """Run what is queued; from now on by itself where lab.yaml says so."""
    with steward.keeper.lock:
        steward.keeper.reconcile()
        was_on, undecided = steward.watch.going.is_on, steward.watch.undecided()
        steward.watch.start()
        if not was_on:
            steward.notice("queue", f"the queue was started by {who.name}")
        answer = steward.manager.ask("queue_start", _taken(params, "queue_start", ("lock_key",)))
    n = len(undecided)
    words = f"{n} interrupted {'item waits' if n == 1 else 'items wait'} for somebody's decision (lab status)" if n else ""
    if steward.lab.remote.autostart and not answer.get("success"):
        # It runs already, or will as soon as the worker is there, or somebody gives the laboratory back.
        return {"success": True, "msg": "; ".join(text for text in (steward.watch.standstill() or str(answer.get("msg")), words) if text)}
    return {**answer, "msg": "; ".join(text for text in (str(answer.get("msg", "")), words) if text)}


def queue_stop(steward: Steward, who: Who, params: Params) -> Answer:
    """Begin nothing more; what runs comes to its end."""
    with steward.keeper.lock:
        answer = steward.manager.ask("queue_stop", _taken(params, "queue_stop", ("lock_key",)))
        if not steward.lab.remote.autostart:
            return answer
        steward.watch.stop("stopped", f"stopped by {who.name}; lab queue start goes on")
        steward.manager.ask("queue_autostart", {"enable": False})
    return {"success": True, "msg": "" if answer.get("success") else "nothing runs; and nothing will begin before the queue is started"}


def queue_autostart(steward: Steward, who: Who, params: Params) -> Answer:
    """Whether the queue runs by itself, until somebody says otherwise."""
    enable = params.get("enable")
    if not isinstance(enable, bool):
        raise refuse("queue_autostart", "enable", enable, "true or false")
    with steward.keeper.lock:
        steward.keeper.reconcile()
        if enable:
            steward.watch.start()
        else:
            steward.watch.stop("stopped", f"stopped by {who.name}; lab queue start goes on")
        return steward.manager.ask("queue_autostart", {"enable": enable, **_taken(params, "queue_autostart", ("enable", "lock_key"))})


def queue_mode_set(steward: Steward, who: Who, params: Params) -> Answer:
    """Whether the queue goes on after an item has failed (``ignore_failures``); ``loop`` is not for a laboratory: see docs/decisions/0018."""
    mode = params.get("mode")
    if isinstance(mode, dict) and mode.get("loop"):
        raise refuse("queue_mode_set", "mode.loop", mode["loop"], "false: each item is checked, claimed and answered for once; to do it again, add it again")
    return steward.manager.ask("queue_mode_set", _taken(params, "queue_mode_set", ("mode", "lock_key")))


def environment_open(steward: Steward, who: Who, params: Params) -> Answer:
    """Start the worker; it stays there, whatever happens to it, until somebody closes it."""
    steward.watch.change(replace(steward.watch.going, is_environment_wanted=True))
    return steward.manager.ask("environment_open", _taken(params, "environment_open", ("lock_key",)))


def environment_close(steward: Steward, who: Who, params: Params) -> Answer:
    """End the worker in order: the instruments are made safe."""
    with steward.keeper.lock:
        before = steward.watch.going
        steward.watch.change(replace(before, is_environment_wanted=False))
        answer = steward.manager.ask("environment_close", _taken(params, "environment_close", ("lock_key",)))
        if answer.get("success"):
            steward.notice("worker", f"the worker is ended by {who.name}; environment_open of the client (lab.remote.client) starts one")
        else:
            steward.watch.change(before)
    return answer


def environment_destroy(steward: Steward, who: Who, params: Params) -> Answer:
    """Kill the worker; what runs is interrupted, and a new worker is started unless it was not wanted."""
    answer = steward.manager.ask("environment_destroy", _taken(params, "environment_destroy", ("lock_key",)))
    if answer.get("success"):
        steward.notice("worker", f"the worker was destroyed by {who.name}")
    return answer


def function_execute(steward: Steward, who: Who, params: Params) -> Answer:
    """Run a function in the worker."""
    taken = _taken(params, "function_execute", ("item", "run_in_background", "lock_key"))
    return steward.manager.ask("function_execute", {**taken, "user": who.name, "user_group": who.role})


def re_pause(steward: Steward, who: Who, params: Params) -> Answer:
    """Pause what runs; on record before it is done, so that nobody elsewhere takes the pause for their own."""
    taken = _taken(params, "re_pause", ("option",))
    pauses.note(steward, who, pauses.PAUSED)
    return steward.manager.ask("re_pause", taken, 10.0)


def re_resume(steward: Steward, who: Who, params: Params) -> Answer:
    """Let go on what is paused."""
    answer = steward.manager.ask("re_resume", _taken(params, "re_resume", ()), 10.0)
    if answer.get("success"):
        pauses.note(steward, who, pauses.RESUMED)
    return answer


def _taken(params: Params, method: str, names: tuple[str, ...]) -> Params:
    """The parameters that a method takes; who asks says the key."""
    odd = sorted(set(params) - set(names) - {"user", "user_group"})
    if odd:
        raise refuse(method, odd[0], params[odd[0]], f"the parameters {', '.join(names)}" if names else "no parameters")
    return {name: params[name] for name in names if name in params}


def _pass_on(method: str, names: tuple[str, ...]) -> Callable[[Steward, Who, Params], Answer]:
    def handler(steward: Steward, who: Who, params: Params) -> Answer:
        return steward.manager.ask(method, _taken(params, method, names) | ({"user": who.name} if method in IN_WHOSE_NAME else {}), 10.0)

    return handler


METHODS_HERE = {
    **{handler.__name__: handler for handler in (queue_start, queue_stop, queue_autostart, queue_mode_set, environment_open, environment_close,
                                                 environment_destroy, function_execute, re_pause, re_resume)},
    **{method: _pass_on(method, names) for method, names in PASSED_ON.items()}}
