"""fastText vectors of token ids: what has a vector, that it is learned, and that it can be repeated."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from commands.vectors import train_fasttext_vectors
from support.settings import altered
from support.shards import write_shard
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.config.vectors import FastTextSettings
from tokalign.vectors.fasttext import train_fasttext
from tokalign.vectors.vectors import read_vectors

SETTINGS = FastTextSettings(
    dimensions=16,
    learning_rate=0.05,
    epochs=5,
    window=3,
    negatives=5,
    min_count=2,
    min_ngram=0,
    max_ngram=0,
    sampling_threshold=1.0,  # every token is taken
    seed=1,
    threads=1,
)


def two_topics(documents: int, length: int) -> list[list[int]]:
    """Draw documents of the tokens 0 to 9 alone, or of the tokens 20 to 29 alone."""
    generator = np.random.default_rng(7)
    return [(generator.integers(10, size=length) + 20 * (number % 2)).tolist() for number in range(documents)]


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def assert_topics(vectors: np.ndarray, token_ids: np.ndarray) -> None:
    """Check that tokens of a topic are nearer to each other than to those of the other."""
    first = token_ids < 20
    near = cosines(vectors)
    assert min(near[np.ix_(first, first)].min(), near[np.ix_(~first, ~first)].min()) > near[np.ix_(first, ~first)].max()


def test_tokens_counts_and_order(tmp_path):
    """Frequent tokens first, ties by id; rare ones and the end of a line have no row."""
    texts = [[5, 1, 5, 9], [5, 1, 3, 3, 11], [], [0, 0, 5]]
    shards = [write_shard(tmp_path / "a.arrow", texts[:2]), write_shard(tmp_path / "b.arrow", texts[2:])]
    vectors, token_ids, counts = train_fasttext(shards, 12, SETTINGS)
    found = Counter(token for text in texts for token in text)
    assert token_ids.tolist() == [5, 0, 1, 3]
    assert counts.tolist() == [found[token] for token in (5, 0, 1, 3)]
    assert (vectors.shape, vectors.dtype, token_ids.dtype, counts.dtype) == ((4, 16), np.float32, np.int32, np.int64)


@pytest.mark.parametrize("ngrams", [(0, 0), (1, 2)])
def test_learns_topics(tmp_path, ngrams):
    """With and without n-grams."""
    shard = write_shard(tmp_path / "a.arrow", two_topics(300, 40))
    chosen = altered(SETTINGS, epochs=15, min_ngram=ngrams[0], max_ngram=ngrams[1])
    vectors, token_ids, _ = train_fasttext([shard], 30, chosen)
    assert sorted(token_ids.tolist()) == [*range(10), *range(20, 30)]
    if ngrams == (0, 0):
        assert_topics(vectors, token_ids)
    else:  # ids share digits, so that a topic shows in the means only
        near, first = cosines(vectors), token_ids < 20
        assert near[np.ix_(first, first)].mean() > near[np.ix_(first, ~first)].mean() + 0.1


def test_tokens_behind_the_first_1024_of_a_document_are_trained(tmp_path):
    """The library cuts long lines; nothing of them is left out: the last 4000 tokens of 2 documents hold all of a topic."""
    generator = np.random.default_rng(3)
    head = [40] * 2000
    texts = [head + (generator.integers(10, size=4000) + 20 * topic).tolist() for topic in (0, 1)]
    shard = write_shard(tmp_path / "a.arrow", texts)
    vectors, token_ids, _ = train_fasttext([shard], 41, altered(SETTINGS, epochs=20))
    topics = token_ids < 40
    assert_topics(vectors[topics], token_ids[topics])


def test_one_thread_gives_the_same_bytes_and_another_seed_others(tmp_path):
    shard = write_shard(tmp_path / "a.arrow", two_topics(60, 30))
    first, second, other = (
        train_fasttext([shard], 30, chosen)[0].tobytes() for chosen in (SETTINGS, SETTINGS, altered(SETTINGS, seed=2))
    )
    assert first == second
    assert first != other


def test_several_threads_learn_the_same(tmp_path):
    shard = write_shard(tmp_path / "a.arrow", two_topics(300, 40))
    vectors, token_ids, _ = train_fasttext([shard], 30, altered(SETTINGS, epochs=15, threads=2))
    assert_topics(vectors, token_ids)


def test_nothing_is_left_on_disk(tmp_path):
    (tmp_path / "scratch").mkdir()
    train_fasttext([write_shard(tmp_path / "a.arrow", [[1, 1, 2, 2]])], 3, SETTINGS, scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_errors(tmp_path):
    """No token that is frequent enough, an id out of range, n-grams the wrong way round, and divergence are named."""
    shard = write_shard(tmp_path / "a.arrow", two_topics(20, 30))
    with pytest.raises(InputError, match=r"(?s)no token occurs 9999 times.*600 tokens"):
        train_fasttext([shard], 30, altered(SETTINGS, min_count=9999))
    with pytest.raises(ArtifactError, match=r"a\.arrow: a token id beyond the vocabulary"):
        train_fasttext([shard], 20, SETTINGS)
    with pytest.raises(ConfigurationError, match=r"(?s)min_ngram: out of range.*1 to 2"):
        train_fasttext([shard], 30, altered(SETTINGS, min_ngram=3, max_ngram=2))
    with pytest.raises(ConfigurationError, match=r"(?s)the fastText vectors diverge.*lower learning_rate"):
        train_fasttext([shard], 30, altered(SETTINGS, learning_rate=1e30))


def test_script(tmp_path):
    """The file holds vectors, counts and settings; the record has no objective, since the library tells none."""
    shard = write_shard(tmp_path / "a.arrow", two_topics(20, 30))
    (tmp_path / "info.json").write_text('{"size": 30}')
    words = ["--shards", shard, "--tokenizer-info", tmp_path / "info.json", "--settings", json.dumps(SETTINGS.plain())]
    words += ["--vectors", tmp_path / "v.safetensors", "--objective", tmp_path / "objective.json"]
    train_fasttext_vectors.main(train_fasttext_vectors.arguments().parse_args(list(map(str, words))))
    vectors = read_vectors(tmp_path / "v.safetensors")
    expected, token_ids, counts = train_fasttext([shard], 30, SETTINGS)
    assert vectors.vectors.tobytes() == expected.tobytes()
    assert (vectors.token_ids.tolist(), vectors.counts.tolist()) == (token_ids.tolist(), counts.tolist())
    assert vectors.metadata == {"fasttext": SETTINGS.plain(), "vocabulary_size": 30}
    record = json.loads((tmp_path / "objective.json").read_text())
    assert record == {"method": "fasttext", "objective": None, "settings": SETTINGS.plain()}
