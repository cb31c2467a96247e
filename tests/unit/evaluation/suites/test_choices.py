"""Multiple choice: against lm-evaluation-harness, against one forward pass for each choice, and by hand."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch
import yaml
from commands.evaluation import answer_choices
from support.settings import altered
from support.writing import load_both, write_writer
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.config.testsets import TestsetSettings
from tokalign.evaluation.data.testset_preparation import prepare_testset
from tokalign.evaluation.data.testsets import read_testset
from tokalign.evaluation.results import read_items, read_result
from tokalign.evaluation.suite import evaluate
from tokalign.evaluation.suites import choices
from tokalign.evaluation.suites.choices import ChoicesSettings, answer, batches, encode, fill, predictions, score
from tokalign.models.scoring import Scorer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

SETTINGS = ChoicesSettings(
    testsets=["animals"], prompt="Question: {question}\nAnswer:", separator=" ", batch_tokens=400, document_start="eos",
    precision="float32", trust_remote_code=False,
)  # fmt: skip
WORDS = ["the", "cat", "sat", "on", "a", "mat", "über", "den", "Dächern", "日本語", "です", "и", "кот", "сидел"]


def questions(number: int = 40) -> list[dict]:
    """Return questions whose choices differ in length, with every gold index, in characters of one to four bytes."""
    rng = random.Random(3)
    rows = []
    for i in range(number):
        found = [" ".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in range(4)]
        rows.append({"id": f"q{i}", "question": " ".join(rng.choices(WORDS, k=8)) + "?", "choices": found, "answer": i % 4})
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    write_writer(path, [" ".join(row["choices"]) + row["question"] for row in questions()], context=256, tied=False)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


def make_testset(folder, rows, name="animals"):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fields = {key: key for key in rows[0] if key != "id"}
    settings = TestsetSettings(kind="choices", fields=fields, domain="zoo", license="CC0-1.0")
    prepare_testset(name, settings, folder / f"{name}.parquet", folder / f"{name}.json", files=[file])
    return folder / f"{name}.parquet"


def by_hand(model, tokenizer, prompt, continuation, start=(0,)):
    """Sum of log p of the tokens of a continuation that begins with a space, after a prompt that does not end with one."""
    context = [*start, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    tokens = [*context, *tokenizer(continuation, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logits = torch.log_softmax(model(torch.tensor([tokens])).logits[0].double(), -1)
    return sum(float(logits[i - 1, tokens[i]]) for i in range(len(context), len(tokens)))


# ------------------------------------------------------------------------------------------------------ agreement


@pytest.mark.parametrize("prompt", [SETTINGS.prompt, "Question: {question}\nAnswer: "])
def test_equals_lm_eval(folder, tmp_path, prompt):
    """The same accuracies, and the same log-likelihoods to float noise; also where the prompt ends in a space."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    rows = questions()
    testset = make_testset(tmp_path, rows)
    separator = "" if prompt.endswith(" ") else " "
    task = {
        "task": "animals", "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "animals.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": prompt.replace("{question}", "{{question}}"),
        "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}", "target_delimiter": separator,
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
    }  # fmt: skip
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/animals.yaml").write_text(yaml.safe_dump(task))
    theirs = lm_eval.simple_evaluate(
        HFLM(str(folder), dtype="float32", device="cpu", batch_size=4), tasks=["animals"], log_samples=True, bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
    )  # fmt: skip
    settings = altered(SETTINGS, document_start="none", prompt=prompt, separator=separator)
    ours = evaluate("choices", folder, folder, {"testsets": [testset]}, settings, {}, tmp_path / "out.json")
    accuracy = {metric["condition"]: metric["value"] for metric in ours if metric["metric"] == "accuracy"}
    expected = theirs["results"]["animals"]
    assert [accuracy[c] for c in ("raw", "characters", "bytes")] == [
        expected[f"{m},none"] for m in ("acc", "acc_norm", "acc_bytes")
    ]
    assert len(set(accuracy.values())) > 1  # or the three could be mixed up
    found = {row["id"]: row["choice_nats"] for row in read_items(tmp_path / "out.json").to_pylist()}
    for sample in theirs["samples"]["animals"]:
        assert [-float(answer[0][0]) for answer in sample["resps"]] == pytest.approx(found[sample["doc"]["id"]], rel=1e-5)


def test_equals_a_forward_pass_for_each_choice(loaded, tmp_path):
    model, tokenizer = loaded
    rows, _ = answer(model, tokenizer, read_testset(make_testset(tmp_path, questions(6)), "choices"), SETTINGS)
    raw = [row for row in rows if row["condition"] == "raw"]
    for question, row in zip(questions(6), raw, strict=True):
        prompt = f"Question: {question['question']}\nAnswer:"
        expected = [by_hand(model, tokenizer, prompt, f" {choice}") for choice in question["choices"]]
        assert (-row["choice_nats"]).tolist() == pytest.approx(expected, rel=1e-5)
        assert row["prediction"] == int(np.argmax(expected))


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("batch_tokens", [1, 90, 100_000])
def test_batches_do_not_matter(loaded, monkeypatch, batch_tokens, bounded):
    model, tokenizer = loaded
    requests = [r for q in questions(5) for r in encode(tokenizer, q["question"], [f" {c}" for c in q["choices"]], 0, None, "q")]
    reference = score(model, requests, 64)
    monkeypatch.setattr(choices, "Scorer", lambda model: Scorer(model, bounded=bounded, chunk_bytes=4 * 304 * 7))
    assert score(model, requests[::-1], batch_tokens)[::-1] == pytest.approx(reference, rel=1e-5)
    made = list(batches(requests, batch_tokens))
    assert sorted(i for batch in made for i in batch) == list(range(20))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(len(requests[i].tokens) for i in batch) <= batch_tokens


def test_choices_of_one_token_are_read_once(loaded, monkeypatch):
    model, tokenizer = loaded
    read = []

    class Counting(Scorer):
        def __call__(self, sequences, *arguments, **options):
            read.append(len(sequences))
            return super().__call__(sequences, *arguments, **options)

    monkeypatch.setattr(choices, "Scorer", Counting)
    requests = encode(tokenizer, "the cat", [".", "?", " sat on a mat", "."], 0, None, "q")
    found = score(model, requests, 10_000)
    assert sum(read) == 2  # `.` and `?` after the same tokens, and the longer one
    assert found[0] == found[3]
    expected = [by_hand(model, tokenizer, "the cat", text) for text in (".", "?", " sat on a mat")]
    assert found[:3] == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------------------------------- encoding


def test_prompt_is_filled_once():
    assert fill("{context} / {question} {other}", "{context}?", "c{question}") == "c{question} / {context}? {other}"


def test_spaces_at_the_end_of_the_prompt_are_scored_with_the_choices(loaded):
    _, tokenizer = loaded
    (with_prompt,) = encode(tokenizer, "the cat ", ["sat"], 0, None, "q")
    (with_choice,) = encode(tokenizer, "the cat", [" sat"], 0, None, "q")
    assert with_prompt.key == with_choice.key
    context = tokenizer("the cat", add_special_tokens=False)["input_ids"]
    assert with_choice.tokens[: with_choice.first].tolist() == [0, *context]
    assert tokenizer.decode(with_choice.tokens[with_choice.first :]) == " sat"
    assert not with_choice.merged


def test_a_token_over_the_boundary_is_scored():
    """Without a pre-tokenizer `a` and `b` become one token; cutting at the number of the prompt's tokens would leave none."""
    from tokenizers import Tokenizer, models

    bpe = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "c": 2, "x": 3, "ab": 4}, merges=[("a", "b")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe)
    one, other = encode(tokenizer, "xa", ["b", "cb"], None, None, "q")
    assert (one.tokens.tolist(), one.first, one.merged) == ([3, 4], 1, True)
    assert (other.tokens.tolist(), other.first, other.merged) == ([3, 0, 2, 1], 2, False)


def test_a_long_prompt_is_cut_on_the_left_and_the_answer_never(loaded, tmp_path):
    """Defect 16.2: cutting on the right takes the answer away, so that every choice scores the same."""
    model, tokenizer = loaded
    long = {**questions(1)[0], "question": "cat " * 400}
    short = questions(2)[1]
    rows, summary = answer(model, tokenizer, read_testset(make_testset(tmp_path, [long, short]), "choices"), SETTINGS)
    assert summary["cut_questions"] == 1
    assert summary["cut_tokens"] > 100
    prompt = tokenizer(f"Question: {long['question']}\nAnswer:", add_special_tokens=False)["input_ids"]
    for choice, nats in zip(long["choices"], rows[0]["choice_nats"], strict=True):
        own = tokenizer(f" {choice}", add_special_tokens=False)["input_ids"]
        tokens = [*prompt, *own][-257:]  # 256 are read, and the last one is predicted
        with torch.no_grad():
            logits = torch.log_softmax(model(torch.tensor([tokens[:-1]])).logits[0].double(), -1)
        expected = sum(float(logits[i - 1, tokens[i]]) for i in range(257 - len(own), 257))
        assert -nats == pytest.approx(expected, rel=1e-5)
    assert len(set(rows[0]["choice_nats"])) == 4


def test_the_window_of_a_model_with_learned_positions_is_used_to_its_end(loaded, tmp_path):
    _, tokenizer = loaded
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=304, n_positions=64, n_embd=16, n_layer=1, n_head=2)).eval()
    long = {**questions(1)[0], "question": "cat " * 100}
    testset = read_testset(make_testset(tmp_path, [long]), "choices")
    _, summary = answer(model, tokenizer, testset, SETTINGS)
    assert summary["cut_questions"] == 1


def test_an_answer_longer_than_the_window_is_refused(loaded, tmp_path):
    row = {"question": "why?", "choices": ["a", "cat " * 300], "answer": 0}
    with pytest.raises(ArtifactError, match="longer than the model's context") as caught:
        answer(*loaded, read_testset(make_testset(tmp_path, [row]), "choices"), SETTINGS)
    assert "animals: question " in str(caught.value)


# -------------------------------------------------------------------------------------------------------- metrics


def test_predictions_by_hand():
    """-6 / 2 characters = -3; -4 / 1 = -4; -9 / 5 = -1.8: by bytes `日本` has 6, so -6 / 6 = -1."""
    found = predictions(np.array([-6.0, -4.0, -9.0]), ["日本", "x", "hello"])
    assert found == {"raw": 1, "characters": 2, "bytes": 0}
    assert predictions(np.array([-2.0, -1.0, -1.0]), ["a", "b", "c"])["raw"] == 1  # the first of the best


def test_result(folder, tmp_path):
    rows = questions(12)
    places = [make_testset(tmp_path, rows), make_testset(tmp_path, [{**rows[0], "choices": rows[0]["choices"][:2]}], "pair")]
    settings = altered(SETTINGS, testsets=["animals", "pair"])
    returned = evaluate("choices", folder, folder, {"testsets": places}, settings, {"stage": "source"}, tmp_path / "out.json")
    result, items = read_result(tmp_path / "out.json"), read_items(tmp_path / "out.json").to_pylist()
    assert result["metrics"] == returned
    assert result["labels"] == {"stage": "source"}
    value = {(m["dataset"], m["condition"], m["metric"]): m for m in returned}
    assert {key[1] for key in value if key[2] == "accuracy"} == {"raw", "bytes", "characters"}
    for condition in ("raw", "bytes", "characters"):
        own = [row for row in items if (row["dataset"], row["condition"]) == ("animals", condition)]
        assert [row["id"] for row in own] == [row["id"] for row in rows]
        metric = value["animals", condition, "accuracy"]
        assert metric["value"] == pytest.approx(np.mean([row["prediction"] == row["answer"] for row in own]))
        assert (metric["n"], metric["items"], metric["language"], metric["domain"]) == (12, "questions", "en", "zoo")
        assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
        assert value["animals", condition, "chance"]["value"] == 0.25
        assert value["pair", condition, "chance"]["value"] == 0.5
        counted = np.zeros((4, 4), dtype=int)
        for row in own:
            counted[row["answer"], row["prediction"]] += 1
        assert result["more"]["testsets"]["animals"]["confusion"][condition] == counted.tolist()
    assert result["more"]["testsets"]["animals"]["gold"] == [3, 3, 3, 3]
    raw = [row for row in items if (row["dataset"], row["condition"]) == ("animals", "raw")]
    bits = sum(row["choice_nats"][row["answer"]] for row in raw) / math.log(2)
    size = sum(len(row["choices"][row["answer"]].encode()) for row in raw)
    assert value["animals", "raw", "answer_bits_per_byte"]["value"] == pytest.approx(bits / size)
    assert ("animals", "bytes", "answer_bits_per_byte") not in value


def test_equal_choices_tie_exactly_and_the_first_is_taken(loaded, tmp_path):
    rows = [{**row, "choices": [row["choices"][0]] * 4} for row in questions(8)]
    found, summary = answer(*loaded, read_testset(make_testset(tmp_path, rows), "choices"), SETTINGS)
    assert {row["prediction"] for row in found} == {0}
    assert summary["ties"] == 8
    assert summary["confusion"]["raw"] == [[2, 0, 0, 0]] * 4


def test_context_is_part_of_the_prompt(loaded, tmp_path, caplog):
    rows = [{**row, "context": f"{row['id']} sat on a mat."} for row in questions(3)]
    testset = read_testset(make_testset(tmp_path, rows), "choices")
    settings = altered(SETTINGS, prompt="{context}\n{question}")
    found, _ = answer(*loaded, testset, settings)
    prompt = f"{rows[0]['context']}\n{rows[0]['question']}"
    assert found[0]["choice_nats"][2] == pytest.approx(-by_hand(*loaded, prompt, f" {rows[0]['choices'][2]}"), rel=1e-5)
    assert not caplog.records
    answer(*loaded, testset, SETTINGS)
    assert "the prompt has no {context}" in caplog.text


# --------------------------------------------------------------------------------------------------------- damage


def test_nan_is_an_error_that_names_the_question(folder, tmp_path):
    """Defect 16.2: with NaN scores the first choice would always win."""
    model, tokenizer = load_both(folder)
    (token,) = tokenizer(" cat", add_special_tokens=False)["input_ids"][-1:]
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = math.nan
    rows = [{"id": "fine", "question": "a?", "choices": ["x", "y"], "answer": 0}]
    rows.append({"id": "broken", "question": "a cat?", "choices": ["x", "y"], "answer": 0})
    with pytest.raises(ArtifactError, match=r"animals, question broken, choice 0 is not a finite number"):
        answer(model, tokenizer, read_testset(make_testset(tmp_path, rows), "choices"), SETTINGS)


def test_wrong_settings(folder, loaded, tmp_path):
    with pytest.raises(ConfigurationError, match="question"):
        ChoicesSettings.of({**SETTINGS.plain(), "prompt": "Answer:"})
    testset = make_testset(tmp_path, questions(2))
    with pytest.raises(ConfigurationError, match="no bos token"):
        answer(*loaded, read_testset(testset, "choices"), altered(SETTINGS, document_start="bos"))
    with pytest.raises(ArtifactError, match="other test sets than the settings name"):
        evaluate(
            "choices", folder, folder, {"testsets": [testset]}, altered(SETTINGS, testsets=["plants"]), {}, tmp_path / "out.json"
        )
    assert not (tmp_path / "out.json").exists()


def test_command(folder, tmp_path, run_script):
    testset = make_testset(tmp_path, questions(3))
    words = ["--model", folder, "--testsets", testset, "--labels", '{"stage": "source"}', "--output", tmp_path / "out.json"]
    assert run_script(answer_choices, *words, "--settings", json.dumps(SETTINGS.plain()))[0] == 0
    assert read_result(tmp_path / "out.json")["suite"] == "choices"
    status, shown = run_script(answer_choices, *words, "--settings", json.dumps({**SETTINGS.plain(), "document_start": "bos"}))
    assert status == 1
    assert "has no bos token" in shown
