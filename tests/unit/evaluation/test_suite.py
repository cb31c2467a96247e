"""What the configuration knows of suites agrees with the suites and their commands."""

import importlib
import inspect
import json
import subprocess
import sys

import pyarrow as pa
import pytest
from support.project import byte_level
from support.settings import unchecked
from support.writing import TEXTS, write_writer
from tokalign.common.errors import ArtifactError
from tokalign.config.evaluations import Evaluation
from tokalign.config.suites import MODEL_SUITES, SUITES, Measured
from tokalign.evaluation.data.testsets import Testset, write_testset
from tokalign.evaluation.suite import evaluate, load_suite
from tokalign.report.figures.sources import SOURCES


def test_the_table_of_suites_loads_no_heavy_library():
    heavy = "{'torch', 'numpy', 'pyarrow', 'matplotlib', 'transformers'}"
    code = f"import sys, tokalign.config.evaluations, tokalign.evaluation.command; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_only_tokenizers_are_no_suite_of_models():
    assert set(SUITES) - set(MODEL_SUITES) == {"tokenizers"}


def test_each_suite_is_a_block_of_an_evaluation_and_what_is_read_is_part_of_it():
    """So a suite with a name in one of the two places alone is found."""
    assert set(SUITES) == set(Evaluation.model_fields) - {"corpus", "sample", "comparison", "alignment", "gpus"}
    for name in MODEL_SUITES:
        kinds = [kind for kind in Measured.__subclasses__() if kind.__name__.lower() == name]
        assert len(kinds) == 1
        assert set(SUITES[name].settings.model_fields) - {"trust_remote_code"} <= set(kinds[0].model_fields)


NEEDED = {
    "tasks": {"names": ["own"]},
    "choices": {"testsets": ["exam"]},
    "translation": {"directions": [{"testset": "news", "source": "en", "target": "es"}]},
}
"""Settings without a default."""


@pytest.mark.parametrize("name", MODEL_SUITES)
def test_inputs_and_settings_are_those_of_the_suite(name):
    entry = SUITES[name]
    suite = load_suite(name)
    keys = {each.key for each in entry.inputs}
    assert list(inspect.signature(suite.read).parameters) == ["settings", *(each.key for each in entry.inputs)]
    assert set(entry.how_it_runs) <= set(entry.settings.model_fields)
    parser = importlib.import_module(f"commands.evaluation.{entry.command}").arguments()
    words = ["--model", "m", "--settings", json.dumps(NEEDED.get(name, {})), "--output", "o"]
    args = parser.parse_args([*words, *(word for each in entry.inputs for word in (f"--{each.option}", "x"))])
    assert keys <= set(vars(args))
    for each in entry.inputs:
        others = [word for other in entry.inputs if other is not each for word in (f"--{other.option}", "x")]
        if each.required:
            with pytest.raises(SystemExit):
                parser.parse_args([*words, *others])
        else:
            assert getattr(parser.parse_args([*words, *others]), each.key) is None


def test_a_model_that_lacks_rows_for_its_tokenizer_is_refused_by_the_skeleton(tmp_path):
    write_writer(tmp_path / "model")  # 304 rows
    larger = byte_level(310, TEXTS)
    larger.add_tokens([f"extra{i}" for i in range(60)])
    larger.save_pretrained(tmp_path / "tokenizer")
    prompts = pa.table({"id": ["a"], "text": ["the cat"]})
    write_testset(tmp_path / "items.parquet", Testset("some", "prompts", "en", "pets", prompts))
    values = {"testset": "some", "prompts": 1, "prompt_characters": 9, "max_new_tokens": 2, "decodings": {}, "batch_tokens": 9}
    values |= {"self_bleu_references": 1, "document_start": "eos", "precision": "float32", "trust_remote_code": False}
    settings = unchecked(SUITES["generation"].settings, **values)
    inputs = {"prompts": tmp_path / "items.parquet"}
    with pytest.raises(ArtifactError, match="does not fit"):
        evaluate("generation", tmp_path / "model", tmp_path / "tokenizer", inputs, settings, {}, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_figures_are_drawn_of_known_suites():
    named = {
        name for source in SOURCES.values() for each in source.suites for name in ([each] if isinstance(each, str) else each)
    }
    assert named <= set(SUITES)
