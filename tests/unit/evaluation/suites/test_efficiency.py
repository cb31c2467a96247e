"""Efficiency: what is counted exactly, times by a clock of the test's own; real times only as far as they must make sense."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands.evaluation import measure_efficiency
from support.project import WORDS, byte_level
from tokalign.common.errors import ConfigurationError
from tokalign.evaluation.data.heldout import SCHEMA
from tokalign.evaluation.results import METRIC_KEYS, read_items, read_result
from tokalign.evaluation.statistics.bootstrap import repeats_interval
from tokalign.evaluation.suites.efficiency import (
    EfficiencySettings,
    Measurement,
    System,
    choose_prompts,
    measure_system,
    metrics_of_runs,
    new_tokens_for,
    sizes,
)
from transformers import LlamaConfig, LlamaForCausalLM, PhiConfig, PhiForCausalLM

SETTINGS = EfficiencySettings(
    batch_sizes=[3, 1], prompt_bytes=40, new_bytes=12, warmup=1, repetitions=2, precision="float32", trust_remote_code=False
)
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def documents(*rows):
    table = [
        {"id": name, "text": text, "language": language, "domain": "web", "bytes": len(text.encode())}
        for name, language, text in rows
    ]
    return pa.Table.from_pylist(table, schema=SCHEMA)


HELDOUT = documents(
    *((f"{language}{i}", language, " ".join(words.split()[i:])) for language, words in WORDS.items() for i in range(4))
)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level(300, [WORDS["en"]] * 10)


@pytest.fixture(scope="module")
def ending():
    """A model that would end every text at once."""
    torch.manual_seed(0)
    model = PhiForCausalLM(PhiConfig(vocab_size=304, **SIZES, initializer_range=0.3, eos_token_id=0, bos_token_id=0)).eval()
    with torch.no_grad():
        model.lm_head.bias[0] = 1e4
    return model


def test_prompts_by_hand():
    """Of each language in turn; first those that have the length; cut at white space; again from the first where there are no more."""
    table = documents(
        ("b", "en", "too short"), ("a", "en", "the model reads"), ("c", "en", "a vector of text"), ("d", "de", "das modell liest")
    )  # fmt: skip
    expected = ["das modell", "the model", "a vector of", "too short"]
    assert choose_prompts(table, 12, 3) == expected[:3]
    assert choose_prompts(table, 12, 6) == [*expected, *expected[:2]]
    assert choose_prompts(table.take([3, 2, 1, 0]), 12, 4) == expected


def test_each_system_writes_the_same_text_in_its_own_tokens():
    assert [new_tokens_for(256, each) for each in (4.0, 2.0, 3.0)] == [64, 128, 85]
    assert new_tokens_for(1, 4.0) == 2  # one by reading, one by decoding


def by_loop(model, tokenizer, prompt, new_tokens):
    """Greedy continuation without a cache, the end of the text left out."""
    ids = tokenizer(prompt)["input_ids"]
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        logits[0] = -torch.inf
        ids = [*ids, int(logits.argmax())]
    return ids[-new_tokens:]


def test_what_is_counted_and_when_the_clock_is_read(ending, tokenizer):
    """The clock goes on by one at each look: at the start, at the first logits, and at each new token."""
    prompts = ["the model reads", "дом", "a b"]
    run = System(ending, tokenizer, itertools.count().__next__).run(prompts, 5, 7)
    assert (run.batch, run.repetition) == (3, 7)
    assert run.prompt_bytes == 15 + 6 + 3
    assert run.prompt_tokens == sum(len(tokenizer(prompt)["input_ids"]) for prompt in prompts)
    assert (run.prefill_seconds, run.first_token_seconds) == (1, 2)
    assert run.token_seconds == (1, 1, 1, 1)
    assert (run.decoded_tokens, run.decode_seconds) == (12, 4)
    written = [by_loop(ending, tokenizer, prompt, 5) for prompt in prompts]
    assert run.output_bytes == sum(len(tokenizer.decode(ids).encode()) for ids in written)


def test_settings_of_the_model_do_not_count(ending, tokenizer):
    """A model that samples, or ends at another token, is measured as all others."""
    expected = System(ending, tokenizer, itertools.count().__next__).run(["the model"], 6, 0)
    ending.generation_config.update(do_sample=True, temperature=5.0, eos_token_id=[0, 5], max_new_tokens=1, num_beams=2)
    assert System(ending, tokenizer, itertools.count().__next__).run(["the model"], 6, 0) == expected


def run(batch, repetition, prefill, first, steps, prompt_bytes=100, prompt_tokens=20):
    return Measurement(batch, repetition, prompt_bytes, prompt_tokens, prefill, first, tuple(steps), 1)


def test_metrics_by_hand():
    runs = [run(2, 0, 0.5, 0.6, [0.1, 0.3]), run(2, 1, 0.25, 0.3, [0.1, 0.1])]
    found = {m["metric"]: m for m in metrics_of_runs(runs, 4.0)}
    assert all(set(METRIC_KEYS) <= set(m) for m in found.values())
    assert {(m["condition"], m["dataset"], m["n"]) for m in found.values()} == {("batch 2", "heldout", 2)}
    expected = {
        "prefill_bytes_per_second": [200, 400],
        "prefill_tokens_per_second": [40, 80],
        "first_token_seconds": [0.6, 0.3],
        "decode_bytes_per_second": [4 * 4 / 0.4, 4 * 4 / 0.2],
        "decode_tokens_per_second": [10, 20],
    }
    for name, values in expected.items():
        assert found[name]["replicates"] == {"kind": "repeats", "values": pytest.approx(values)}
        assert found[name]["value"] == pytest.approx(np.mean(values))
        assert found[name]["ci95"] == pytest.approx(repeats_interval(values))
    assert found["token_seconds_p50"]["value"] == pytest.approx(0.1)
    assert found["token_seconds_p99"]["value"] == pytest.approx(0.1 + 0.97 * 0.2)
    assert found["token_seconds_p50"]["ci95"] == pytest.approx([0.1, 0.2])  # twice the second, or twice the first
    assert found["first_token_seconds_p95"]["value"] == pytest.approx(0.3 + 0.95 * 0.3)
    assert found["first_token_seconds_p95"]["ci95"] == pytest.approx([0.3, 0.6])
    assert "replicates" not in found["first_token_seconds_p95"]


def test_tokens_per_second_would_choose_the_slower_system():
    """The defect: the first makes more tokens per second, of half the text. Which is better, bytes per second say."""
    small = [run(1, i, 1.0, 1.0, [0.01] * 8, prompt_tokens=50) for i in range(2)]
    large = [run(1, i, 0.8, 0.8, [0.015] * 4, prompt_tokens=25) for i in range(2)]
    old = {m["metric"]: m for m in metrics_of_runs(small, 2.0)}
    new = {m["metric"]: m for m in metrics_of_runs(large, 4.0)}
    for phase in ("prefill", "decode"):
        tokens, text = f"{phase}_tokens_per_second", f"{phase}_bytes_per_second"
        assert old[tokens]["value"] > new[tokens]["value"]
        assert old[text]["value"] < new[text]["value"]
        assert (old[tokens]["better"], old[text]["better"]) == ("neither", "higher")


def test_time_to_the_first_token_is_not_the_mean_time_of_a_token():
    """The defect: a long prompt and many new tokens; time of all over number of tokens is far less than what a reader waits for."""
    runs = [run(1, i, 0.9, 1.0, [0.01] * 99) for i in range(2)]
    found = {m["metric"]: m["value"] for m in metrics_of_runs(runs, 4.0)}
    assert found["first_token_seconds"] == 1.0
    mean_of_all = (1.0 + 99 * 0.01) / 100
    assert found["first_token_seconds"] > 40 * mean_of_all


def test_bytes_are_not_those_of_what_is_babbled():
    """The defect that would come instead: an untrained model that writes its longest token again and again is not faster."""
    babble = Measurement(1, 0, 100, 20, 1.0, 1.0, (0.01,) * 10, 5000)
    sense = Measurement(1, 0, 100, 20, 1.0, 1.0, (0.01,) * 10, 44)
    assert metrics_of_runs([babble] * 2, 4.0) == metrics_of_runs([sense] * 2, 4.0)


def test_sizes_count_shared_embeddings_once():
    for tied in (True, False):
        model = LlamaForCausalLM(LlamaConfig(vocab_size=304, **SIZES, tie_word_embeddings=tied))
        body = 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
        embeddings = 304 * 32 * (1 if tied else 2)
        counted = {"parameters": body + embeddings, "embedding_parameters": embeddings, "embedding_rows": 304, "hidden_size": 32}
        assert sizes(model) == counted


def test_all_systems_read_the_same_text(ending, tokenizer):
    bytes_alone = byte_level(257, ["x"])
    found = []
    for words in (tokenizer, bytes_alone):
        runs, memory, bytes_per_token, new_tokens = measure_system(System(ending, words), HELDOUT, SETTINGS)
        assert [(r.batch, r.repetition) for r in runs] == [(1, 0), (1, 1), (3, 0), (3, 1)]
        assert list(memory) == [1, 3]
        assert 0 < memory[1] <= memory[3]
        prompts = choose_prompts(HELDOUT, 40, 6)
        tokens = sum(len(words(prompt)["input_ids"]) for prompt in prompts)
        assert bytes_per_token == sum(len(prompt.encode()) for prompt in prompts) / tokens
        assert {len(r.token_seconds) for r in runs} == {new_tokens - 1}
        assert new_tokens == round(12 / bytes_per_token)
        found.append((runs, new_tokens))
    assert [r.prompt_bytes for r in found[0][0]] == [r.prompt_bytes for r in found[1][0]]
    assert found[1][1] == 12  # a token for each byte
    assert found[0][1] < 12


def test_more_than_the_context(ending, tokenizer):
    settings = EfficiencySettings(batch_sizes=[1], prompt_bytes=40, new_bytes=12, warmup=0, repetitions=2, precision="float32")
    model = LlamaForCausalLM(LlamaConfig(vocab_size=304, **SIZES, max_position_embeddings=16))
    with pytest.raises(ConfigurationError, match="too many for the model"):
        measure_system(System(model, tokenizer), HELDOUT, settings)


def test_command(ending, tokenizer, tmp_path, run_script):
    ending.generation_config.update(do_sample=False, eos_token_id=0, max_new_tokens=None, num_beams=1, temperature=1.0)
    ending.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    pq.write_table(HELDOUT, tmp_path / "documents.parquet")
    settings = json.dumps(SETTINGS.plain())
    status, _ = run_script(
        measure_efficiency, "--model", tmp_path / "model", "--tokenizer", tmp_path / "tokenizer", "--settings", settings,
        "--documents", tmp_path / "documents.parquet", "--threads", "1", "--labels", '{"stage": "source"}',
        "--output", tmp_path / "r.json",
    )  # fmt: skip
    assert status == 0
    result, items = read_result(tmp_path / "r.json"), read_items(tmp_path / "r.json")
    assert (result["suite"], result["device"], result["precision"]) == ("efficiency", "cpu", "float32")
    assert items["condition"].to_pylist() == ["batch 1", "batch 1", "batch 3", "batch 3"]
    assert items["id"].to_pylist() == ["run 0", "run 1"] * 2
    new_tokens = result["more"]["new_tokens"]
    assert items["decoded_tokens"].to_pylist() == [batch * (new_tokens - 1) for batch in (1, 1, 3, 3)]
    found = {(m["condition"], m["metric"]): m["value"] for m in result["metrics"]}
    assert all(set(METRIC_KEYS) <= set(m) for m in result["metrics"])
    for batch in ("batch 1", "batch 3"):
        for name in ("first_token_seconds", "token_seconds"):
            ordered = [found[batch, f"{name}_p{percent}"] for percent in (50, 95, 99)]
            assert 0 < ordered[0] <= ordered[1] <= ordered[2]
        assert found[batch, "first_token_seconds"] > 0
        assert found[batch, "peak_memory"] > 1e6
    for item in items.to_pylist():
        assert 0 < item["prefill_seconds"] <= item["first_token_seconds"]
        assert item["decode_seconds"] == pytest.approx(sum(item["token_seconds"]))
    assert found["", "parameters"] == sum(p.numel() for p in ending.parameters())
    assert found["", "embedding_share"] == 2 * 304 * 32 / found["", "parameters"]
    assert found["", "vocabulary"] == 300
    assert "resident set" in result["more"]["peak_memory_is"]
