from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.settings import unchecked
from tokalign.common.errors import ConfigurationError, InputError
from tokalign.config.sources import BpeSettings
from tokalign.tokenizers.bpe import read_texts, train_bpe
from transformers import PreTrainedTokenizerFast

WORDS = ["alpha", "beta", "gamma", "größe", "река", "भारत", "日本語", "2024", "x_1", "\n    return", "don't"]


def corpus(documents: int = 200) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=20)) for _ in range(documents)]


def trained(texts: list[str], special_tokens: dict[str, str | None] | None = None, **changes) -> PreTrainedTokenizerFast:
    values = {"vocabulary_size": 300, "min_frequency": 2, "digits": "individual", "max_bytes": None}
    chosen = {"eos": "<|endoftext|>"} if special_tokens is None else special_tokens
    return train_bpe(texts, unchecked(BpeSettings, **(values | changes)), chosen)


def test_two_merges_by_hand():
    # "abab" x 3 and "ab" x 1, as words: pairs (a, b) 7 times, (b, a) 3 times; then (ab, ab) 3 times.
    tokenizer = trained(["abab"] * 3 + ["ab"], vocabulary_size=259, special_tokens={"eos": "<e>"})
    vocabulary = tokenizer.get_vocab()
    assert len(tokenizer) == 259
    assert (vocabulary["<e>"], vocabulary["ab"], vocabulary["abab"]) == (0, 257, 258)


def test_same_result_twice_and_in_another_order():
    texts = corpus()
    first = trained(texts).backend_tokenizer.to_str()
    assert trained(texts).backend_tokenizer.to_str() == first
    assert trained(texts[::-1]).backend_tokenizer.to_str() == first


def test_text_comes_back_whatever_it_is():
    tokenizer = trained(corpus())
    for text in ("alpha beta", " lead", "trail ", "\x00\x01\x7f", "🙂 unseen ½ \u0378", "a\u0301 e\r\n\t  x"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_special_tokens_come_first_and_roles_may_share_one():
    roles = {"eos": "<|endoftext|>", "pad": "<|pad|>", "unk": None}
    tokenizer = trained(corpus(), special_tokens=roles)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id) == (0, 1, None, None)
    shared = trained(corpus(), special_tokens={"eos": "<e>", "pad": "<e>"})
    assert (shared.eos_token_id, shared.pad_token_id) == (0, 0)
    assert len(tokenizer) == len(shared) == 300


@pytest.mark.parametrize(("digits", "longest"), [("individual", 1), ("groups_of_3", 3), ("unlimited", 6)])
def test_digits(digits, longest):
    tokenizer = trained(["123456 is a number and 123456 too"] * 50, vocabulary_size=265, digits=digits)
    numbers = [token for token in tokenizer.get_vocab() if token.isascii() and token.strip("Ġ").isdigit()]
    assert max(map(len, numbers)) == longest


def test_words_of_indic_scripts_are_not_cut_at_vowel_signs():
    tokenizer = trained(["विशाल देश"] * 20, vocabulary_size=265)
    steps = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("विशाल देश")
    assert [span for _, span in steps] == [(0, 5), (5, 9)]


def test_too_little_text():
    with pytest.raises(InputError, match=r"too small[\s\S]*300"):
        trained(["abc"])


@pytest.mark.parametrize(
    "changes",
    [
        {"vocabulary_size": 256},
        {"special_tokens": {}},
        {"special_tokens": {"eos": None}},
        {"special_tokens": {"eos": "<e>", "end": "<f>"}},
    ],
)
def test_wrong_settings(changes):
    with pytest.raises(ConfigurationError):
        trained(corpus(), **changes)


def write(folder: Path, shards: list[list[str]]) -> list[Path]:
    paths = []
    for number, texts in enumerate(shards):
        paths.append(folder / f"train-{number:05d}.parquet")
        pq.write_table(pa.table({"id": [str(i) for i in range(len(texts))], "text": texts}), paths[-1], row_group_size=7)
    return paths


def test_read_all_in_the_order_of_names(tmp_path: Path):
    texts = corpus(50)
    paths = write(tmp_path, [texts[:20], texts[20:]])
    assert list(read_texts(reversed(paths), None)) == texts
    assert list(read_texts(paths, 10**9)) == texts


def test_a_budget_samples_from_all_shards(tmp_path: Path):
    texts = [f"{number} {text}" for number, text in enumerate(corpus(1000))]
    total = sum(len(text.encode()) for text in texts)
    paths = write(tmp_path, [texts[:500], texts[500:]])
    sample = list(read_texts(paths, total // 4))
    size = sum(len(text.encode()) for text in sample)
    assert total // 4 - 2000 < size <= total // 4
    late = sum(int(text.split()[0]) >= 500 for text in sample)
    assert 0.35 < late / len(sample) < 0.65
    assert sample == list(read_texts(paths, total // 4))
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", [texts[::-1]])
    assert sorted(read_texts(other, total // 4)) == sorted(sample)
    assert list(read_texts(paths, total)) == texts
    assert len(list(read_texts(paths, total - 1))) == 999


def test_no_shards_and_no_text(tmp_path: Path):
    with pytest.raises(InputError, match="no shards"):
        list(read_texts([], None))
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "train-00000.parquet")
    with pytest.raises(InputError, match="no column text"):
        list(read_texts([tmp_path / "train-00000.parquet"], None))
