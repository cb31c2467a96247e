"""Co-occurrence counts against a brute force that follows the definition with fractions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.settings import altered, unchecked
from support.shards import write_shard
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.tokens import counts
from tokalign.tokens.counts import count_tokens
from tokalign.vectors import cooccurrence
from tokalign.vectors.cooccurrence import (
    Cooccurrences,
    CountSettings,
    count_cooccurrences,
    integer_weights,
    read_cooccurrences,
    write_cooccurrences,
)

VOCABULARY = 12
SETTINGS = CountSettings(window=3, min_count=2, weighting="inverse", memory_gb=0.1)
ARRAYS = ("indptr", "indices", "values", "token_ids", "counts")

corpora = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=25), min_size=1, max_size=8)


def brute_force(texts: list[list[int]], chosen: CountSettings) -> tuple[list[int], dict[tuple[int, int], Fraction]]:
    """Return the tokens kept in order, and the weighted count of each pair of tokens."""
    counts = Counter(token for text in texts for token in text)
    kept = sorted((t for t in counts if counts[t] >= chosen.min_count), key=lambda t: (-counts[t], t))
    pairs: dict[tuple[int, int], Fraction] = Counter()
    for text in texts:
        stream = [token for token in text if token in kept]
        for right in range(len(stream)):
            for left in range(right):
                distance = right - left
                if distance <= chosen.window:
                    weight = Fraction(1, distance) if chosen.weighting == "inverse" else Fraction(1)
                    pairs[stream[left], stream[right]] += weight
                    pairs[stream[right], stream[left]] += weight
    return kept, pairs


def as_pairs(result: Cooccurrences) -> dict[tuple[int, int], float]:
    """Return the entries by pair of tokens."""
    rows = np.repeat(result.token_ids, np.diff(result.indptr))
    columns = result.token_ids[result.indices]
    return dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), result.values.tolist(), strict=True))


def assert_same(first: Cooccurrences, second: Cooccurrences) -> None:
    """Compare all bytes."""
    for name in ARRAYS:
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that is shared by the examples of a property."""
    return tmp_path_factory.mktemp("shards")


def random_texts(seed: int, tokens: int, vocabulary: int) -> list[list[int]]:
    """Draw documents of 40 tokens, low ids more often."""
    drawn = (np.random.default_rng(seed).random(tokens) ** 2 * vocabulary).astype(int)
    return drawn.reshape(-1, 40).tolist()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=corpora,
    window=st.integers(1, 6),
    min_count=st.integers(1, 4),
    weighting=st.sampled_from(["inverse", "uniform"]),
    memory=st.sampled_from([1e-7, 1e-5, 0.1]),
    threads=st.sampled_from([1, 2]),
)
def test_equals_brute_force(folder, texts, window, min_count, weighting, memory, threads):
    """Any corpus, window, memory and number of threads gives the counts of the definition, rows and columns in order."""
    chosen = unchecked(CountSettings, window=window, min_count=min_count, weighting=weighting, memory_gb=memory)
    kept, expected = brute_force(texts, chosen)
    half = len(texts) // 2
    shards = [write_shard(folder / "a.arrow", texts[:half]), write_shard(folder / "b.arrow", texts[half:], rows=2)]
    if not kept:
        with pytest.raises(InputError, match="no token occurs"):
            count_cooccurrences(shards, VOCABULARY, chosen, threads)
        return
    result = count_cooccurrences(shards, VOCABULARY, chosen, threads)
    assert result.token_ids.tolist() == kept
    assert result.counts.tolist() == [sum(text.count(token) for text in texts) for token in kept]
    assert as_pairs(result) == {pair: float(np.float32(float(value))) for pair, value in expected.items()}
    for row in range(len(kept)):
        columns = result.indices[result.indptr[row] : result.indptr[row + 1]]
        assert (np.diff(columns) > 0).all()
    assert [getattr(result, name).dtype.name for name in ARRAYS] == ["int64", "int32", "float32", "int32", "int64"]


def test_by_hand(tmp_path):
    """Token 9 is too rare and takes no place in the window; documents do not touch; a pair (1, 1) counts twice."""
    shard = write_shard(tmp_path / "s.arrow", [[1, 9, 2, 1], [2, 3, 3]])
    result = count_cooccurrences([shard], 10, altered(SETTINGS, window=2), 1)
    # 1 2 1: (1,2) at distance 1 twice, (1,1) at distance 2, in both directions. 2 3 3: (2,3) at 1 and at 2, (3,3) at 1.
    expected = {(1, 1): 1.0, (1, 2): 2.0, (2, 1): 2.0, (2, 3): 1.5, (3, 2): 1.5, (3, 3): 2.0}
    assert as_pairs(result) == expected
    assert result.token_ids.tolist() == [1, 2, 3]


def test_chunks_and_threads_and_pieces_change_nothing(tmp_path, monkeypatch):
    """Many chunks on disk, many small parts, pieces and threads: always the same bytes, and nothing is left on disk."""
    texts = random_texts(1, 20_000, 300)
    shards = [write_shard(tmp_path / "a.arrow", texts[:100]), write_shard(tmp_path / "b.arrow", texts[100:], rows=150)]
    large = altered(SETTINGS, window=15, memory_gb=1.0)
    reference = count_cooccurrences(shards, 300, large, 1)
    chunks = []
    spill = cooccurrence._spill

    def watched(folder, chunk, *rest):
        chunks.append(chunk)
        return spill(folder, chunk, *rest)

    monkeypatch.setattr(cooccurrence, "_spill", watched)
    monkeypatch.setattr(counts, "PIECE_TOKENS", 1000)
    monkeypatch.setattr(cooccurrence, "PART_ENTRIES", 1000)
    assert_same(reference, count_cooccurrences(shards[::-1], 300, large, 2))
    assert not chunks
    for threads in (1, 2):
        # 1e-5 GB hold 625 positions: some 11 documents with their gaps, of 500.
        result = count_cooccurrences(shards, 300, altered(large, memory_gb=1e-5), threads, scratch=tmp_path)
        assert_same(reference, result)
    assert max(chunks) > 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrow", "b.arrow"]


def test_one_document_longer_than_a_piece(tmp_path, monkeypatch):
    """A document is never cut."""
    text = random_texts(2, 4000, 50)
    whole = [[token for part in text for token in part]]
    shard = write_shard(tmp_path / "a.arrow", whole)
    reference = count_cooccurrences([shard], 50, SETTINGS, 1)
    monkeypatch.setattr(counts, "PIECE_TOKENS", 100)
    assert_same(reference, count_cooccurrences([shard], 50, SETTINGS, 2))
    assert as_pairs(reference) == {p: float(np.float32(float(v))) for p, v in brute_force(whole, SETTINGS)[1].items()}


def test_no_pairs(tmp_path):
    """Documents of one token have counts but no co-occurrences."""
    result = count_cooccurrences([write_shard(tmp_path / "a.arrow", [[1], [1], [2], [2], []])], 3, SETTINGS, 1)
    assert result.token_ids.tolist() == [1, 2]
    assert result.indptr.tolist() == [0, 0, 0]


def test_integer_weights():
    """1/d in units of 1/lcm: window 15 has lcm 360360, window 4 has 12."""
    weights, unit = integer_weights(altered(SETTINGS, window=15))
    assert unit == 360360
    assert [Fraction(int(weight), unit) for weight in weights[1:]] == [Fraction(1, d) for d in range(1, 16)]
    assert integer_weights(altered(SETTINGS, window=4))[0].tolist() == [0, 12, 6, 4, 3]
    assert integer_weights(altered(SETTINGS, window=2, weighting="uniform"))[0].tolist() == [0, 1, 1]
    for window in (0, 50):
        with pytest.raises(ConfigurationError, match="window"):
            integer_weights(altered(SETTINGS, window=window))


def test_window_that_could_overflow_is_refused(tmp_path):
    """Window 31 has a unit of 7.2e13 and weights of 4.03 units; 50,000 occurrences of a token pass 2**64 / 2 / 2.9e14."""
    shard = write_shard(tmp_path / "a.arrow", [[0] * 50_000])
    with pytest.raises(ConfigurationError, match="too large to count"):
        count_cooccurrences([shard], 1, altered(SETTINGS, window=31), 1)


def test_count_tokens(tmp_path):
    """Counts by token, and an error that names the token beyond the vocabulary."""
    shards = [write_shard(tmp_path / "a.arrow", [[0, 3], [3]]), write_shard(tmp_path / "b.arrow", [[], [3, 1]])]
    assert count_tokens(shards, 5, threads=2).tolist() == [1, 1, 0, 3, 0]
    with pytest.raises(ArtifactError, match=r"(?s)a\.arrow.*token 3.*below 3"):
        count_tokens(shards, 3)


def test_round_trip_and_damage(tmp_path):
    """What is written is read; equal content is equal bytes; damage is named."""
    result = count_cooccurrences([write_shard(tmp_path / "s.arrow", random_texts(3, 400, 9))], 9, SETTINGS, 1)
    write_cooccurrences(tmp_path / "a", result)
    write_cooccurrences(tmp_path / "b", result)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_cooccurrences(tmp_path / "a")
    assert_same(result, again)
    assert again.vocabulary_size == 9
    damaged = {
        "do not belong together": replace(result, counts=result.counts[1:]),
        "row starts": replace(result, indptr=result.indptr[::-1]),
        "column out of range": replace(result, indices=result.indices + 1),
        "not positive and finite": replace(result, values=result.values * np.float32(np.nan)),
        "other arrays": replace(result, counts=result.counts.astype(np.int32)),
    }
    for message, wrong in damaged.items():
        write_cooccurrences(tmp_path / "c", wrong)
        with pytest.raises(ArtifactError, match=message):
            read_cooccurrences(tmp_path / "c")
