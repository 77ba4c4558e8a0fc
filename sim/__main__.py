"""``python -m sim``: the simulator process of a laboratory (docs/architecture.md)."""

from sim.laboratory import serve

if __name__ == "__main__":
    raise SystemExit(serve())
