"""Optimisers side by side on problems with a known answer: ``make bench-optimizer [PROBLEMS=a,b] [ENGINES=x,y] [SEEDS=20]``.

`functions`   formulas
`problems`    a campaign, what a sample of it would give, and the best that can be had
`pools`       the same over tables of real measurements
`engines`     Labwright's engines, `random`, and the peers behind one protocol (`peer_optuna`, `peer_baybe`)
`one`         one problem, engine and seed, in a process of its own
`runs`        all of them, each with a deadline, on one thread
`rows`        the raw rows, one for each trial, in a CSV; what stands there is not run again
`summary`     medians and quartiles, ratio to the best peer, targets; `plot` draws them
`latency`     how long a suggestion takes after 10 to 500 trials
"""
