"""Counts of tokens and the evenness of their distribution, by hand."""

import math

import numpy as np
import pytest
from support.shards import write_shard
from tokalign.evaluation.statistics.bootstrap import JACKKNIFE_GROUPS
from tokalign.evaluation.suites.tokenizer.unigrams import count_unigrams, renyi_efficiency


def test_renyi_efficiency_by_hand():
    assert renyi_efficiency(np.array([3, 3, 3, 3]), 2.5, 4) == pytest.approx(1)
    assert renyi_efficiency(np.array([3, 3, 3, 3, 0, 0, 0, 0]), 2.5, 8) == pytest.approx(2 / 3)
    assert renyi_efficiency(np.array([7, 0]), 2.5, 2) == pytest.approx(0)
    collision = -math.log(0.5**2 + 0.25**2 + 0.25**2)
    assert renyi_efficiency(np.array([2, 1, 1]), 2, 3) == pytest.approx(collision / math.log(3))
    shannon = 0.5 * math.log(2) + 0.5 * math.log(4)
    assert renyi_efficiency(np.array([2, 1, 1]), 1, 3) == pytest.approx(shannon / math.log(3))
    assert renyi_efficiency(np.array([2, 1, 1]), 1 + 1e-7, 3) == pytest.approx(shannon / math.log(3))
    assert math.isnan(renyi_efficiency(np.array([0, 0]), 2, 2))
    assert math.isnan(renyi_efficiency(np.array([1]), 2, 1))


def test_counts_by_loops(tmp_path):
    random = np.random.default_rng(0)
    documents = [random.integers(0, 9, random.integers(0, 12)).tolist() for _ in range(17)]
    group, fold = random.integers(-1, 3, 17), random.integers(0, JACKKNIFE_GROUPS, 17)
    write_shard(tmp_path / "s.arrow", documents, rows=4)
    expected = np.zeros((2, JACKKNIFE_GROUPS, 9), dtype=np.int64)
    for ids, g, f in zip(documents, group, fold, strict=True):
        for i in ids if 0 <= g < 2 else ():
            expected[g, f, i] += 1
    assert np.array_equal(count_unigrams(tmp_path / "s.arrow", group, fold, 2, 9), expected)
