"""The first plan in a laboratory far away, from Python: queue it, watch it, fetch its data.

Needs the key file that the laboratory has made for you: ``export LAB_KEY=alice.key``, then ``python examples/remote_first_plan.py``.
"""

from __future__ import annotations

from bluesky_queueserver_api import BPlan

from lab.remote.client import connect


def main() -> None:
    with connect() as lab:
        me = lab.whoami()
        print(f"{me['name']}, {me['role']}, at the laboratory {me['lab']}")

        # The official client of bluesky-queueserver, all of it; what may be queued: lab.plans_allowed()
        answer = lab.item_add(BPlan("count", ["hotplate_a"], num=5, delay_s=30))
        item = answer["lab"]["item"]
        print(f"queued as {item}, about {answer['lab']['estimate_s']:.0f} s of laboratory time")

        # Documents as they come, until the item has ended; a restart of either side loses none
        for document in lab.watch(item=item):
            if document.name == "event":
                print(document.doc["seq_num"], document.doc["data"]["hotplate_a_temperature"])

        print(lab.item(item)["state"])
        print(lab.data(item=item))


if __name__ == "__main__":
    main()
