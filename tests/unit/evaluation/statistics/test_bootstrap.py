"""Intervals and paired tests, against theory and against all possible draws or exchanges."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import norm
from tokalign.evaluation.statistics import bootstrap
from tokalign.evaluation.statistics.bootstrap import (
    holm,
    interval,
    intervals,
    jackknife_error,
    jackknife_interval,
    paired_difference,
    ratio_interval,
    repeats_interval,
)
from tokalign.evaluation.statistics.estimators import exp_ratio, ratio


def means(values):
    """Statistics whose ratio is the mean."""
    return np.column_stack([values, np.ones(len(values))])


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).gamma(2.0, size=4000)
    low, high = interval(means(values), ratio, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_interval_of_few_items_against_all_their_draws():
    rows = np.array([[1.0, 2.0], [5.0, 3.0], [2.0, 8.0], [3.5, 5.5], [0.5, 4.0]])
    all_draws = [exp_ratio(rows[list(draw)].sum(0)) for draw in itertools.product(range(5), repeat=5)]
    found = interval(rows, exp_ratio, scale=2.0, resamples=20_000)
    assert found == pytest.approx(list(2 * np.quantile(all_draws, [0.025, 0.975])), rel=0.02)


def test_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    sizes = random.integers(1, 50, size=(300, 60))
    values = sizes * 0.7 + random.normal(size=sizes.shape) * np.sqrt(sizes)
    found = [ratio_interval(v, n) for v, n in zip(values, sizes, strict=True)]
    assert np.mean([low <= 0.7 <= high for low, high in found]) == pytest.approx(0.95, abs=0.035)


def test_several_metrics_share_the_draws():
    rows = np.random.default_rng(2).random((50, 4)) + 0.5
    both = intervals(rows, [(slice(0, 2), ratio, 1.0), (slice(2, 4), exp_ratio, 3.0)])
    assert both[0] == pytest.approx(interval(rows[:, :2], ratio))
    assert both[1] == pytest.approx(interval(rows[:, 2:], exp_ratio, scale=3.0))


def test_blocks_of_draws_do_not_matter(monkeypatch):
    rows = np.random.default_rng(3).random((20, 2)) + 0.5
    whole = interval(rows, ratio), paired_difference(rows, rows[::-1], ratio)
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 8 * 20 * 7)
    parts = interval(rows, ratio), paired_difference(rows, rows[::-1], ratio)
    assert parts[0] == pytest.approx(whole[0])
    assert (parts[1].difference, parts[1].p) == pytest.approx((whole[1].difference, whole[1].p))


def test_where_there_is_no_interval():
    assert interval(np.array([[1.0, 2.0]]), ratio) is None
    assert interval(np.array([[1.0, 0.0], [1.0, 0.0]]), ratio) is None
    assert interval(np.array([[1.0, 0.0], [1.0, 1.0]]), ratio) is None  # a draw of the first alone has no value
    one = paired_difference(np.array([[1.0, 2.0]]), np.array([[2.0, 2.0]]), ratio)
    assert (one.difference, one.ci95, one.p) == (0.5, None, None)
    none = paired_difference(np.zeros((3, 2)), np.ones((3, 2)), ratio)
    assert np.isnan(none.difference)
    assert (none.ci95, none.p) == (None, None)


def exact_p(first, second, estimator):
    """Share of all exchanges with a difference at least as large; numbers of binary fractions add up exactly."""
    seen = estimator(second.sum(0)) - estimator(first.sum(0))
    count = 0
    for swap in itertools.product([False, True], repeat=len(first)):
        chosen = np.array(swap)[:, None]
        a, b = np.where(chosen, second, first), np.where(chosen, first, second)
        count += abs(estimator(b.sum(0)) - estimator(a.sum(0))) >= abs(seen) - 1e-9
    return count / 2 ** len(first)


ITEMS = st.lists(st.tuples(*[st.integers(1, 64)] * 4), min_size=2, max_size=6)


@settings(deadline=None, max_examples=40)
@given(ITEMS, st.sampled_from([ratio, exp_ratio]))
def test_p_value_of_few_items_against_all_exchanges(items, estimator):
    rows = np.array(items, dtype=np.float64) / 32
    first, second = (part + np.array([0, 2]) for part in (rows[:, :2], rows[:, 2:]))
    found = paired_difference(first, second, estimator, resamples=4000)
    assert found.p == pytest.approx(exact_p(first, second, estimator), abs=0.045)


@pytest.mark.parametrize("seed", range(10))
def test_ties_are_found_although_sums_are_rounded(seed):
    """Three documents that are all worse: none or all exchanged are 2 of 8 ways, whose sums differ in the last digits."""
    random = np.random.default_rng(seed)
    first = np.column_stack([random.random(3) * 1e5, random.integers(100, 900, 3)])
    second = first.copy()
    second[:, 0] += random.choice([0.1, 0.2, 0.3], 3)
    assert paired_difference(first, second, ratio).p == pytest.approx(0.25, abs=0.04)
    assert paired_difference(first, first.copy(), ratio).p == 1.0


def test_p_values_are_uniform_where_there_is_no_difference():
    random = np.random.default_rng(5)
    found = []
    for _ in range(300):
        size = random.integers(50, 500, 40).astype(np.float64)
        first, second = (np.column_stack([size * random.gamma(9, size=40), size]) for _ in range(2))
        found.append(paired_difference(first, second, ratio, resamples=400, seed=int(random.integers(1 << 30))).p)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert min(found) > 0


def test_a_difference_is_found_and_its_interval_is_that_of_pairs():
    random = np.random.default_rng(6)
    base = random.gamma(2.0, size=500)
    gain = random.normal(0.05, 0.1, size=500)
    found = paired_difference(means(base), means(base + gain), ratio, resamples=2000)
    assert found.difference == pytest.approx(gain.mean())
    assert 0 < found.p < 1 / 2001
    half = 1.96 * gain.std() / np.sqrt(500)  # the documents' own spread, far larger, does not count
    assert found.ci95 == pytest.approx([gain.mean() - half, gain.mean() + half], abs=0.1 * half)


def test_exchanging_the_systems_changes_the_sign_alone():
    rows = np.random.default_rng(7).random((2, 25, 2)) + 0.5
    there, back = (paired_difference(a, b, ratio, scale=3.0) for a, b in (rows, rows[::-1]))
    assert back.difference == -there.difference
    assert back.ci95 == pytest.approx([-there.ci95[1], -there.ci95[0]])
    assert back.p == there.p


def test_jackknife_of_a_mean_is_the_standard_error():
    values = np.random.default_rng(8).normal(3, 2, size=30)
    left_out = [np.delete(values, i).mean() for i in range(30)]
    error = values.std(ddof=1) / np.sqrt(30)
    assert jackknife_error(left_out) == pytest.approx(error)
    assert jackknife_interval(values.mean(), left_out) == pytest.approx(
        [values.mean() - 1.959964 * error, values.mean() + 1.959964 * error]
    )


def test_interval_of_repeats_from_a_table():
    """Of 3 values 2 degrees of freedom: t is 4.302653; their standard deviation is 1."""
    half = 4.302653 / np.sqrt(3)
    assert repeats_interval([4.0, 5.0, 6.0]) == pytest.approx([5 - half, 5 + half])
    assert repeats_interval([2.0, 2.0]) == [2.0, 2.0]


def test_holm_by_hand():
    """Of four: 0.01 x 4, 0.02 x 3 = 0.06, 0.03 x 2 = 0.06, 0.6 x 1; one without a value is not one of them."""
    assert holm([0.02, None, 0.6, 0.01, 0.03]) == pytest.approx([0.06, None, 0.6, 0.04, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([None]) == [None]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_as_its_procedure_does(p_values):
    adjusted = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    rejecting = True
    for rank, index in enumerate(order):
        rejecting &= p_values[index] * (len(p_values) - rank) <= 0.05
        assert (adjusted[index] <= 0.05) == rejecting


def test_small_p_values_are_those_of_the_normal_tail_and_never_below_all_exchanges():
    random = np.random.default_rng(5)
    ones = np.ones(200)
    first = random.normal(0, 1, 200)
    second = first + random.normal(0.3, 1, 200)  # about 4 standard errors
    found = paired_difference(np.column_stack([first, ones]), np.column_stack([second, ones]), ratio, resamples=1000)
    change = second - first
    error = np.sqrt((change**2).sum()) / 200  # of the mean under exchanges
    expected = 2 * norm.sf(change.mean() / error)  # the deviation is estimated from 1000 permutations: some percent in z
    assert expected / 3 < found.p < expected * 3
    assert found.p < 1 / 1001
    few = paired_difference(np.column_stack([[0.0] * 4, [1] * 4]), np.column_stack([[1.0] * 4, [1] * 4]), ratio, resamples=100)
    assert few.p >= 2 / 2**4
