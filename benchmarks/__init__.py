"""Numbers of Labwright beside their targets: ``make bench``, or one alone: ``python -m benchmarks.demo``.

Each module measures one thing in a process of its own and prints a line per figure. A figure that depends on the
machine is a ratio to something measured in the same run wherever that is possible.
"""
