"""Several runs of the same settings: intervals, paired comparisons, and sentences on them.

Runs of different seeds or folds share most of their training utterances, so they are not independent:
intervals and p-values are rather too narrow and too small (C. Nadeau, Y. Bengio, "Inference for the
Generalization Error", Machine Learning 52, 2003). Take them as the least that is uncertain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
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
    difference: float  # the mean of first - second
    low: float  # its 95 % t-interval; NaN for one pair
    high: float
    p: float  # of the two-sided Wilcoxon signed-rank test, corrected where it is one of several (`holm`)
    least_p: float  # the smallest p that so many pairs can give, times the size of the family
    effect: float  # matched-pairs rank-biserial correlation, -1 (the second always ahead) to 1 (the first)
    family: int = 1  # how many comparisons p is corrected for; 1 where it is not


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and the mean's 95 % interval by Student's t of values (runs,).

    Raises:
        ValueError: for no values, or such as are no finite numbers.
    """
    values = _finite(values)
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return Summary(1, mean, *3 * [float("nan")])
    std = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / n**0.5
    return Summary(n, mean, std, mean - half, mean + half)


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two settings by the Wilcoxon signed-rank test on their differences, pair by pair.

    The p-value is exact up to 50 pairs (up to 13 where differences are tied). Pairs without a difference say
    nothing of its direction and do not count, neither in p nor in the effect size (D. S. Kerby, "The simple
    difference formula", Comprehensive Psychology 3, 2014).

    Args:
        first, second: (pairs,) of one measure; entry i of both is of the same seed and fold.

    Raises:
        ValueError: for no pairs, unequal lengths, or values that are no finite numbers.
    """
    first, second = _finite(first), _finite(second)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values make no pairs")
    differences = (first - second).round(12)  # 0.8 - 0.7 and 0.6 - 0.5 are the same difference
    summary = summarise(differences)
    unequal = differences[differences != 0]
    p, effect = 1.0, 0.0
    if len(unequal):
        p = float(stats.wilcoxon(unequal).pvalue)
        ranks = stats.rankdata(abs(unequal))
        effect = float((ranks * np.sign(unequal)).sum() / ranks.sum())
    least_p = 2.0 ** (1 - len(unequal)) if len(unequal) else 1.0
    return Comparison(summary.n, summary.mean, summary.low, summary.high, p, least_p, effect)


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of a family of comparisons (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    However many true differences there are, a false one is then found in at most 5 % of such families.
    """
    size, corrected, highest = len(comparisons), list(comparisons), 0.0
    for rank, index in enumerate(np.argsort([comparison.p for comparison in comparisons], kind="stable")):
        one = comparisons[index]
        highest = max(highest, min((size - rank) * one.p, 1.0))
        corrected[index] = replace(one, p=highest, least_p=min(size * one.least_p, 1.0), family=size)
    return corrected


def in_words(comparison: Comparison, first: str, second: str) -> str:
    """A comparison of shares (0 to 1) in words that say no more than it allows, in points of a hundred.

    For instance `CkTIM with 1 TAB is 3.1 points ahead of TIM with 3 TABs (95 % interval 0.4 to 5.8, 10 pairs,
    p = 0.03, effect +0.78): a difference beyond what chance explains.`
    """
    points = 100 * comparison.difference
    if f"{abs(points):.1f}" == "0.0":
        said = f"{first} and {second} are level"
    else:
        said = f"{first} is {abs(points):.1f} points {'ahead of' if points > 0 else 'behind'} {second}"
    if comparison.n == 1:
        return f"{said} in a single pair of runs: that says nothing of others."
    # As said, the interval is of the first's lead, or of the second's where that is ahead.
    low, high = sorted((-1 if points < 0 else 1) * 100 * bound for bound in (comparison.low, comparison.high))
    several = f" corrected for {comparison.family} comparisons" if comparison.family > 1 else ""
    figures = f"95 % interval {low:.1f} to {high:.1f}, {comparison.n} pairs, p {p_in_words(comparison.p)}"
    figures += f"{several}, effect {comparison.effect:+.2f}"
    if comparison.p < SIGNIFICANT:
        verdict = "a difference beyond what chance explains"
    elif comparison.least_p >= SIGNIFICANT:
        verdict = (
            f"too few pairs to tell, for the smallest p they can reach is {comparison.least_p:.2g}; "
            f"{needed_pairs(comparison.family)} that all differ would be needed"
        )
    else:
        verdict = "no difference that can be told from chance, which is no proof that there is none"
    return f"{said} ({figures}): {verdict}."


def needed_pairs(family: int = 1) -> int:
    """The fewest pairs with which a comparison, one of `family`, can reach p < 0.05: 6 for a single one."""
    return next(pairs for pairs in count(1) if family * 2.0 ** (1 - pairs) < SIGNIFICANT)


def _finite(values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"not a list of finite numbers, one or more: {values!r}")
    return values


def p_in_words(p: float) -> str:
    """`= 0.0059`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
