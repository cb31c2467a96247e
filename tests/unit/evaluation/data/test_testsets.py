"""Test sets: what becomes of each kind, and which data are refused with file, line and field."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from commands.evaluation import prepare_testset as script
from support.settings import altered
from tokalign.common.errors import ArtifactError, InputError
from tokalign.common.files import sha256_file
from tokalign.config.testsets import TestsetSettings
from tokalign.evaluation.data.testset_preparation import answer_index, field_of, prepare_testset
from tokalign.evaluation.data.testsets import read_testset

CHOICES = TestsetSettings(
    kind="choices", fields={"question": "question", "choices": "choices", "answer": "answer"}, answers="number0", language="en",
    domain="bio", min_characters=1, max_characters=None, limit=None, license="CC0-1.0",
)  # fmt: skip
PROMPTS = altered(CHOICES, kind="prompts", fields={"text": "text"})
PARALLEL = altered(CHOICES, kind="parallel", fields={"en": "en", "es": "es"})
QUESTION = {"question": "Which is red?", "choices": ["a cherry", "a lime"], "answer": 0}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def prepare(tmp_path):
    """Return a function that prepares records and returns the items and the manifest."""

    def run(settings, rows=(), **origin):
        origin = origin or {"files": [write(tmp_path / "items.jsonl", rows)]}
        manifest = prepare_testset("set", settings, tmp_path / "out.parquet", tmp_path / "out.json", **origin)
        assert manifest == json.loads((tmp_path / "out.json").read_text())
        return read_testset(tmp_path / "out.parquet", settings.kind).items, manifest

    return run


@pytest.fixture
def refused(prepare, tmp_path):
    """Return a function that prepares records which are refused, and returns the message."""

    def run(settings, rows=(), **origin):
        with pytest.raises(InputError) as caught:
            prepare(settings, rows, **origin)
        assert not (tmp_path / "out.parquet").exists()
        assert not (tmp_path / "out.json").exists()
        return str(caught.value)

    return run


# ---------------------------------------------------------------------------------------------------------- choices


def test_choices(prepare, tmp_path):
    rows = [{"id": f"q{i}", **QUESTION, "answer": i} for i in (0, 1)]
    items, manifest = prepare(CHOICES, rows)
    assert items.schema == pa.schema(
        [("id", pa.string()), ("question", pa.string()), ("context", pa.string()), ("choices", pa.list_(pa.string())),
         ("answer", pa.int32())]
    )  # fmt: skip
    assert items.to_pylist() == [
        {"id": f"q{i}", "question": "Which is red?", "context": "", "choices": ["a cherry", "a lime"], "answer": i}
        for i in (0, 1)
    ]
    assert (manifest["items"], manifest["read"], manifest["left_out"], manifest["ids"]) == (2, 2, {}, "field")
    assert manifest["bytes"] == 2 * (2 * 13 + 8 + 6)  # the question is read with each of its choices
    file = tmp_path / "items.jsonl"
    assert manifest["files"] == {str(file): {"bytes": file.stat().st_size, "sha256": sha256_file(file)}}
    assert (manifest["license"], manifest["settings"]) == ("CC0-1.0", CHOICES.plain())


def test_questions_with_the_first_answer_are_kept(prepare):
    """Defect 16.3: `get("cop") or ...` takes index 0 for no answer."""
    rows = [{"question": f"{i}?", "opa": "x", "opb": "y", "cop": 0} for i in range(5)]
    settings = altered(CHOICES, fields={"question": "question", "choices": ["opa", "opb"], "answer": "cop"})
    assert prepare(settings, rows)[0]["answer"].to_pylist() == [0] * 5


@pytest.mark.parametrize(
    ("answers", "value", "index"),
    [
        ("number0", 0, 0), ("number0", 2, 2), ("number0", "1", 1), ("number1", 1, 0), ("number1", "3", 2), ("letter", "A", 0),
        ("letter", "c", 2), ("letter", " B ", 1), ("text", "two", 1),
    ],
)  # fmt: skip
def test_ways_to_write_an_answer(answers, value, index):
    assert answer_index(value, ["one", "two", "three"], answers, "gold", "f.jsonl line 1") == index


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        ("number0", 3), ("number0", -1), ("number1", 0), ("number1", 4), ("number0", True), ("number0", None), ("number0", "A"),
        ("number0", 1.0), ("letter", "D"), ("letter", "AB"), ("letter", 1), ("letter", ""), ("text", "Two"), ("text", 1), ("text", None),
    ],
)  # fmt: skip
def test_answers_outside_of_the_choices(refused, answers, value):
    rows = [QUESTION, {"question": "?", "choices": ["one", "two", "three"], "answer": value}]
    rows[0] = {**QUESTION, "answer": {"number0": 0, "number1": 1, "letter": "A", "text": "a cherry"}[answers]}
    text = refused(altered(CHOICES, answers=answers), rows)
    assert "items.jsonl line 2: the answer in field 'answer' is none of the 3 choices" in text
    assert f"found:    {value!r}" in text


def test_an_answer_that_two_choices_have(refused):
    settings = altered(CHOICES, answers="text")
    assert "twice among the choices" in refused(settings, [{**QUESTION, "choices": ["x", "x"], "answer": "x"}])


def test_context_and_fields_within_fields(prepare):
    settings = altered(CHOICES,
        fields={"question": "q.text", "choices": "q.choices.text", "answer": "key", "context": "passage"}, answers="letter",
    )  # fmt: skip
    row = {"q": {"text": "Why?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}}, "key": "B", "passage": "Because."}
    items, _ = prepare(settings, [row, {**row, "passage": None}])
    assert items["context"].to_pylist() == ["Because.", ""]
    assert items["answer"].to_pylist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ""}, "line 1: field 'question' is empty"),
        ({"question": 3}, "line 1: field 'question' is not a text"),
        ({"choices": ["x", " "]}, r"line 1: field 'choices[1]' is empty"),
        ({"choices": ["x", 2]}, r"line 1: field 'choices[1]' is not a text"),
        ({"choices": ["x"]}, "line 1: field 'choices' holds no choices"),
        ({"choices": "x"}, "line 1: field 'choices' holds no choices"),
        ({"question": "\ud800"}, "line 1: field 'question' has half of a surrogate pair"),
    ],
)
def test_questions_that_are_refused(refused, change, message):
    assert message in refused(CHOICES, [{**QUESTION, **change}])


@pytest.mark.parametrize("field", ["question", "choices", "answer"])
def test_a_missing_field(refused, field):
    text = refused(CHOICES, [QUESTION, {key: value for key, value in QUESTION.items() if key != field}])
    assert f"items.jsonl line 2: no field {field!r}" in text


# --------------------------------------------------------------------------------------------------------- parallel


def test_fields_of_languages(prepare):
    settings = altered(PARALLEL, fields={"es": "translation.es", "en": "translation.en"})
    items, manifest = prepare(settings, [{"translation": {"en": "One.", "es": "Uno."}}])
    assert items.column_names == ["id", "es", "en"]
    assert items.to_pylist()[0] | {"id": ""} == {"id": "", "es": "Uno.", "en": "One."}
    assert manifest["language"] == "es-en"


def test_a_field_with_a_dot_in_its_name():
    assert field_of({"a.b": 1, "a": {"b": 2}}, "a.b", "") == 1
    assert field_of({"a": {"b": 2}}, "a.b", "") == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"translation": {"en": "One."}}, "line 1: no field 'translation.es'"),
        ({"translation": "One."}, "line 1: no field 'translation.es'"),
        ({"translation": {"es": "", "en": "One."}}, "line 1: field 'translation.es' is empty"),
    ],
)
def test_segments_that_are_refused(refused, row, message):
    settings = altered(PARALLEL, fields={"es": "translation.es", "en": "translation.en"})
    assert message in refused(settings, [row])


def test_line_aligned_text(prepare, tmp_path):
    """Each line belongs to the language of its file, whatever the files are called; only \\n ends a line."""
    (tmp_path / "b.en").write_text("One.\r\nTwo\u2028lines.\n", encoding="utf-8")
    with gzip.open(tmp_path / "a.es.gz", "wt", encoding="utf-8") as file:
        file.write("Uno.\nDos.")
    items, manifest = prepare(PARALLEL, text_files={"en": tmp_path / "b.en", "es": tmp_path / "a.es.gz"})
    assert items["en"].to_pylist() == ["One.", "Two\u2028lines."]
    assert items["es"].to_pylist() == ["Uno.", "Dos."]
    assert len(manifest["files"]) == 2


def test_unequal_numbers_of_lines(refused, tmp_path):
    (tmp_path / "en.txt").write_text("One.\nTwo.\nThree.\n")
    (tmp_path / "es.txt").write_text("Uno.\nDos.\n")
    text = refused(altered(PARALLEL, limit=1), text_files={"en": tmp_path / "en.txt", "es": tmp_path / "es.txt"})
    assert "unequal numbers of lines" in text
    assert "3 of en, 2 of es" in text


def test_an_empty_line(refused, tmp_path):
    (tmp_path / "en.txt").write_text("One.\nTwo.\n")
    (tmp_path / "es.txt").write_text("Uno.\n\n")
    text = refused(PARALLEL, text_files={"en": tmp_path / "en.txt", "es": tmp_path / "es.txt"})
    assert "es.txt line 2: field 'es' is empty" in text
    (tmp_path / "es.txt").unlink()
    assert "no such file" in refused(PARALLEL, text_files={"en": tmp_path / "en.txt", "es": tmp_path / "es.txt"})


# ---------------------------------------------------------------------------------------------------------- prompts


def test_prompts_left_out_by_length_are_counted(prepare):
    texts = ["four", "three", "eleven chars", "日本"]
    items, manifest = prepare(altered(PROMPTS, min_characters=4, max_characters=5), [{"text": text} for text in texts])
    assert items["text"].to_pylist() == ["four", "three"]
    assert manifest["left_out"] == {"fewer than min_characters": 1, "more than max_characters": 1}
    assert (manifest["read"], manifest["items"]) == (4, 2)


def test_the_limit_counts_what_is_kept(prepare):
    settings = altered(PROMPTS, min_characters=2, limit=2)
    assert prepare(settings, [{"text": text} for text in ("a", "bb", "cc", "dd")])[0]["text"].to_pylist() == ["bb", "cc"]


def test_nothing_left(refused):
    text = refused(altered(PROMPTS, min_characters=9), [{"text": "short"}, {"text": "too"}])
    assert "no items" in text
    assert "2 read, 2 with fewer than min_characters" in text
    assert "0 read" in refused(PROMPTS, [])


# -------------------------------------------------------------------------------------------------------------- ids


def test_ids_of_what_items_say(prepare):
    """Another order or another item before it changes no id; the second of two equal items has one of its own."""
    rows = [{"text": "one"}, {"text": "two"}, {"text": "one"}]
    items, manifest = prepare(PROMPTS, rows)
    one, two, again = items["id"].to_pylist()
    assert len(one) == 16
    assert again == f"{one}-2"
    assert (manifest["ids"], manifest["repeated"]) == ("hash", 1)
    assert prepare(PROMPTS, [{"text": "new"}, *rows[1::-1]])[0]["id"].to_pylist()[1:] == [two, one]


@pytest.mark.parametrize("ids", [[1, 1], [1, None], ["", "b"], [1, True], [[1], [2]]])
def test_ids_that_cannot_be_used(prepare, ids):
    rows = [{"id": own, "text": str(i)} for i, own in enumerate(ids)]
    assert prepare(PROMPTS, rows)[1]["ids"] == "hash"
    assert len(set(prepare(PROMPTS, rows)[0]["id"].to_pylist())) == 2


def test_numbers_as_ids(prepare):
    assert prepare(PROMPTS, [{"id": 7, "text": "x"}, {"id": 8, "text": "y"}])[0]["id"].to_pylist() == ["7", "8"]


# ------------------------------------------------------------------------------------------------------------ files


def test_compressed_files_and_parquet(prepare, tmp_path):
    rows = [{"text": f"prompt {i}"} for i in range(4)]
    lines = [(json.dumps(row) + "\n").encode() for row in rows]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines[0]))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(lines[1] + b"\n" + lines[2]))
    pq.write_table(pa.table({"text": [rows[3]["text"]]}), tmp_path / "c.parquet")
    items, _ = prepare(PROMPTS, files=[tmp_path / name for name in ("a.jsonl.gz", "b.jsonl.zst", "c.parquet")])
    assert items["text"].to_pylist() == [row["text"] for row in rows]


def test_fetched_rows_with_their_provenance(prepare, tmp_path):
    folder = tmp_path / "fetched"
    folder.mkdir()
    with pytest.raises(ArtifactError, match=r"provenance.json: no such file"):
        prepare(PARALLEL, fetched=folder)
    for i in (1, 0):
        pq.write_table(pa.table({"t": [{"en": f"One {i}.", "es": f"Uno {i}."}]}), folder / f"{i:05d}.parquet")
    (folder / "provenance.json").write_text('{"commit": "c0ffee"}')
    items, manifest = prepare(altered(PARALLEL, fields={"en": "t.en", "es": "t.es"}), fetched=folder)
    assert items["en"].to_pylist() == ["One 0.", "One 1."]
    assert manifest["provenance"] == {"commit": "c0ffee"}
    assert len(manifest["files"]) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', "x.jsonl line 2: not JSON"),
        ("x.jsonl", b'{"text": "a"}\n["b"]\n', "x.jsonl line 2: not a JSON object"),
        ("x.jsonl", b'{"text": "\xff"}\n', "x.jsonl line 1: not UTF-8"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], "x.jsonl.gz: the compressed file is truncated"),
        ("x.parquet", b"PAR1", "x.parquet: not a readable Parquet file"),
        ("x.csv", b"text\na\n", "x.csv: unknown kind of file"),
        ("x.txt", b"a\n", "x.txt: a test set is not plain text"),
    ],
)
def test_files_that_are_refused(refused, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refused(PROMPTS, files=[tmp_path / name])
    assert "no such file" in refused(PROMPTS, files=[tmp_path / "missing.jsonl"])


def test_the_same_input_gives_the_same_bytes(prepare, tmp_path):
    prepare(CHOICES, [QUESTION])
    first = sha256_file(tmp_path / "out.parquet")
    prepare(CHOICES, [QUESTION])
    assert sha256_file(tmp_path / "out.parquet") == first


def test_what_suites_read(prepare, tmp_path):
    prepare(CHOICES, [QUESTION])
    testset = read_testset(tmp_path / "out.parquet", "choices")
    assert (testset.name, testset.language, testset.domain) == ("set", "en", "bio")
    with pytest.raises(ArtifactError, match="not a test set of the kind prompts"):
        read_testset(tmp_path / "out.parquet", "prompts")
    with pytest.raises(ArtifactError, match="no such file"):
        read_testset(tmp_path / "missing.parquet", "prompts")
    (tmp_path / "out.parquet").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="not a readable Parquet file"):
        read_testset(tmp_path / "out.parquet", "prompts")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "out.parquet")
    with pytest.raises(ArtifactError, match="does not say what test set it is"):
        read_testset(tmp_path / "out.parquet", "prompts")


# ---------------------------------------------------------------------------------------------------------- command


def test_command(tmp_path, run_script):
    (tmp_path / "en.txt").write_text("One.\n")
    (tmp_path / "es.txt").write_text("Uno.\n")
    out = ["--name", "set", "--items", tmp_path / "out.parquet", "--manifest", tmp_path / "out.json"]
    words = [*out, "--settings", json.dumps(PARALLEL.plain())]
    texts = ["--text-files", f"es={tmp_path}/es.txt", f"en={tmp_path}/en.txt"]
    assert run_script(script, *words, *texts) == (0, "")
    assert read_testset(tmp_path / "out.parquet", "parallel").items["es"].to_pylist() == ["Uno."]
    assert run_script(script, *words)[0] == 2  # no origin
    assert run_script(script, *words, "--text-files", f"{tmp_path}/es.txt")[0] == 2
    assert run_script(script, *words, *texts, "--files", tmp_path / "x.jsonl")[0] == 2
    status, shown = run_script(script, *words, "--files", write(tmp_path / "x.jsonl", [{"en": "One."}]))
    assert (status, "x.jsonl line 1: no field 'es'" in shown) == (1, True)
