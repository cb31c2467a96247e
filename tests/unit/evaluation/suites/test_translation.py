"""Translations: BLEU, chrF++ and TER as sacrebleu's command line gives them, prompts, empty and failed segments."""

import json
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from commands.evaluation import translate_segments
from sacrebleu.metrics import BLEU, CHRF
from support.writing import greedy_tokens, load_both, prompt_ids, write_writer
from tokalign.common.errors import ArtifactError, ConfigurationError
from tokalign.evaluation.data.testsets import Testset, write_testset
from tokalign.evaluation.results import metrics_of, read_items, read_result
from tokalign.evaluation.statistics.estimators import ESTIMATORS
from tokalign.evaluation.suites.translation import (
    MEASURES,
    Segments,
    counts_of,
    fill_in,
    is_copied,
    is_repetitive,
    items_of,
    prompts_of,
    read_segments,
    sentence_bleu,
)
from tokalign.models.writing import Written
from tokalign.text.languages import bleu_tokenizer, english_name

ENGLISH = ["the", "small", "model", "reads", "and", "writes", "a", "new", "text", ".", "every", "word", "it's", "old", "!"]
CHINESE = list("小模型读写新文本。这一行的每个词都是已知的,它很旧!")
PROMPT = "{source_language}: {text}\n{target_language}:"


def noisy(references, words, seed=0):
    """Hypotheses that share a part of their words with the references; some are empty, one is too long."""
    rng = random.Random(seed)
    glue = "" if words is CHINESE else " "
    found = []
    for reference in references:
        units = list(reference) if words is CHINESE else reference.split()
        found.append(glue.join(word if rng.random() < 0.7 else rng.choice(words) for word in units))
    found[3] = found[11] = ""
    found[5] = glue.join([found[5]] * 6)
    return found


def texts(words, count=40):
    rng = random.Random(1)
    return [("" if words is CHINESE else " ").join(rng.choices(words, k=rng.randint(3, 25))) for _ in range(count)]


def command_line(folder, hypotheses, references, *options):
    """Scores and signatures of the command sacrebleu on files."""
    for name, lines in (("hypotheses", hypotheses), ("references", references)):
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "references", "-i", "hypotheses", "-m", "bleu", "chrf", "ter", "-w", "17"]
    done = subprocess.run([*command, "--chrf-word-order", "2", *options], cwd=folder, capture_output=True, text=True, check=True)
    return {score["name"]: score for score in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("target", "words", "options"),
    [
        ("en", ENGLISH, []),
        ("zh", CHINESE, ["--tokenize", "zh", "--ter-normalized", "--ter-asian-support"]),
        ("ja", CHINESE, ["--tokenize", "char", "--ter-normalized", "--ter-asian-support"]),
    ],
)
def test_equals_the_command_line_of_sacrebleu(tmp_path, target, words, options):
    references = texts(words)
    hypotheses = noisy(references, words)
    counts, signatures = counts_of(hypotheses, references, target)
    expected = command_line(tmp_path, hypotheses, references, *options)
    for column, name in (("bleu", "BLEU"), ("chrf", "chrF2++"), ("ter", "TER")):
        assert ESTIMATORS[column](np.array(counts[column]).sum(0)) == expected[name]["score"]
        assert 0 < expected[name]["score"] < 100
        assert signatures[column] == expected[name]["signature"]


def segments_of(count=40, target="en"):
    references = texts(ENGLISH, count)
    return Segments(
        dataset=f"small:es-{target}", source="es", target=target, ids=[f"s{i}" for i in range(count)],
        sources=[f"frase {i}" for i in range(count)], references=references, domains=["general"] * count, shots=[], examples=[],
    )  # fmt: skip


def as_written(hypotheses):
    return [Written(text=text, tokens=len(text.split()), ended=True, prompt_cut=False) for text in hypotheses]


def value(metrics, name):
    (found,) = [metric for metric in metrics if metric["metric"] == name]
    return found["value"]


def test_empty_translations_are_scored(tmp_path):
    """Dropping the empty ones, as published scores did, would give a higher score on fewer segments."""
    segments = segments_of()
    hypotheses = noisy(segments.references, ENGLISH)
    columns, _ = items_of(segments, "greedy", as_written(hypotheses))
    metrics = metrics_of(pa.table(columns), MEASURES, "segments")
    assert {metric["n"] for metric in metrics} == {40}
    expected = command_line(tmp_path, hypotheses, segments.references)
    assert value(metrics, "bleu") == expected["BLEU"]["score"]
    assert value(metrics, "chrf++") == expected["chrF2++"]["score"]
    kept = [(h, r) for h, r in zip(hypotheses, segments.references, strict=True) if h]
    dropped = CHRF(word_order=2).corpus_score([h for h, _ in kept], [[r for _, r in kept]]).score
    assert dropped > value(metrics, "chrf++") + 1
    assert value(metrics, "empty_rate") == pytest.approx(100 * 2 / 40)
    assert value(metrics, "chrf_delta") == pytest.approx(value(metrics, "chrf++") - value(metrics, "bleu"))
    assert {m["level"] for m in metrics if m["metric"] == "chrf_delta"} == {"exploratory"}
    for metric in metrics:
        assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
    with pytest.raises(ArtifactError, match="not the same segments"):
        counts_of([h for h, _ in kept], segments.references, "en")


def test_sentence_bleu_is_sacrebleus_and_not_zero():
    """The published evaluation gave ``effective_order`` to the wrong function, and all its sentence scores were 0."""
    references = texts(ENGLISH)
    hypotheses = noisy(references, ENGLISH)
    counts, _ = counts_of(hypotheses, references, "en")
    scorer = BLEU(effective_order=True)
    expected = [scorer.sentence_score(h, [r]).score for h, r in zip(hypotheses, references, strict=True)]
    assert [sentence_bleu(row) for row in counts["bleu"]] == expected
    assert sum(score > 0 for score in expected) > 30
    assert sentence_bleu(counts["bleu"][3]) == 0


def test_failures():
    assert is_repetitive("no no no no yes", "en") is False  # 2 of 5 words
    assert is_repetitive("no no no no no yes", "en") is True
    assert is_repetitive("", "en") is False
    assert is_repetitive("我喜欢你" * 6, "zh") is True
    assert is_repetitive("小模型读写新文本。这一行的每个词", "zh") is False
    assert is_copied("El modelo lee", "el modelo lee el texto", "the model reads the text", ("es", "en")) is True
    assert is_copied("The model lee", "el modelo lee el texto", "the model reads the text", ("es", "en")) is False
    assert is_copied("Madrid", "Madrid", "Madrid", ("es", "en")) is False
    assert is_copied("", "Madrid", "Madrid", ("es", "en")) is False
    assert is_copied("这个模型", "这个模型读文本", "the model reads text", ("zh", "en")) is True
    segments = segments_of(4)
    short, long = segments.references[0].split()[:1] * 1, segments.references[2].split() * 4
    columns, _ = items_of(segments, "greedy", as_written([" ".join(short) + "", "", " ".join(long), segments.references[3]]))
    ratio = columns["length"][0] / columns["reference_length"][0]
    assert columns["wrong_length"] == [int(ratio < 0.3), 0, 1, 0]
    assert columns["empty"] == [0, 1, 0, 0]
    assert columns["failed"][1:] == [1, 1, 0]


def test_prompts_with_examples():
    segments = Segments(
        dataset="small:es-en", source="es", target="en", ids=["a"], sources=["{target_language} es {text}"], references=["x"],
        domains=["general"], shots=[("uno", "one"), ("dos", "two")], examples=["b", "c"],
    )  # fmt: skip
    assert prompts_of(segments, PROMPT) == [
        "Spanish: uno\nEnglish: one\n\nSpanish: dos\nEnglish: two\n\nSpanish: {target_language} es {text}\nEnglish:"
    ]
    assert fill_in("{a}{b}", {"a": "{b}", "b": "2"}) == "{b}2"


def test_languages(caplog):
    assert [english_name(code) for code in ("pt-BR", "spa_Latn", "zho_Hans", "ZH")] == [
        "Portuguese",
        "Spanish",
        "Chinese",
        "Chinese",
    ]
    assert english_name("xx") == "xx"
    assert "xx" in caplog.text
    assert [bleu_tokenizer(code) for code in ("en", "zh", "ja", "ko", "th", "zho_Hant")] == [
        "13a",
        "zh",
        "char",
        "char",
        "char",
        "zh",
    ]


def small(count=9, **changes):
    """Return a test set of segments with their number in them."""
    columns = {
        "id": [f"s{i}" for i in range(count)],
        "es": [f"el gato {i}\nen la mesa" for i in range(count)],
        "en": [f"the cat {i} sat on the mat" for i in range(count)],
    }
    return Testset("small", "parallel", "es-en", "pets", pa.table({**columns, **changes}))


def test_one_direction_of_a_test_set():
    testset = small()
    segments = read_segments(testset, "es", "en", shots=2)
    assert segments.dataset == "small:es-en"
    assert segments.domains == ["pets"] * 7
    assert segments.ids == [f"s{i}" for i in range(7)]
    assert segments.examples == ["s7", "s8"]
    assert segments.sources[0] == "el gato 0 en la mesa"  # a line
    assert segments.shots[1] == ("el gato 8 en la mesa", "the cat 8 sat on the mat")
    with pytest.raises(ConfigurationError, match="no segment"):
        read_segments(testset, "es", "en", shots=9)
    with pytest.raises(ArtifactError, match="no column fr"):
        read_segments(testset, "fr", "en", shots=0)
    for empty in ("", None, " \n"):
        with pytest.raises(ArtifactError, match="small: segment s4 has no text in en"):
            read_segments(small(en=["x"] * 4 + [empty] + ["x"] * 4), "es", "en", shots=0)


def test_script(tmp_path, run_script):
    write_writer(tmp_path / "model")
    testset = tmp_path / "small.parquet"
    write_testset(testset, small())
    settings = {
        "directions": [{"testset": "small", "source": s, "target": t} for s, t in (("es", "en"), ("en", "es"))],
        "prompt": PROMPT, "shots": 1, "max_new_tokens": 12, "batch_tokens": 2000, "document_start": "eos", "precision": "float32",
        "decodings": {
            "greedy": {"temperature": 0, "top_p": 1, "seed": 1}, "sampled": {"temperature": 1, "top_p": 0.9, "seed": 1},
        }, "trust_remote_code": False,
    }  # fmt: skip
    output = tmp_path / "out/result.json"
    words = ["--model", tmp_path / "model", "--testsets", testset, "--settings", json.dumps(settings), "--output", output]
    assert run_script(translate_segments, *words)[0] == 0
    result, items = read_result(output), read_items(output)
    first = [output.read_bytes(), output.with_suffix(".parquet").read_bytes()]
    assert items.num_rows == 2 * 2 * 8
    assert {(m["dataset"], m["condition"], m["language"]) for m in result["metrics"]} == {
        (f"small:{s}-{t}", condition, t) for s, t in (("es", "en"), ("en", "es")) for condition in ("greedy", "sampled")
    }
    assert result["more"]["signatures"]["small:es-en"]["bleu"].endswith("version:" + result["versions"]["sacrebleu"])
    assert result["more"]["examples"]["small:en-es"] == ["s8"]
    model, tokenizer = load_both(tmp_path / "model")
    row = items.to_pylist()[3]
    shot = "Spanish: el gato 8 en la mesa\nEnglish: the cat 8 sat on the mat\n\n"
    ids = prompt_ids(tokenizer, f"{shot}Spanish: {row['source']}\nEnglish:")
    tokens = greedy_tokens(model, ids, 12)
    text = tokenizer.decode(tokens[: tokens.index(0)] if 0 in tokens else tokens, skip_special_tokens=True)
    assert row["hypothesis"] == " ".join(text.split("\n")[0].splitlines()).strip()
    assert run_script(translate_segments, *words)[0] == 0
    again = json.loads(output.read_text())
    assert {**again, "seconds": 0} == {**json.loads(first[0]), "seconds": 0}
    assert output.with_suffix(".parquet").read_bytes() == first[1]
    write_testset(testset, replace(small(), name="other"))
    code, message = run_script(translate_segments, *words)
    assert code == 1
    assert "no items of test set small" in message
