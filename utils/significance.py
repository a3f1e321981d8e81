"""Several runs of the same settings: intervals, paired comparisons, and sentences on them.

Runs of different seeds or folds share most of their training utterances, so they are not independent:
intervals and p-values are rather too narrow and too small (C. Nadeau, Y. Bengio, "Inference for the
Generalization Error", Machine Learning 52, 2003). Take them as the least that is uncertain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Summary:
    """Runs of the same settings; of one run only n and mean are numbers."""

    n: int
    mean: float
    std: float  # as a sample
    low: float  # the 95 % t-interval of the mean
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two settings over the same seeds and folds."""

    n: int  # pairs
    unequal: int  # those of them that differ
    difference: float  # the mean of first - second
    low: float  # its 95 % t-interval; NaN for one pair
    high: float
    p: float  # of the two-sided Wilcoxon signed-rank test, corrected where it is one of several (`holm`)
    least_p: float  # the smallest p that the pairs which differ can give, corrected likewise
    effect: float  # matched-pairs rank-biserial correlation, -1 (the second always ahead) to 1 (the first)
    family: int = 1  # how many comparisons p is corrected for; 1 where it is not
    differences: tuple[float, ...] = ()  # first - second, pair by pair


def summarise(values: ArrayLike) -> Summary:
    """Mean, standard deviation and the mean's 95 % interval by Student's t of values (runs,)."""
    values = _finite(values)
    mean, n = float(values.mean()), len(values)
    std = float(values.std(ddof=1)) if n > 1 else float("nan")
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / n**0.5  # of one value NaN
    return Summary(n, mean, std, mean - half, mean + half)


def compare(first: ArrayLike, second: ArrayLike) -> Comparison:
    """Compare two settings (pairs,), the same seed and fold at each place, by the Wilcoxon signed-rank test.

    The p-value is exact up to 50 pairs (up to 13 where differences are tied). Pairs without a difference say
    nothing of its direction and do not count, neither in p nor in the effect size (D. S. Kerby, "The simple
    difference formula", Comprehensive Psychology 3, 2014).
    """
    first, second = _finite(first), _finite(second)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values make no pairs")
    differences = (first - second).round(12)  # 0.8 - 0.7 and 0.6 - 0.5 are the same difference
    summary = summarise(differences)
    unequal = differences[differences != 0]
    p, least_p, effect = 1.0, 1.0, 0.0
    if len(unequal):
        p, least_p = float(stats.wilcoxon(unequal).pvalue), 2.0 ** (1 - len(unequal))
        ranks = stats.rankdata(abs(unequal))
        effect = float((ranks * np.sign(unequal)).sum() / ranks.sum())
    interval = summary.low, summary.high
    many = tuple(differences.tolist())
    return Comparison(summary.n, len(unequal), summary.mean, *interval, p, least_p, effect, differences=many)


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of a family of comparisons (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    However many true differences there are, a false one is then found in at most 5 % of such families. The
    least p of a comparison is the one that it would have with the others as they are.
    """
    plain = np.array([one.p for one in comparisons])
    corrected = []
    for place, (one, p) in enumerate(zip(comparisons, _holm(plain), strict=True)):
        least = _holm(np.where(np.arange(len(plain)) == place, one.least_p, plain))[place]
        corrected.append(replace(one, p=float(p), least_p=float(least), family=len(plain)))
    return corrected


def _holm(p: np.ndarray) -> np.ndarray:
    """Corrected p-values (family,)."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(np.minimum(np.arange(len(p), 0, -1) * p[order], 1))
    return corrected


def in_words(comparison: Comparison, first: str, second: str) -> str:
    """A comparison of shares (0 to 1) in words that say no more than it allows, in points of a hundred."""
    points, digits = 100 * comparison.difference, 1
    if points and comparison.p < SIGNIFICANT:  # then they are not level, however small the lead
        digits = max(math.ceil(-math.log10(abs(points))), 1)
    lead = f"{abs(points):.{digits}f}"
    said = f"{first} is {lead} points {'ahead of' if points > 0 else 'behind'} {second}"
    if lead == "0.0":
        said = f"{first} and {second} are level"
    if comparison.n == 1:
        return f"{said} in a single pair of runs: that says nothing of others."
    # As said, the interval is of the first's lead, or of the second's where that is ahead.
    low, high = sorted((-1 if points < 0 else 1) * 100 * bound for bound in (comparison.low, comparison.high))
    several = f" corrected for {comparison.family} comparisons" if comparison.family > 1 else ""
    figures = f"95 % interval {low:.{digits}f} to {high:.{digits}f}, {comparison.n} pairs, "
    figures += f"p {p_in_words(comparison.p)}{several}, effect {comparison.effect:+.2f}"
    return f"{said} ({figures}): {_verdict(comparison, first, second)}."


def _verdict(comparison: Comparison, first: str, second: str) -> str:
    """Of several pairs: a difference, none, or too few pairs to tell."""
    one = comparison
    if one.p < SIGNIFICANT and one.effect * one.difference > 0:
        return "a difference beyond what chance explains"
    if one.p < SIGNIFICANT:
        favoured = f"the ranks of the differences favour {first if one.effect > 0 else second}"
        return f"{favoured} beyond what chance explains, and their mean does not"
    if one.least_p < SIGNIFICANT:
        return "no difference that can be told from chance, which is no proof that there is none"
    few = "too few pairs to tell"
    if one.unequal < one.n:
        few = f"too few pairs that differ to tell ({one.unequal} of {one.n})"
    enough = f"{needed_pairs(one.family)} that all differ would be enough"
    return f"{few}, for the smallest p they can reach is {p_figure(one.least_p)}; {enough}"


def needed_pairs(family: int = 1) -> int:
    """The fewest pairs with which a comparison, one of `family`, can reach p < 0.05: 6 for a single one."""
    return next(pairs for pairs in count(1) if family * 2.0 ** (1 - pairs) < SIGNIFICANT)


def _finite(values: ArrayLike) -> np.ndarray:
    """(values,) as an array; a ValueError where there are none, or such as are no finite numbers."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"not a list of finite numbers, one or more: {values!r}")
    return values


def p_in_words(p: float) -> str:
    """`= 0.0059`, `< 0.001`."""
    figure = p_figure(p)
    return figure if figure.startswith("<") else f"= {figure}"


def p_figure(p: float, digits: int = 2, form: str = "g") -> str:
    """`0.0059`, `< 0.001`; with more digits where rounding would hide on which side of 0.05 it is."""
    figure = "< 0.001" if p < 0.001 else f"{p:.{digits}{form}}"
    return p_figure(p, digits + 1, form) if figure.rstrip("0") == "0.05" and p != SIGNIFICANT else figure
