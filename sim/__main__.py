"""``python -m sim``: the simulator process of a laboratory (docs/architecture.md)."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the session; before the imports, which take a while
    from sim.laboratory import serve

    raise SystemExit(serve())
