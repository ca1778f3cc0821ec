# SPDX-License-Identifier: Apache-2.0
"""Compiled loop over the points of a cloud: the colour of each."""

import numpy as np

from perception.compiled import F4, compiled, given
from perception.types import Float


@compiled(F4[::1], given(F4, 2), given(F4, 1))
def likeliest(planes: Float, values: Float) -> Float:
    """
    Value of the likeliest class of each point, the first of those that are equally likely.

    Parameters
    ----------
    planes : (K, N) float32
        Shares of the classes.
    values : (K,) float32
        Of the classes; their bits stay, whatever number they stand for.

    Returns
    -------
    (N,) float32
    """
    best, found = planes[0].copy(), np.empty(planes.shape[1], np.float32)
    found[:] = values[0]
    for k in range(1, len(planes)):
        row, value = planes[k], values[k]
        for i in range(len(row)):
            found[i] = value if row[i] > best[i] else found[i]
            best[i] = row[i] if row[i] > best[i] else best[i]
    return found
