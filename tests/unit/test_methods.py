"""Alignment methods and what they are put together to, against definitions followed step by step."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from tokalign import similarity
from tokalign.alignment import Alignment, Rows, Side, align, check_different, read_matrix, write_alignment
from tokalign.alignment_report import read_tokens
from tokalign.errors import ArtefactError, ConfigurationError, InputError
from tokalign.methods.decomposition import align_by_decomposition, longest_pieces, place_weights
from tokalign.methods.floors import align_at_random
from tokalign.methods.overlap import align_by_bytes, align_by_role, exact_pairs, ids_by_bytes
from tokalign.methods.relative import align_by_relative_representation, choose_pivots
from tokalign.vectors import Vectors
from tokalign.vocabulary import Vocabulary, describe
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["the cat and the dog read the text", "größer 日本語 日本 the end", "ein Text und noch ein Text"] * 4


def byte_level(size: int, texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def sentencepiece(byte_fallback: bool = True) -> PreTrainedTokenizerFast:
    """A BPE as SentencePiece makes it, with a space in front of every text."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256) if byte_fallback)]
    pieces += ["▁", "t", "h", "e", "x", "th", "the", "▁the", "日", "xt"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("x", "t")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in pieces[:3]])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def side(tokenizer: PreTrainedTokenizerFast) -> Side:
    return Side(describe(tokenizer), tokenizer)


BYTES, PIECES, SMALL = side(byte_level(330, TEXTS)), side(sentencepiece()), side(byte_level(270, TEXTS[:1]))


def by_hand(*tokens: tuple[str, str], roles: dict[str, int] | None = None, vectors: Vectors | None = None) -> Side:
    """Return a side of (token, kind); bytes are the token's characters in UTF-8."""
    names = [token for token, _ in tokens]
    return Side(Vocabulary(names, [n.encode() for n in names], [kind for _, kind in tokens], roles or {}), None, vectors)


def every(one: Side) -> np.ndarray:
    return np.arange(one.vocabulary.size)


def as_dict(rows: Rows) -> dict[int, dict[int, float]]:
    """Return target id -> source id -> weight; check what holds for the rows of every method."""
    assert rows.indptr[0] == 0
    assert rows.indptr[-1] == len(rows.sources) == len(rows.weights)
    assert len(rows.indptr) == len(rows.ids) + 1 == len(rows.scores) + 1
    assert (rows.weights.dtype, rows.scores.dtype) == (np.float32, np.float32)
    found: dict[int, dict[int, float]] = {}
    for n, i in enumerate(rows.ids.tolist()):
        assert i not in found
        found[i] = {}
        for entry in range(rows.indptr[n], rows.indptr[n + 1]):
            source = int(rows.sources[entry])
            found[i][source] = found[i].get(source, 0.0) + float(rows.weights[entry])
        assert sum(found[i].values()) == pytest.approx(1, abs=1e-6)
    return found


# --- exact ---


@pytest.mark.parametrize(("target", "source"), [(BYTES, PIECES), (PIECES, BYTES), (BYTES, SMALL)])
def test_exact_by_bytes_whatever_the_spelling(target, source):
    """Brute force over all pairs of ordinary tokens; a `byte` fallback is taken only where no text token has the byte."""
    rows = align_by_bytes(target, source, every(target), {})
    found = as_dict(rows)
    ours, theirs = target.vocabulary, source.vocabulary
    for i in range(ours.size):
        same = [
            (theirs.kinds[j] == "byte", j)
            for j in range(theirs.size)
            if theirs.token_bytes[j] == ours.token_bytes[i] and theirs.kinds[j] in ("text", "byte")
        ]
        expected = {min(same)[1]: 1.0} if same and ours.kinds[i] in ("text", "byte") else None
        assert found.get(i) == expected
    assert rows.category == "exact"
    assert np.isnan(rows.scores).all()


def test_exact_pairs_by_name():
    ours, theirs = BYTES.tokenizer.get_vocab(), PIECES.tokenizer.get_vocab()
    pairs = dict(zip(*(part.tolist() for part in exact_pairs(BYTES.vocabulary, PIECES.vocabulary)), strict=True))
    assert pairs[ours["Ġthe"]] == theirs["▁the"]
    assert pairs[ours["t"]] == theirs["t"]  # not <0x74>
    assert pairs[ours["Ġ"]] == theirs["▁"]
    assert pairs[ours["Ã"]] == theirs["<0xC3>"]
    assert ours["<eos>"] not in pairs
    assert ids_by_bytes(PIECES.vocabulary)[b"t"] == theirs["t"]


def test_exact_for_open_tokens_only():
    ids = BYTES.tokenizer.get_vocab()
    wanted = np.array(sorted([ids["Ġthe"], ids["t"], ids["<eos>"]]))
    assert set(as_dict(align_by_bytes(BYTES, PIECES, wanted, {}))) == {ids["Ġthe"], ids["t"]}


# --- special ---


def test_roles_first_then_the_same_text_then_a_stand_in():
    source = by_hand(
        ("<unk>", "special"), ("<s>", "special"), ("</s>", "special"), ("<sep>", "special"), ("a", "text"),
        roles={"unk": 0, "bos": 1, "eos": 2},
    )  # fmt: skip
    target = by_hand(
        ("<sep>", "special"),  # 0: the same text
        ("<start>", "special"),  # 1: bos
        ("<end>", "special"),  # 2: eos and pad: eos decides
        ("<s>", "special"),  # 3: pad by role; the source has no pad, but the text
        ("<turn>", "special"),  # 4: turn_end, stands for eos
        ("<mask>", "special"),  # 5: nothing like it
        ("a", "text"),  # 6: no special token
        ("<x>", "text"),  # 7: unk, though an ordinary token
        roles={"bos": 1, "eos": 2, "pad": 3, "turn_end": 4, "mask": 5, "unk": 7},
    )  # fmt: skip
    rows = align_by_role(target, source, every(target), {})
    assert as_dict(rows) == {0: {3: 1}, 1: {1: 1}, 2: {2: 1}, 3: {1: 1}, 4: {2: 1}, 7: {0: 1}}
    assert rows.category == "special"
    assert set(as_dict(align_by_role(target, source, np.array([2, 5]), {}))) == {2}


def test_stand_ins_where_the_source_has_only_an_end_of_text():
    source = by_hand(("x", "text"), ("<end>", "special"), roles={"eos": 1})
    target = by_hand(("<b>", "special"), ("<p>", "special"), ("<u>", "special"), ("<e>", "special"),
                     roles={"bos": 0, "pad": 1, "unk": 2, "eos": 3})  # fmt: skip
    assert as_dict(align_by_role(target, source, every(target), {})) == {0: {1: 1}, 1: {1: 1}, 3: {1: 1}}


def test_one_token_of_several_roles():
    """`<end>` ends texts and pads; the source has another token for each."""
    source = by_hand(("<pad>", "special"), ("<eos>", "special"), roles={"pad": 0, "eos": 1})
    target = by_hand(("<end>", "special"), roles={"pad": 0, "eos": 0})
    assert as_dict(align_by_role(target, source, every(target), {})) == {0: {1: 1}}


# --- relative ---


def with_vectors(one: Side, seed: int, leave_out: tuple[int, ...] = (), dimensions: int = 6) -> Side:
    """Return a side with random vectors of all its tokens but some, in a random order, one of them zero."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation([i for i in range(one.vocabulary.size) if i not in leave_out]).astype(np.int32)
    vectors = rng.normal(size=(len(ids), dimensions)).astype(np.float32)
    counts = rng.integers(1, 1000, len(ids))
    return Side(one.vocabulary, one.tokenizer, Vectors(vectors, ids, counts, {"vocabulary_size": one.vocabulary.size}))


def letters(text: str) -> Side:
    return by_hand(("<eos>", "special"), *((letter, "text") for letter in text), roles={"eos": 0})


TARGET = with_vectors(letters("abcdefghijklmno"), 1, leave_out=(3, 15))
SOURCE = with_vectors(letters("ABCDeghEFGHIJKLMNa"), 2, leave_out=(4,))
COMMON = ["a", "e", "g", "h"]
SETTINGS = {
    "relative": {
        "pivots": 4, "pivot_choice": "random", "top_k": 1, "temperature": 0.05, "min_cosine": -1.0, "hubness": "none",
        "neighbours": 10, "mutual": False, "one_to_one": False,
    },
    "seed": 1,
    "threads": 2,
}  # fmt: skip


def chosen(**changes) -> dict:
    return SETTINGS | {"relative": SETTINGS["relative"] | changes}


def cosine(x, y) -> float:
    lengths = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 0.0


def brute_force(target: Side, source: Side, common: list[str], top_k: int, temperature: float) -> dict[int, list[tuple]]:
    """Return target id -> [(source id, weight, cosine), ...], best first, by the definition, in float64."""

    def space(one: Side) -> dict[int, list[float]]:
        rows = {int(i): [float(x) for x in row] for i, row in zip(one.vectors.token_ids, one.vectors.vectors, strict=True)}
        pivots = [rows[one.vocabulary.tokens.index(token)] for token in common]
        return {i: [cosine(row, pivot) for pivot in pivots] for i, row in rows.items()}

    ours, theirs = space(target), space(source)
    result = {}
    for i in sorted(ours):
        ranked = sorted((-cosine(ours[i], theirs[j]), j) for j in theirs if source.vocabulary.kinds[j] != "special")[:top_k]
        scale = [math.exp(-c / temperature) for c, _ in ranked]
        result[i] = [(j, weight / sum(scale), -c) for (c, j), weight in zip(ranked, scale, strict=True)]
    return result


@pytest.mark.parametrize(("query_rows", "key_rows"), [(1, 1), (3, 5), (512, 1024)])
@pytest.mark.parametrize(("top_k", "temperature"), [(1, 0.05), (3, 0.05), (5, 1.0), (1000, 0.3)])
def test_relative_equals_brute_force(monkeypatch, query_rows, key_rows, top_k, temperature):
    monkeypatch.setattr(similarity, "QUERY_ROWS", query_rows)
    monkeypatch.setattr(similarity, "KEY_ROWS", key_rows)
    settings = chosen(top_k=top_k, temperature=temperature)
    rows = align_by_relative_representation(TARGET, SOURCE, every(TARGET), settings)
    expected = brute_force(TARGET, SOURCE, COMMON, top_k, temperature)
    assert rows.category == "aligned"
    assert rows.ids.tolist() == sorted(expected)  # tokens without a vector are left out
    k = min(top_k, 17)  # 18 letters, less the one without a vector; the special token is no candidate
    as_dict(rows)
    for n, (i, matches) in enumerate(expected.items()):
        part = slice(n * k, (n + 1) * k)
        assert rows.sources[part].tolist() == [j for j, _, _ in matches], i
        assert rows.weights[part] == pytest.approx([w for _, w, _ in matches], abs=2e-5)
        assert rows.scores[n] == pytest.approx(matches[0][2], abs=1e-5)


def test_relative_for_open_tokens_above_the_least_cosine():
    expected = {i: matches[0] for i, matches in brute_force(TARGET, SOURCE, COMMON, 1, 1.0).items()}
    middle = sorted(score for _, _, score in expected.values())[len(expected) // 2] - 1e-4
    wanted = np.array([1, 2, 3, 7, 8, 9, 10])
    rows = align_by_relative_representation(TARGET, SOURCE, wanted, chosen(min_cosine=middle))
    good = {i: j for i, (j, _, score) in expected.items() if i in wanted and score >= middle}
    assert 0 < len(good) < 6
    assert {i: next(iter(row)) for i, row in as_dict(rows).items()} == good


def test_relative_finds_a_rotated_space_again():
    """Vectors of the target are those of the source, turned and stretched: every token finds itself, with cosine 1."""
    rng = np.random.default_rng(0)
    text = "abcdefghijklmnopqrst"
    source = with_vectors(letters(text), 3)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scale = rng.uniform(0.5, 2, size=(len(source.vectors.vectors), 1))
    turned = (scale * (source.vectors.vectors @ rotation)).astype(np.float32)
    # The target spells the last ten letters otherwise, so they are no pivots.
    target = letters(text[:10] + text[10:].upper())
    target = Side(target.vocabulary, None, Vectors(turned, source.vectors.token_ids, source.vectors.counts, {}))
    rows = align_by_relative_representation(target, source, np.arange(11, 21), chosen(pivots=10))
    assert as_dict(rows) == {i: {i: 1.0} for i in range(11, 21)}
    assert rows.scores == pytest.approx(np.ones(10), abs=1e-5)


def test_relative_without_open_tokens():
    rows = align_by_relative_representation(TARGET, SOURCE, np.array([3, 15]), chosen(top_k=2))
    assert as_dict(rows) == {}


def test_too_few_pivots():
    with pytest.raises(InputError, match=r"(?s)too few pivots\n  found:    4 tokens have the same bytes.*at least the 5"):
        align_by_relative_representation(TARGET, SOURCE, every(TARGET), chosen(pivots=5))


def pivot_tokens(target: Side, source: Side, number: int, choice: str, seed: int) -> list[str]:
    """Return the tokens that were chosen, having checked that both positions are of the same token."""
    at_target, at_source = choose_pivots(target, source, number, choice, seed)
    tokens = [target.vocabulary.tokens[i] for i in target.vectors.token_ids[at_target]]
    assert tokens == [source.vocabulary.tokens[i] for i in source.vectors.token_ids[at_source]]
    assert len(set(tokens)) == number
    return sorted(tokens)


def test_pivots_at_random_are_seeded():
    assert pivot_tokens(TARGET, SOURCE, 4, "random", 1) == COMMON
    drawn = {tuple(pivot_tokens(TARGET, SOURCE, 2, "random", seed)) for seed in range(40)}
    assert len(drawn) == 6  # every pair of four
    assert len({tuple(pivot_tokens(TARGET, SOURCE, 2, "random", 7)) for _ in range(3)}) == 1


def test_pivots_by_frequency_on_the_rarer_side():
    def counted(counts: list[int]) -> Side:
        one = letters("abc")
        vectors = Vectors(np.ones((3, 2), np.float32), np.array([1, 2, 3], np.int32), np.array(counts), {"vocabulary_size": 4})
        return Side(one.vocabulary, None, vectors)

    # Shares: a 0.7 and 0.1, b 0.2 and 0.2, c 0.1 and 0.7; the rarer side says a 0.1, b 0.2, c 0.1 (ties: in order).
    target, source = counted([70, 20, 10]), counted([1, 2, 7])
    assert pivot_tokens(target, source, 1, "frequency", 1) == ["b"]
    assert pivot_tokens(target, source, 2, "frequency", 1) == ["a", "b"]


# --- decomposed ---


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mean", [1, 0.5, 0.5, 1 / 3, 1 / 3, 1 / 3]),
        ("later", [1, 1 / 3, 2 / 3, 1 / 7, 2 / 7, 4 / 7]),
        ("last", [1, 0, 1, 0, 0, 1]),
        ("first", [1, 1, 0, 1, 0, 0]),
    ],
)
def test_weights_of_pieces_by_place(kind, expected):
    weights = place_weights(np.array([1, 2, 3]), kind)
    assert weights.dtype == np.float32
    assert weights.tolist() == pytest.approx(expected)


def test_pieces_weigh_differently_in_head_and_input():
    block = {"decomposed": {"input": "last", "output": "first"}}
    rows = align_by_decomposition(BYTES, SMALL, every(BYTES), block)
    starts, ends = rows.indptr[:-1], rows.indptr[1:] - 1
    assert rows.weights[ends].tolist() == [1.0] * len(rows.ids)
    assert rows.output_weights[starts].tolist() == [1.0] * len(rows.ids)
    assert (rows.indptr[1:] - rows.indptr[:-1]).max() > 1
    assert rows.weights.sum() == rows.output_weights.sum() == len(rows.ids)


@pytest.mark.parametrize(
    ("target", "source"), [(BYTES, SMALL), (SMALL, BYTES), (BYTES, PIECES), (PIECES, BYTES), (PIECES, SMALL)]
)
def test_pieces_have_the_bytes_of_the_token(target, source):
    """Joined, the pieces are the token again, whichever tokenizer cuts; and each has the same weight."""
    rows = align_by_decomposition(target, source, every(target), {})
    ours, theirs = target.vocabulary, source.vocabulary
    assert rows.ids.tolist() == [i for i in range(ours.size) if ours.token_bytes[i]]
    as_dict(rows)
    for n, i in enumerate(rows.ids):
        pieces = rows.sources[rows.indptr[n] : rows.indptr[n + 1]]
        assert b"".join(theirs.token_bytes[j] for j in pieces) == ours.token_bytes[i]
        assert rows.weights[rows.indptr[n] : rows.indptr[n + 1]] == pytest.approx([1 / len(pieces)] * len(pieces))
    assert rows.category == "decomposed"


def test_the_source_tokenizer_cuts():
    words = ["Ġthe", "Ġread", "ein", "ĠæĹ¥æľ¬"]
    ids = [BYTES.tokenizer.get_vocab()[word] for word in words]
    found = as_dict(align_by_decomposition(BYTES, SMALL, np.array(ids), {}))
    for i, text in zip(ids, [" the", " read", "ein", " 日本"], strict=True):
        pieces = SMALL.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found[i] == pytest.approx({j: pieces.count(j) / len(pieces) for j in pieces})


def test_parts_of_characters():
    """The first two bytes of 日 are no text; they are their bytes."""
    target = Side(Vocabulary(["x", "y"], [b"\xe6\x97", b"t\xff"], ["text", "text"], {}), None)
    ids = PIECES.tokenizer.get_vocab()
    found = as_dict(align_by_decomposition(target, PIECES, every(target), {}))
    assert found == {0: {ids["<0xE6>"]: 0.5, ids["<0x97>"]: 0.5}, 1: {ids["t"]: 0.5, ids["<0xFF>"]: 0.5}}


def test_no_space_in_front():
    """The source puts a space in front of every text; a token without one is cut into the longest pieces instead."""
    ids = PIECES.tokenizer.get_vocab()
    target = by_hand(("the", "text"), (" the", "text"), ("thext", "text"), ("日", "text"))
    found = as_dict(align_by_decomposition(target, PIECES, every(target), {}))
    assert found == {
        0: {ids["the"]: 1}, 1: {ids["▁the"]: 1}, 2: {ids["the"]: 0.5, ids["xt"]: 0.5}, 3: {ids["日"]: 1},
    }  # fmt: skip


def test_what_the_source_cannot_spell_is_left_to_the_next_method():
    source = side(sentencepiece(byte_fallback=False))
    target = by_hand(("the日", "text"), ("the語", "text"), ("", "unused"))
    assert set(as_dict(align_by_decomposition(target, source, every(target), {}))) == {0}


@given(st.binary(max_size=12), st.sets(st.binary(min_size=1, max_size=3), max_size=8))
def test_longest_pieces(data, words):
    """Cut greedily by definition."""
    known = {word: i for i, word in enumerate(sorted(words))}
    rest, expected = data, []
    while rest:
        fits = [word for word in known if rest.startswith(word)]
        if not fits:
            expected = None
            break
        expected.append(known[max(fits, key=len)])
        rest = rest[len(max(fits, key=len)) :]
    assert longest_pieces(data, known, max(map(len, known), default=0)) == expected


# --- random ---


def test_random_rows_depend_on_seed_and_id_alone():
    rows = as_dict(align_at_random(BYTES, PIECES, every(BYTES), {"seed": 3}))
    part = as_dict(align_at_random(BYTES, PIECES, np.array([5, 77, 200]), {"seed": 3}))
    assert part == {i: rows[i] for i in (5, 77, 200)}
    assert as_dict(align_at_random(BYTES, PIECES, every(BYTES), {"seed": 4})) != rows
    drawn = [next(iter(row)) for row in rows.values()]
    assert {PIECES.vocabulary.kinds[j] for j in drawn} == {"text", "byte"}  # never a special token
    assert len(set(drawn)) > 0.6 * 266  # 306 draws out of 266: 1 - exp(-306 / 266) = 68 % are expected


# --- put together ---


def fixed(found: dict[int, dict[int, float]], category: str, score: float = math.nan):
    """Return a method that has these rows, as far as they are asked for."""

    def method(target, source, open_ids, settings):
        ids = [i for i in open_ids.tolist() if i in found]
        lengths = [len(found[i]) for i in ids]
        return Rows(
            ids=np.array(ids, np.int64),
            indptr=np.cumsum([0, *lengths]),
            sources=np.array([j for i in ids for j in found[i]], np.int64),
            weights=np.array([w for i in ids for w in found[i].values()], np.float32),
            category=category,
            scores=np.full(len(ids), score, np.float32),
        )

    return method


FIVE, FOUR = letters("abcd"), letters("wxy")


def aligned() -> Alignment:
    methods = {
        "one": fixed({1: {3: 1.0}, 4: {0: 1.0}}, "exact"),
        "none": fixed({}, "special"),
        "two": fixed({1: {2: 1.0}, 0: {0: 0.25, 2: 0.75}}, "aligned", 0.5),
        "three": fixed({i: {1: 1.0} for i in range(5)}, "random"),
    }
    return align(FIVE, FOUR, methods, {"seed": 1})


def test_the_first_method_that_has_a_row_wins():
    result = aligned()
    assert result.matrix.toarray().tolist() == [
        [0.25, 0, 0.75, 0],
        [0, 0, 0, 1],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
    ]
    assert result.matrix.dtype == np.float32
    assert result.categories.tolist() == ["aligned", "exact", "random", "random", "exact"]
    assert np.nan_to_num(result.scores, nan=-9).tolist() == [0.5, -9, -9, -9, -9]


def test_a_later_method_is_asked_for_open_tokens_only():
    asked = []

    def watch(target, source, open_ids, settings):
        asked.append((open_ids.tolist(), settings))
        return fixed({i: {0: 1.0} for i in range(5)}, "random")(target, source, open_ids, settings)

    align(FIVE, FOUR, {"one": fixed({1: {3: 1.0}, 4: {0: 1.0}}, "exact"), "two": watch}, {"seed": 5})
    assert asked == [([0, 2, 3], {"seed": 5})]


def test_a_piece_that_comes_twice_counts_twice():
    twice = Rows(np.arange(5), np.arange(0, 11, 2), np.tile([2, 2], 5), np.full(10, 0.5, np.float32), "decomposed",
                 np.full(5, np.nan, np.float32))  # fmt: skip
    result = align(FIVE, FOUR, {"decomposed": lambda *_: twice}, {"seed": 1})
    assert result.matrix.toarray().tolist() == [[0, 0, 1, 0]] * 5
    assert result.matrix.nnz == 5


def test_tokens_that_no_method_found():
    with pytest.raises(ConfigurationError) as caught:
        align(FIVE, FOUR, {"one": fixed({0: {1: 1.0}, 1: {1: 1.0}, 3: {1: 1.0}}, "exact")}, {})
    text = str(caught.value)
    assert text.startswith("alignments: 2 target tokens were found by none of the methods one")
    assert "for instance id 2, 'b'" in text
    assert "append 'decomposed' or 'random'" in text


def test_round_trip(tmp_path):
    result = aligned()
    for name in ("1", "2"):
        write_alignment(result, tmp_path / f"{name}.safetensors", tmp_path / f"{name}.parquet", {"b": 1, "a": "é"})
    assert (read_matrix(tmp_path / "1.safetensors") != result.matrix).nnz == 0
    assert read_matrix(tmp_path / "1.safetensors").shape == (5, 4)
    table = pq.read_table(tmp_path / "1.parquet").to_pylist()
    assert table[0] == {"id": 0, "category": "aligned", "score": 0.5, "sources": [0, 2], "weights": [0.25, 0.75]}
    assert table[1] == {"id": 1, "category": "exact", "score": None, "sources": [3], "weights": [1.0]}
    assert read_tokens(tmp_path / "1.parquet").category.tolist() == result.categories.tolist()
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_same_bytes_each_time(tmp_path):
    """The entries of a safetensors header come in any order, so there must be one only."""
    paths = [tmp_path / f"{i}.safetensors" for i in range(20)]
    for path in paths:
        write_alignment(aligned(), path, tmp_path / "x.parquet", {"a": 1})
    assert len({path.read_bytes() for path in paths}) == 1


def damaged(path: Path, **changes: np.ndarray) -> Path:
    """Write an alignment, and then other data, indices or indptr in its place."""
    write_alignment(aligned(), path, path.with_suffix(".parquet"), {})
    with safetensors.safe_open(path, framework="np") as file:
        header, parts = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    safetensors.numpy.save_file(parts | changes, path, header)
    return path


def test_matrix_that_is_not_finite(tmp_path):
    for value in (np.nan, np.inf):
        data = aligned().matrix.data.copy()
        data[3] = value  # rows have 2, 1, 1, ... entries
        with pytest.raises(ArtefactError, match=r"a\.safetensors: the row of target token 2 is not finite"):
            read_matrix(damaged(tmp_path / "a.safetensors", data=data))


def test_matrix_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ArtefactError, match=r"a\.safetensors: no such file"):
        read_matrix(path)
    write_alignment(aligned(), path, tmp_path / "a.parquet", {})
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtefactError, match=r"a\.safetensors: not a readable safetensors file"):
            read_matrix(path)
    for changes in ({"indices": np.full(6, 4, np.int32)}, {"indptr": np.array([0, 2, 1, 4, 5, 6])}):
        with pytest.raises(ArtefactError, match="not a readable alignment matrix"):
            read_matrix(damaged(path, **changes))


def test_the_same_vocabulary_under_two_names():
    with pytest.raises(InputError, match=rf"(?s)here: .*the same {BYTES.vocabulary.size} tokens with the same ids"):
        check_different(BYTES.vocabulary, side(byte_level(330, TEXTS)).vocabulary, "here")
    check_different(BYTES.vocabulary, SMALL.vocabulary, "here")
