"""Intervals and paired comparisons against scipy, enumeration and cases worked out by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from utils.significance import Comparison, compare, holm, in_words, needed_pairs, p_figure, summarise

shares = st.lists(st.integers(0, 112).map(lambda right: right / 112), min_size=2, max_size=9)


def comparison_with(p: float) -> Comparison:
    return Comparison(n=10, unequal=10, difference=0.0, low=-1.0, high=1.0, p=p, least_p=0.002, effect=0.5)


def test_an_interval_worked_out_by_hand():
    summary = summarise([0.70, 0.74, 0.78])  # mean 0.74, std 0.04; t(0.975, 2) = 4.302653
    assert (summary.n, summary.mean, summary.std) == (3, pytest.approx(0.74), pytest.approx(0.04))
    half = 4.302653 * 0.04 / 3**0.5
    assert (summary.low, summary.high) == (pytest.approx(0.74 - half), pytest.approx(0.74 + half))
    one = summarise([0.8])
    assert one.mean == 0.8 and np.isnan([one.std, one.low, one.high]).all()


def test_a_comparison_worked_out_by_hand():
    # Differences 1, 2, -3, 4, 5, 6 points: ranks of the negative ones 3, of the others 18, of all 21.
    # Of the 64 ways to set signs, 5 give a sum of at most 3 to one side: {}, 1, 2, 3, 1 + 2.
    first = np.array([0.71, 0.72, 0.67, 0.74, 0.75, 0.76])
    comparison = compare(first, np.full(6, 0.70))
    assert comparison.p == pytest.approx(2 * 5 / 64)
    assert comparison.effect == pytest.approx((18 - 3) / 21)
    assert comparison.difference == pytest.approx(0.025)
    assert comparison.least_p == pytest.approx(2 / 64)


def test_without_ties_it_is_scipys_exact_test():
    rng = np.random.default_rng(0)
    for n in (5, 6, 10, 20):
        first, second = rng.normal(size=(2, n))
        expected = stats.wilcoxon(first - second, method="exact")
        comparison = compare(first, second)
        assert comparison.p == expected.pvalue
        paired = stats.ttest_rel(first, second).confidence_interval()
        assert (comparison.low, comparison.high) == (pytest.approx(paired.low), pytest.approx(paired.high))
        lesser = (1 - abs(comparison.effect)) / 2 * n * (n + 1) / 2  # the smaller sum of ranks
        assert lesser == pytest.approx(expected.statistic)


@settings(deadline=None)
@given(shares, st.randoms())
def test_with_ties_it_counts_all_signs(first, random):
    """Accuracies are multiples of 1 / 112, so differences are often tied: all ways to set signs are tried."""
    second = random.sample(first, len(first))
    differences = (np.array(first) - second).round(12)
    differences = differences[differences != 0]
    comparison = compare(first, second)
    if len(differences) == 0:
        assert (comparison.p, comparison.effect) == (1, 0)
        return
    ranks = stats.rankdata(abs(differences))
    sums = np.array([ranks @ signs for signs in product((-1, 1), repeat=len(ranks))])
    seen = ranks @ np.sign(differences)
    assert comparison.p == pytest.approx(np.mean(abs(sums) >= abs(seen) - 1e-9))
    assert comparison.effect == pytest.approx(seen / ranks.sum())
    assert comparison.p >= comparison.least_p - 1e-12


def test_holm_worked_out_by_hand():
    corrected = holm([comparison_with(p) for p in (0.04, 0.01, 0.03, 0.005)])
    # in order: 4 × 0.005, 3 × 0.01, 2 × 0.03, 1 × 0.04, none below the one before
    assert [one.p for one in corrected] == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert {one.family for one in corrected} == {4} and corrected[0].least_p == pytest.approx(0.008)
    assert holm([comparison_with(0.8), comparison_with(0.7)])[0].p == 1  # a probability
    assert holm([]) == []


def test_six_pairs_are_needed_and_more_for_a_family():
    assert needed_pairs() == 6 and needed_pairs(3) == 7 and needed_pairs(6) == 8
    for n, reached in ((5, False), (6, True)):
        assert (compare(np.arange(1, n + 1), np.zeros(n)).p < 0.05) == reached


def test_words_say_what_the_figures_allow():
    lead = compare(0.7 + np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]), np.full(6, 0.7))
    sentence = in_words(lead, "CkTIM with 1 TAB", "TIM with 3 TABs")
    assert sentence.startswith("CkTIM with 1 TAB is 3.5 points ahead of TIM with 3 TABs (95 % ")
    assert "interval 1.5 to 5.5, 6 pairs, p = 0.031, effect +1.00): a difference beyond" in sentence
    behind = in_words(compare(np.full(6, 0.7), 0.7 + np.arange(1, 7) / 100), "A", "B")
    assert behind.startswith("A is 3.5 points behind B (95 % interval 1.5 to 5.5, ")
    assert "effect -1.00" in behind

    few = in_words(compare([0.75, 0.76, 0.77, 0.78, 0.79], [0.7, 0.7, 0.7, 0.7, 0.7]), "A", "B")
    assert "too few pairs to tell, for the smallest p they can reach is 0.062; 6 that all" in few
    of_three = in_words(holm([lead, lead, lead])[0], "A", "B")
    assert "p = 0.094 corrected for 3 comparisons" in of_three and "0.094; 7 that all differ" in of_three
    open_question = in_words(compare(0.7 + np.array([1, -2, 3, -4, 5, -6]) / 100, np.full(6, 0.7)), "A", "B")
    assert "A is 0.5 points behind B" in open_question and "no proof that there is none" in open_question
    assert "single pair" in in_words(compare([0.8], [0.7]), "A", "B")
    assert in_words(compare([0.8, 0.8], [0.8, 0.8]), "A", "B").startswith("A and B are level")


def test_a_found_difference_is_never_called_level():
    tiny = in_words(compare(0.7 + np.arange(1, 11) / 1e5, np.full(10, 0.7)), "A", "B")
    assert tiny.startswith("A is 0.006 points ahead of B (95 % interval 0.003 to 0.008, 10 pairs, p = 0.002,")
    assert tiny.endswith("a difference beyond what chance explains.")
    even = in_words(compare(0.7 + np.array([*[0.01] * 7, -0.07]), np.full(8, 0.7)), "A", "B")
    assert even.startswith("A and B are level (") and "no difference" in even  # and p is 0.16


def test_a_mean_against_the_ranks_is_named():
    """One large difference turns the mean, and not the ranks: p counts those."""
    lead = np.array([*np.arange(1, 15), -200.0]) / 1000
    sentence = in_words(compare(0.7 + lead, np.full(15, 0.7)), "A", "B")
    assert sentence.startswith("A is 0.6 points behind B (")
    assert sentence.endswith(
        "the ranks of the differences favour A beyond what chance explains, and their mean does not."
    )


def test_pairs_without_a_difference_are_those_that_lack():
    lead = compare(0.7 + np.array([*np.arange(1, 7), 0, 0, 0, 0]) / 100, np.full(10, 0.7))
    assert (lead.n, lead.unequal, lead.least_p) == (10, 6, pytest.approx(2 / 64))
    sentence = in_words(holm([lead] * 3)[0], "A", "B")
    assert (
        "too few pairs that differ to tell (6 of 10)" in sentence and "; 7 that all differ would" in sentence
    )


def test_the_least_p_of_one_comparison_is_that_with_the_others_as_they_are():
    """Beside two clear ones, the third comes last, and its p is multiplied by one."""
    clear = compare(0.7 + np.arange(1, 13) / 100, np.full(12, 0.7))
    open_one = compare(0.7 + np.array([-1, 2, 3, 4, 5, 6]) / 100, np.full(6, 0.7))
    third = holm([clear, open_one, clear])[1]
    assert (third.p, third.least_p) == (pytest.approx(4 / 64), pytest.approx(2 / 64))
    assert "no difference that can be told from chance" in in_words(third, "A", "B")


@pytest.mark.parametrize(
    ("p", "words", "figure"),
    [
        *((0.0498, "0.0498", "0.0498"), (0.0502, "0.0502", "0.0502"), (0.05, "0.05", "0.050")),
        *((0.04999, "0.04999", "0.04999"), (0.0504, "0.0504", "0.0504"), (0.0495, "0.0495", "0.0495")),
        *((0.051, "0.051", "0.051"), (0.0059, "0.0059", "0.006"), (0.00099, "< 0.001", "< 0.001")),
    ],
)
def test_no_p_is_rounded_to_the_bound(p, words, figure):
    assert (p_figure(p), p_figure(p, 3, "f")) == (words, figure)


@pytest.mark.parametrize("values", [[], [float("nan"), 1.0], [[1.0], [2.0]]])
def test_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError, match="finite"):
        summarise(values)
    with pytest.raises(ValueError, match="make no pairs"):
        compare([1.0], [1.0, 2.0])
