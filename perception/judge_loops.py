# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the judge: tallies of wrong labels, what they prove, and what trust."""

import numpy as np
from numba import types

from perception.compiled import F8, I8, compiled, given
from perception.types import Cells, Float

FAMILIES = 2


@compiled(F8[:, :, ::1], given(F8, 1), given(I8, 1), given(F8, 2), given(F8, 1))
def tallied(range_m: Float, standing: Cells, weight: Float, starts: Float) -> Float:
    """
    Weights of labels added up by range and family, row by row.

    Parameters
    ----------
    range_m, standing : (n,) float64 [m], (n,) int64
        Distance and family of each label.
    weight : (K, n) float64
    starts : (R,) float64 [m]
        Where the ranges begin; what is beyond all, or NaN, belongs to the last.

    Returns
    -------
    (K, R, FAMILIES) float64
    """
    sums = np.zeros((len(weight), len(starts), FAMILIES))
    for i in range(len(range_m)):
        r = len(starts) - 1
        while r > 0 and range_m[i] < starts[r]:
            r -= 1
        for k in range(len(weight)):
            sums[k, r, standing[i]] += weight[k, i]
    return sums


@compiled(types.void, given(F8, 3), given(F8, 2), types.UniTuple(F8[:, :, ::1], 2), F8[:, ::1])
def take_in(tallies: Float, events: Float, sums: tuple[Float, Float], weight: Float) -> None:
    """
    Add an event for each range and family with labels, and forget some of the others.

    Parameters
    ----------
    tallies : (1 + C, R, FAMILIES) float64
        Labels, and wrong answers of each candidate.
    events : (2, R) float64
        What an event counts in each range, and what stays of those before.
    sums : twice (R, FAMILIES, C) float64
        Of errors, and of their squared differences from the first one's; changed like ``weight``.
    weight : (R, FAMILIES) float64
    """
    error, square = sums
    for r in range(weight.shape[0]):
        for f in range(FAMILIES):
            new, keep, count = events[0, r], events[1, r], tallies[0, r, f]
            if count == 0:
                continue
            weight[r, f] = keep * weight[r, f] + new
            for c in range(error.shape[2]):
                rate = tallies[1 + c, r, f] / count
                apart = rate - tallies[1, r, f] / count
                error[r, f, c] = keep * error[r, f, c] + new * rate
                square[r, f, c] = keep * square[r, f, c] + new * (apart * apart)


@compiled(I8[::1], given(F8, 2), given(F8, 3), given(F8, 3), given(F8, 2), types.UniTuple(F8, 2))
def proven(
    weight: Float, error: Float, square: Float, margins: Float, rule: tuple[float, float]
) -> Cells:
    """
    Candidate that serves in each range, (R,) int64: the first, or the one with the most proof.

    ``weight`` (R, FAMILIES), ``error`` and ``square`` (R, FAMILIES, C) are those of ``take_in``;
    ``rule``: a margin, and the events of a family that make it known; where the last range lacks
    them, the one before stands in. ``margins`` (R, C): how many a gain must exceed, above its own
    standard error; infinite = never.
    """
    margin, enough = rule
    ranges, _, candidates = error.shape
    last, serves = ranges - 1, np.zeros(ranges, np.int64)
    lacks = [weight[last, f] < enough for f in range(FAMILIES)]
    for r in range(ranges):
        best = 0.0
        for c in range(1, candidates):
            gain, variance, known = 0.0, 0.0, True
            for f in range(FAMILIES):
                of = r - 1 if r == last and lacks[f] and not lacks[1 - f] else r
                count = max(weight[of, f], 1e-9)
                better = error[of, f, 0] / count - error[of, f, c] / count
                gain += better / FAMILIES
                variance += max(square[of, f, c] / count - better * better, 0) / count
                known &= weight[of, f] >= enough
            proof = gain - np.sqrt(variance) / 2 - margins[r, c] * margin
            if known and proof > best:
                best, serves[r] = proof, c
    return serves


@compiled(F8[::1], given(F8, 2), given(F8, 3), given(I8, 1), F8, types.UniTuple(F8, 2))
def trusted(
    weight: Float, error: Float, choice: Cells, enough: float, ends: tuple[float, float]
) -> Float:
    """
    How far the candidates in use, ``choice`` (R,), are to be trusted: (R,) float64 in [0, 1].

    ``ends``: balanced errors that give 0 and 1. A range with less than ``enough`` events of a
    family is trusted like the one before it, the first one fully.
    """
    trust = np.ones(len(choice))
    for r in range(len(choice)):
        if weight[r].min() >= enough:
            balanced = 0.0
            for f in range(FAMILIES):
                balanced += error[r, f, choice[r]] / weight[r, f] / FAMILIES
            trust[r] = min(max((ends[0] - balanced) / (ends[0] - ends[1]), 0), 1)
        elif r > 0:
            trust[r] = trust[r - 1]
    return trust
