"""What a model writes, against plain forward passes over one prompt at a time."""

import logging
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models import CONFIGS
from support.writing import CONTEXT, greedy_tokens, load_both, prompt_ids, write_writer
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.models.writing import Decoding, Writer, batches, draw, tokens_with, uniform_numbers
from transformers import AutoModelForCausalLM, AutoTokenizer

GREEDY = Decoding(temperature=0, top_p=1, seed=1)
NUCLEUS = Decoding(temperature=1.0, top_p=0.9, seed=1)
PROMPTS = ["the cat", "日本語です и кот", "über den Dächern sat the mat on a cat", "a", "the mat\nsat!"]
NAMES = ["one", "two", "three", "four", "five"]
NEW = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("writer")
    write_writer(path)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def words(folder):
    return AutoTokenizer.from_pretrained(folder)  # one of its own, to be changed


def write(model, tokenizer, names=NAMES, prompts=PROMPTS, decoding=GREEDY, **changes):
    options = {"max_new_tokens": NEW, "batch_tokens": 10_000, "document_start": "eos", **changes}
    return Writer(model, tokenizer, **options)(names, prompts, decoding)


def test_equals_one_prompt_at_a_time(loaded):
    """Prompts of different lengths in one batch: slicing at a prompt's own length would give padding or the prompt's end back."""
    model, tokenizer = loaded
    assert len({len(prompt_ids(tokenizer, prompt)) for prompt in PROMPTS}) > 3
    for prompt, written in zip(PROMPTS, write(model, tokenizer), strict=True):
        expected = greedy_tokens(model, prompt_ids(tokenizer, prompt), NEW)
        assert 0 not in expected
        assert written.text == tokenizer.decode(expected)
        assert (written.tokens, written.ended, written.prompt_cut) == (NEW, False, False)


@pytest.mark.parametrize("name", ["gpt2, tied", "opt, tied", "gemma2, tied"])
def test_padding_does_not_matter_to_any_architecture(words, name):
    """Positions that are learned, that are shifted, and windows that slide."""
    settings = CONFIGS[name].to_dict() | {"vocab_size": 304, "bos_token_id": None, "eos_token_id": 0}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        type(CONFIGS[name]).from_dict(settings | ({"sliding_window": 8} if "gemma2" in name else {}))
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    for prompt, written in zip(PROMPTS, write(model, words, max_new_tokens=8), strict=True):
        expected = greedy_tokens(model, prompt_ids(words, prompt), 8)
        expected = expected[: expected.index(0)] if 0 in expected else expected
        assert written.text == words.decode(expected)


@pytest.mark.parametrize("decoding", [GREEDY, NUCLEUS])
@pytest.mark.parametrize("batch_tokens", [1, 90, 10_000])
def test_batches_and_order_do_not_matter(loaded, decoding, batch_tokens):
    reference = write(*loaded, decoding=decoding)
    changed = write(*loaded, NAMES[::-1], PROMPTS[::-1], decoding, batch_tokens=batch_tokens)
    assert changed[::-1] == reference
    assert write(*loaded, NAMES[1:2], PROMPTS[1:2], decoding) == reference[1:2]


def test_draws_belong_to_seed_and_name(loaded):
    reference = write(*loaded, decoding=NUCLEUS)
    assert write(*loaded, decoding=NUCLEUS) == reference
    assert write(*loaded, decoding=Decoding(1.0, 0.9, seed=2)) != reference
    same = write(*loaded, ["x", "y"], ["the cat", "the cat"], NUCLEUS)
    assert same[0] != same[1]
    assert uniform_numbers(1, "x", 3).tolist() == uniform_numbers(1, "x", 9)[:3].tolist()


def test_end_of_text_is_the_tokenizers(loaded, words, caplog):
    """A model whose settings name another token, as with id 0 for "!" in a published one."""
    model, tokenizer = loaded
    plain = [greedy_tokens(model, prompt_ids(tokenizer, prompt), NEW) for prompt in PROMPTS]
    often = Counter(token for row in plain for token in set(row)).most_common(1)[0][0]
    wrong = next(token for row in plain for token in row if token != often)
    words.eos_token = words.convert_ids_to_tokens(often)
    assert words.eos_token_id == often
    own = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = wrong
    try:
        with caplog.at_level(logging.WARNING):
            found = write(model, words, document_start="none", prompts=[f"<eos>{prompt}" for prompt in PROMPTS])
        assert model.generation_config.eos_token_id == wrong  # put back
    finally:
        model.generation_config.eos_token_id = own
    assert f"its tokenizer says {often}" in caplog.text
    assert any(wrong in row[: row.index(often)] if often in row else wrong in row for row in plain)
    for written, row in zip(found, plain, strict=True):
        length = row.index(often) if often in row else NEW
        assert (written.tokens, written.ended) == (length, often in row)
        assert written.text == tokenizer.decode(row[:length])


def test_the_models_own_generation_settings_do_not_count(loaded, monkeypatch):
    model, tokenizer = loaded
    reference = write(model, tokenizer)
    for key, value in {
        "repetition_penalty": 5.0,
        "do_sample": True,
        "temperature": 3.0,
        "max_length": 12,
        "min_new_tokens": 3,
    }.items():
        monkeypatch.setattr(model.generation_config, key, value, raising=False)
    assert write(model, tokenizer) == reference


def test_stops_at_a_character_within_a_token(loaded):
    model, tokenizer = loaded
    whole = [tokenizer.decode(greedy_tokens(model, prompt_ids(tokenizer, prompt), NEW)) for prompt in PROMPTS]
    stop = Counter(c for text in whole for c in set(text) if c.isascii() and c.isalpha()).most_common(1)[0][0]
    assert len(tokens_with(tokenizer, stop)) > 1
    for written, text in zip(write(model, tokenizer, stop=stop), whole, strict=True):
        assert written.text == text.split(stop)[0]
        assert written.ended == (stop in text)
        assert written.tokens < NEW if stop in text else written.tokens == NEW


def test_long_prompts_lose_their_beginning_and_say_so(loaded):
    model, tokenizer = loaded
    long = " ".join(["the cat sat on a mat"] * 60)
    ids = tokenizer(long, add_special_tokens=False)["input_ids"]
    assert len(ids) > CONTEXT
    first, second = write(model, tokenizer, ["long", "short"], [long, "the cat"])
    kept = [0, *ids[-(CONTEXT - NEW - 1) :]]
    assert first.text == tokenizer.decode(greedy_tokens(model, kept, NEW))
    assert (first.prompt_cut, second.prompt_cut) == (True, False)
    with pytest.raises(ConfigurationError, match="max_new_tokens"):
        write(model, tokenizer, max_new_tokens=CONTEXT)


@pytest.mark.parametrize("decoding", [GREEDY, NUCLEUS])
def test_logits_that_are_not_numbers_are_an_error(tmp_path, decoding):
    """The index of the largest of NaN is a token like any other; the prompt is named whose logits they are."""
    write_writer(tmp_path, tied=False)
    model, tokenizer = load_both(tmp_path)
    others = {token for prompt in PROMPTS if "日" not in prompt for token in prompt_ids(tokenizer, prompt)}
    broken = next(token for token in prompt_ids(tokenizer, PROMPTS[1]) if token not in others)
    with torch.no_grad():
        model.get_input_embeddings().weight[broken] = torch.nan
    with pytest.raises(ArtifactError, match="no next token for two"):
        write(model, tokenizer, decoding=decoding, max_new_tokens=1)
    assert len(write(model, tokenizer, NAMES[:1], PROMPTS[:1], decoding, max_new_tokens=1)) == 1


def test_no_end_of_text_token_and_no_start(loaded, words, caplog):
    model, tokenizer = loaded
    words.eos_token = None
    found = write(model, words, document_start="none")
    assert "no end-of-text token" in caplog.text
    for prompt, written in zip(PROMPTS, found, strict=True):
        expected = greedy_tokens(model, prompt_ids(tokenizer, prompt)[1:], NEW)
        assert (written.text, written.tokens) == (tokenizer.decode(expected, skip_special_tokens=True), NEW)
    with pytest.raises(ConfigurationError, match="document_start"):
        write(model, words, document_start="eos")
    with pytest.raises(ConfigurationError, match="without tokens"):
        write(model, words, document_start="none", prompts=[*PROMPTS[:4], ""])


def by_hand(logits, number, temperature, top_p):
    """Nucleus sampling in plain Python: sort, keep until the share is reached, walk along the summed probabilities."""
    weights = np.exp(np.array(logits) / temperature)
    probabilities = weights / weights.sum()
    order = sorted(range(len(logits)), key=lambda i: -probabilities[i])
    kept = []
    for token in order:
        kept.append(token)
        if probabilities[kept].sum() >= top_p:
            break
    passed = 0.0
    for token in kept:
        passed += probabilities[token]
        if passed > number * probabilities[kept].sum():
            return token
    return kept[-1]


@given(
    st.integers(0, 10_000),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    st.sampled_from([1, 3, 12, 50]),
    st.booleans(),
)
def test_draws_equal_their_definition(seed, temperature, top_p, likely, ties):
    random = np.random.default_rng(seed)
    logits, numbers = random.normal(size=(4, 12)).astype(np.float32), random.random(4)
    if ties:  # as bfloat16 has many
        logits = logits.round()
    tokens = draw(torch.from_numpy(logits), torch.from_numpy(numbers), temperature, top_p, likely)
    expected = [by_hand(row.astype(float), number, temperature, top_p) for row, number in zip(logits, numbers, strict=True)]
    assert tokens.tolist() == expected


def test_draws_have_the_models_probabilities():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(20_000, 4)
    numbers = torch.from_numpy(np.random.default_rng(0).random(20_000))
    shares = torch.bincount(draw(logits, numbers, 1.0, 1.0), minlength=4) / 20_000
    assert shares.tolist() == pytest.approx(logits[0].softmax(-1).tolist(), abs=0.01)
    nucleus = torch.bincount(draw(logits, numbers, 1.0, 0.8), minlength=4) / 20_000
    kept = logits[0, :2].softmax(-1).tolist()  # 0.64 + 0.24 pass 0.8
    assert nucleus.tolist() == pytest.approx([*kept, 0, 0], abs=0.01)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 200))
def test_batches_hold_every_prompt_within_the_limit(lengths, limit):
    made = list(batches(lengths, 8, limit))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        assert lengths[batch[0]] == max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * (lengths[batch[0]] + 8) <= limit
