"""When the best share of a pool is wanted, as much of it as can be found, and not the best row alone.

Active search, one step ahead (Garnett, Krishnamurthy, Xiong, Schneider and Mann 2012, arXiv:1206.6406), over a level that is learned as well: which outcome
a row needs to be among the wanted ones. The next sample is the row that is expected to pass it by most, not the one that most probably passes it: of
two rows that are as likely to, the one of which less is known tells more (measured: decision 22).
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from lab.optimise.polytope import Array

N_HALVINGS = 30
"""Of the range in which the level is sought: to a billionth of it."""


def level(merits: Array, variances: Array, share: float) -> float:
    """The merit above which as many rows are expected to be as are wanted.

    Parameters
    ----------
    merits, variances : ndarray, shapes (n,)
        What is expected of all rows, measured ones included; up is better.
    share : float
        Of the rows, 0..1.
    """
    deviations = np.sqrt(variances)
    reach = 8.0 * float(deviations.max())
    low, high = float(merits.min()) - reach, float(merits.max()) + reach
    for _ in range(N_HALVINGS):
        middle = 0.5 * (low + high)
        if ndtr((merits - middle) / deviations).mean() > share:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
