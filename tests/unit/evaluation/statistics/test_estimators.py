"""Metrics of sums: the values of sacrebleu, from statistics of its segments that were added up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF, TER
from tokalign.evaluation.statistics.estimators import BLEU_COLUMNS, CHRF_COLUMNS, ESTIMATORS, TER_COLUMNS, exp_ratio, ratio

METRICS = {"bleu": (BLEU(), BLEU_COLUMNS), "chrf": (CHRF(word_order=2), CHRF_COLUMNS), "ter": (TER(), TER_COLUMNS)}
WORDS = st.sampled_from(["the", "cat", "sat", "on", "mat", ".", "El", "niño", "日本", "don't", "3.5"])
SENTENCES = st.lists(WORDS, max_size=12).map(" ".join)
CORPORA = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6)


def segment_statistics(name, hypotheses, references):
    metric, columns = METRICS[name]
    rows = np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=np.float64)
    assert rows.shape == (len(hypotheses), columns)
    return rows


@pytest.mark.parametrize("name", METRICS)
@settings(deadline=None, max_examples=60)
@given(pairs=CORPORA)
def test_equals_the_corpus_score_of_sacrebleu(name, pairs):
    hypotheses, references = map(list, zip(*pairs, strict=True))
    sums = segment_statistics(name, hypotheses, references).sum(0)
    assert float(ESTIMATORS[name](sums)) == METRICS[name][0].corpus_score(hypotheses, [references]).score


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [
        (["", "the cat sat on the mat ."], ["the dog sat .", "the cat sat on a mat ."]),
        (["", ""], ["the dog", "the cat"]),
        (["the cat"], [""]),
        ([""], [""]),
        (["a b c d e f g"] * 3, ["a b c d x f g"] * 3),
    ],
)
def test_empty_hypotheses_and_references(name, hypotheses, references):
    sums = segment_statistics(name, hypotheses, references).sum(0)
    assert float(ESTIMATORS[name](sums)) == METRICS[name][0].corpus_score(hypotheses, [references]).score


def test_an_empty_hypothesis_costs():
    """Dropping it would raise the score: the segments are the same for all systems."""
    scored = segment_statistics("bleu", ["the cat sat on the mat", ""], ["the cat sat on the mat", "a dog lay under the tree"])
    assert float(ESTIMATORS["bleu"](scored.sum(0))) < float(ESTIMATORS["bleu"](scored[0])) == pytest.approx(100)


def test_ratio_and_its_exponential_by_hand():
    sums = np.array([[6.0, 4.0], [1.0, 0.0], [-3.0, 2.0]])
    assert ratio(sums).tolist()[::2] == [1.5, -1.5]
    assert np.isnan(ratio(sums)[1])
    assert exp_ratio(sums)[0] == pytest.approx(np.e**1.5)
    assert np.isnan(exp_ratio(sums)[1])
    assert exp_ratio(np.array([1e6, 1.0])) == np.inf


def test_chrf_delta_is_the_difference_of_both():
    pair = ["the cat sat on the mat", "", "el niño"], ["the cat sat on a mat", "a dog", "El niño ."]
    chrf, bleu = (segment_statistics(name, *pair).sum(0) for name in ("chrf", "bleu"))
    expected = CHRF(word_order=2).corpus_score(pair[0], [pair[1]]).score - BLEU().corpus_score(pair[0], [pair[1]]).score
    assert float(ESTIMATORS["chrf_delta"](np.concatenate([chrf, bleu]))) == expected


@pytest.mark.parametrize("name", ESTIMATORS)
def test_many_sums_at_once_are_each_on_its_own(name):
    width = {"ratio": 2, "exp_ratio": 2, "chrf_delta": CHRF_COLUMNS + BLEU_COLUMNS}.get(name) or METRICS[name][1]
    one = np.arange(1, width + 1, dtype=np.float64)
    sums = np.stack([one, 2 * one, one[::-1]])[:, None]
    if name == "chrf_delta" or name == "bleu":
        sums[..., -4:] += 40  # totals are at least the matches
    values = ESTIMATORS[name](sums)
    assert values.shape == (3, 1)
    assert [float(v) for v in values.ravel()] == [float(ESTIMATORS[name](row)) for row in sums[:, 0]]
