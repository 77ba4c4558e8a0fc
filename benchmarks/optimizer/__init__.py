"""Optimisers side by side on problems with a known answer: ``make bench-optimizer [PROBLEMS=a,b] [ENGINES=x,y] [SEEDS=20]``.

`functions`   formulas
`problem`     what a problem is: a campaign, what a sample of it would give, and the best that can be had
`problems`    all of them by name; `situations` are those in which the laboratory matters (trade-offs, drift, delays, slow changes, limits)
`pools`       tables of real measurements, of which only the rows can be tried
`engines`     Labwright's engines, chance, and the peers behind one protocol: ``peer_optuna``, ``peer_ax``, ``peer_baybe``, ``peer_xopt``,
              ``peer_bofire``, ``peer_blop``, ``peer_gpcam``; what several of them need is in `told`, `linear` and `ax_space`
`laboratory`  one campaign: samples that take their time, some at once; `scores` says how good it is by the truth
`runs`        all of them, each on one thread, with a deadline; `crew` is the processes, `one` what runs in them
`rows`        the raw rows, one for each trial, in a CSV; what stands there is not run again
`summary`     medians and quartiles, ratio to the best peer, targets; `plot` draws them
`latency`     how long a suggestion takes after 10 to 500 trials
"""
