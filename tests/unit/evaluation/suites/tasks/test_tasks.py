"""Tasks of lm-evaluation-harness: names, data without network, and values against the harness' own model and aggregation."""

from __future__ import annotations

import functools
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from commands.evaluation import answer_tasks, resolve_tasks
from lm_eval import evaluator
from lm_eval.api import metrics
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from support.project import ROOT, byte_level
from support.writing import load_both, write_writer
from tokalign.common.errors import ArtifactError, ConfigurationError, InputError
from tokalign.evaluation.results import read_items, read_result, statistics
from tokalign.evaluation.statistics.bootstrap import paired_difference
from tokalign.evaluation.statistics.estimators import ESTIMATORS
from tokalign.evaluation.suite import evaluate
from tokalign.evaluation.suites.perplexity import PerplexitySettings, score_documents
from tokalign.evaluation.suites.tasks import resolve as tasks
from tokalign.evaluation.suites.tasks.answers import Answers, TasksSettings, group_metrics
from tokalign.evaluation.suites.tasks.harness_model import HarnessModel
from tokalign.evaluation.suites.tasks.resolve import fetch, harness_version, leaves, resolve, task_manager
from transformers import PreTrainedTokenizerFast

PAPERS = [
    "arc_easy", "arc_challenge", "hellaswag", "lambada_openai", "piqa", "winogrande", "boolq", "xnli", "xcopa", "xstorycloze",
    "belebele_spa_Latn", "belebele_eng_Latn", "medmcqa", "pubmedqa", "mmlu",
]  # fmt: skip
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "some", "bird", "there", "while", "der", "Hund", "schlief"]
MEAN = {"aggregation": "mean", "higher_is_better": True}
CHOICES = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
}
OWN = {
    "choices": {**CHOICES, "task": "own_choices", "metadata": {"version": 3.0, "language": "en"}},
    "letters": {**CHOICES, "task": "own_letters", "doc_to_choice": ["A", "B", "C"]},
    "correlation": {
        **CHOICES,
        "task": "own_correlation",
        "metric_list": [
            {"metric": "mcc", "aggregation": "matthews_corrcoef", "higher_is_better": True},
            {"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": False},
        ],
    },
    "last_word": {
        **{key: CHOICES[key] for key in ("dataset_path", "dataset_kwargs", "test_split")},
        "task": "own_last_word",
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}",
        "doc_to_target": "{{' ' + text.split(' ')[-1]}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", **MEAN},
        ],
    },
    "rolling": {
        **{key: CHOICES[key] for key in ("dataset_path", "dataset_kwargs", "test_split")},
        "task": "own_rolling",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
    },
    "written": {
        **{key: CHOICES[key] for key in ("dataset_path", "dataset_kwargs", "test_split")},
        "task": "own_written",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{text}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 3, "do_sample": False},
        "metric_list": [{"metric": "exact_match", **MEAN}],
        "filter_list": [{"name": "strict", "filter": [{"function": "take_first"}]}],
    },
    "both": {
        "group": "own_both",
        "task": ["own_choices", "own_letters"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    },
}
NAMES = ["own_both", "own_correlation", "own_last_word", "own_rolling", "own_written"]
QUESTIONS = 25
SETTINGS = {"names": NAMES, "shots": None, "limit": None, "batch_size": 7, "precision": "float32", "trust_remote_code": False}


def sentence(rng: np.random.Generator, size: int) -> str:
    return " ".join(rng.choice(WORDS, size))


@pytest.fixture(scope="module")
def include(tmp_path_factory) -> str:
    """A folder of tasks, with their data beside them."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    with (folder / "questions.jsonl").open("w") as file:
        for number in range(QUESTIONS):
            row = {"question": sentence(rng, 5) + ":", "answer": number % 3, "text": sentence(rng, 20)}
            file.write(json.dumps({**row, "choices": [sentence(rng, int(n)) for n in rng.integers(1, 4, 3)]}) + "\n")
    for name, content in OWN.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A random model of some certainty, with the context of a short prompt."""
    path = tmp_path_factory.mktemp("model")
    write_writer(path, [sentence(np.random.default_rng(1), 200)], context=24, tied=False)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def only_own(monkeypatch):
    """Leave the harness' own 14,000 files out of its index, whose reading takes seconds."""
    monkeypatch.setattr(tasks, "TaskManager", functools.partial(tasks.TaskManager, include_defaults=False))


@pytest.fixture(scope="module")
def harness():
    return task_manager(None)


# --------------------------------------------------------------------------------------------------------------- names


def test_tasks_of_the_papers_are_found(harness, monkeypatch):
    monkeypatch.setattr(tasks, "task_manager", lambda include: harness)
    found = resolve(PAPERS, None, None)
    assert [name for name in PAPERS if name not in {task["of"] for task in found["tasks"]}] == []
    by_name = {task["name"]: task for task in found["tasks"]}
    assert sum(task["of"] == "mmlu" for task in found["tasks"]) == 57
    assert by_name["xnli_es"]["language"] == "es" and by_name["xcopa_et"]["language"] == "et"
    assert by_name["belebele_spa_Latn"]["language"] == "spa_Latn"
    assert by_name["arc_easy"]["language"] == by_name["mmlu_anatomy"]["language"] == ""
    arc = by_name["arc_easy"]
    assert (arc["dataset_path"], arc["dataset_name"], arc["metrics"]) == ("allenai/ai2_arc", "ARC-Easy", ["acc", "acc_norm"])
    assert by_name["boolq"]["version"] == 2.0 and by_name["lambada_openai"]["output_type"] == "loglikelihood"
    assert set(by_name["mmlu_anatomy"]["files"]) == {"mmlu/default/mmlu_anatomy.yaml", "mmlu/default/_default_template_yaml"}
    assert found["lm_eval"] == harness_version() == "0.4.13"


@pytest.mark.parametrize(
    ("name", "nearest"), [("belebele_spa_latn", "belebele_spa_Latn"), ("ARC_easy", "arc_easy"), ("helaswag", "hellaswag")]
)
def test_name_that_is_none_has_the_nearest_ones(harness, name, nearest):
    """tokalign-baseline asked for belebele_spa_latn, which was skipped without a word."""
    with pytest.raises(ConfigurationError, match=rf"no task of this name(.|\n)*{name}(.|\n)*did you mean .*{nearest}"):
        leaves(name, harness.task_index)


def test_task_that_is_meant_twice_or_cannot_be_run(harness, monkeypatch):
    monkeypatch.setattr(tasks, "task_manager", lambda include: harness)
    with pytest.raises(ConfigurationError, match=r"meant twice\n.*xnli_es, by xnli and by xnli_es"):
        resolve(["xnli", "xnli_es"], None, None)
    with pytest.raises(ConfigurationError, match="humaneval: runs code that the model writes"):
        resolve(["humaneval"], None, None)
    with pytest.raises(ConfigurationError, match="images"):
        resolve(["mmmu_val_art"], None, None)


def test_own_tasks_with_their_files(include, only_own, tmp_path, run_script):
    settings = json.dumps({"names": NAMES, "include": include, "shots": None})
    assert run_script(resolve_tasks, "--settings", settings, "--output", tmp_path / "tasks.json")[0] == 0
    found = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["name"] for task in found["tasks"]][:2] == ["own_choices", "own_letters"]
    assert {task["own"] for task in found["tasks"]} == {True}
    assert found["tasks"][0] | {"files": 0} == {
        "name": "own_choices", "own": True, "version": 3.0, "language": "en", "output_type": "multiple_choice", "shots": None,
        "metrics": ["acc", "acc_norm"], "dataset_path": "json", "dataset_name": None, "revision": None, "files": 0, "of": "own_both",
    }  # fmt: skip
    assert list(found["tasks"][0]["files"]) == ["choices.yaml"]
    status, shown = run_script(
        resolve_tasks, "--settings", settings.replace("own_rolling", "own_roling"), "--output", tmp_path / "x.json"
    )
    assert status == 1 and "did you mean own_rolling" in shown and not (tmp_path / "x.json").exists()


def test_own_tasks_that_are_wrong(tmp_path, only_own):
    def write(name: str, **changes) -> str:
        for file in tmp_path.glob("*.yaml"):
            file.unlink()
        (tmp_path / "own.yaml").write_text(yaml.safe_dump({**CHOICES, "task": name, **changes}))
        return str(tmp_path)

    with pytest.raises(ConfigurationError, match="its data are not there"):
        resolve(["a"], write("a"), None)
    with pytest.raises(ConfigurationError, match=r"without local data\n.*owner/name"):
        resolve(["a"], write("a", dataset_path="owner/name"), None)
    shutil.copy(tmp_path / "own.yaml", tmp_path / "twice.yaml")
    with pytest.raises(InputError, match="there twice"):
        resolve(["a"], str(tmp_path), None)
    (tmp_path / "twice.yaml").write_text("task: [")
    with pytest.raises(InputError, match=r"twice\.yaml: not a YAML file"):
        resolve(["a"], str(tmp_path), None)
    (tmp_path / "twice.yaml").write_text("task: b\ninclude: missing.yaml\n")
    with pytest.raises(InputError, match=r"twice\.yaml: lm-evaluation-harness cannot read"):
        resolve(["a"], str(tmp_path), None)


def test_demo_task(only_own):
    """Its data are found beside its YAML file, whatever the working folder is."""
    folder = ROOT / "resources/demo/tasks"
    (task,) = resolve(["go_terms"], str(folder), None)["tasks"]
    assert (task["own"], task["language"]) == (True, "en")
    loaded = tasks.load_task(task_manager(str(folder)), "go_terms")["tasks"]["go_terms"]
    assert len(loaded.test_docs()) == 200
    assert len({loaded.doc_to_target(question) for question in loaded.test_docs()}) == 4


# -------------------------------------------------------------------------------------------------------------- values


@pytest.fixture(scope="module")
def theirs(include, loaded):
    """What the harness finds with its own model class."""
    model, tokenizer = loaded
    manager = tasks.TaskManager(include_path=include, include_defaults=False)
    for entry in manager.task_index.values():
        if "dataset_kwargs" in entry.cfg:
            entry.yaml_path, files = None, {"test": f"{include}/questions.jsonl"}
            entry.cfg = {**entry.cfg, "dataset_kwargs": {"data_files": files}}
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "add_env_info", lambda results: None)  # asks pip, for seconds
        patch.setattr(metrics, "bootstrap_stderr", lambda aggregation, values, iters: 0.0)
        return evaluator.simple_evaluate(model=lm, tasks=NAMES, task_manager=manager, bootstrap_iters=1000)


@pytest.fixture
def ours(include, folder, only_own, tmp_path):
    (tmp_path / "tasks.json").write_text(json.dumps(resolve(NAMES, include, None)))
    settings = TasksSettings(**SETTINGS, include=include)
    evaluate(
        "tasks",
        folder,
        folder,
        {"tasks": tmp_path / "tasks.json", "fetched": None},
        settings,
        {"stage": "source"},
        tmp_path / "out.json",
    )
    return tmp_path / "out.json"


def test_values_are_those_of_the_harness(ours, theirs):
    """Means, perplexities, bits per byte, metrics that are no sums, generated text, and the group's mean."""
    found = {(m["dataset"], m["metric"]): m for m in read_result(ours)["metrics"]}
    expected = {
        (name, key.replace(",none", "")): value
        for name, values in theirs["results"].items()
        for key, value in values.items()
        if "," in key and "_stderr" not in key
    }
    assert {key: m["value"] for key, m in found.items()} == {
        key: pytest.approx(value, rel=1e-4) for key, value in expected.items()
    }
    assert len(expected) == 13
    assert {m["condition"] for m in found.values()} == {"0-shot"}
    assert found["own_choices", "acc"]["level"] == "item" and found["own_choices", "acc"]["language"] == "en"
    assert found["own_last_word", "perplexity"]["better"] == "lower"
    assert {key[1] for key in found if key[0] == "own_written"} == {"exact_match,strict"}
    for key in (("own_choices", "acc"), ("own_last_word", "perplexity"), ("own_correlation", "mcc"), ("own_both", "acc")):
        low, high = found[key]["ci95"]
        assert low < found[key]["value"] < high
    error = theirs["results"]["own_choices"]["acc_stderr,none"]
    low, high = found["own_choices", "acc"]["ci95"]
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.25)
    low, high = found["own_both", "acc"]["ci95"]
    assert high - low == pytest.approx(2 * 1.96 * theirs["results"]["own_both"]["acc_stderr,none"], rel=0.5)


def test_items_are_the_questions_and_give_the_metrics(ours, theirs):
    result, items = read_result(ours), read_items(ours)
    assert items.num_rows == QUESTIONS * 6
    for metric in result["metrics"]:
        if "columns" not in metric:
            assert metric["replicates"]["kind"] == "jackknife" and len(metric["replicates"]["values"]) == 20
            continue
        own = items.filter([name == metric["dataset"] for name in items["dataset"].to_pylist()])
        sums = statistics(own, metric["columns"])
        assert len(sums) == metric["n"] == QUESTIONS
        estimator = ESTIMATORS[metric["estimator"]]
        assert metric["scale"] * estimator(sums.sum(0)) == pytest.approx(metric["value"])
        assert paired_difference(sums, sums, estimator).difference == 0
    samples = theirs["samples"]["own_choices"]
    own = items.filter([name == "own_choices" for name in items["dataset"].to_pylist()])
    assert own["acc"].to_pylist() == [sample["acc"] for sample in samples]
    assert own["id"].to_pylist() == [str(sample["doc_id"]) for sample in samples]
    assert own["question_hash"].to_pylist() == [sample["doc_hash"] for sample in samples]
    assert result["more"]["tasks"]["own_choices"]["first_prompt"] == samples[0]["arguments"][0][0]
    assert result["more"]["tasks"]["own_choices"]["version"] == 3.0


def test_interval_of_a_group_of_one_small_task_is_that_of_its_mean():
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    task = SimpleNamespace(
        task_name="t", aggregation=lambda: {"acc": metrics.mean}, higher_is_better=lambda: {"acc": True},
    )  # fmt: skip
    answers = Answers(task, "t", "0-shot", "", [], {("acc", "none"): dict(enumerate(values))})
    group = SimpleNamespace(name="g", get_all_tasks=lambda: [task], aggregate=lambda sizes: {"acc,none": sizes["t"]["acc,none"]})
    (found,) = group_metrics(group, {"t": answers}, {"acc,none": float(np.mean(values))})
    half = 1.959964 * np.std(values, ddof=1) / len(values) ** 0.5
    assert found["ci95"] == pytest.approx([np.mean(values) - half, np.mean(values) + half])


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_requests_are_scored_as_by_the_harness(loaded, batch_size):
    """Empty contexts, contexts cut from the left, answers that differ in their last token, the same request twice."""
    model, tokenizer = loaded
    rng = np.random.default_rng(5)
    pairs = [(sentence(rng, size), " " + sentence(rng, answer)) for size, answer in ((3, 1), (30, 2), (8, 8), (1, 1), (2, 3))]
    pairs += [("", "the cat"), ("a mat:", " A"), ("a mat:", " B"), ("a mat:", " C"), ("a mat:", " A"), ("ends in space ", "cat")]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    expected = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3).loglikelihood(requests, disable_tqdm=True)
    found = HarnessModel(model, tokenizer, batch_size).loglikelihood(requests, disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], rel=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_bits_per_byte_of_the_perplexity_suite_are_those_of_the_harness(loaded):
    """Rolling windows of the harness, and ours with stride = window: the same where a document is one window or whole windows."""
    model, tokenizer = loaded
    rng = np.random.default_rng(7)
    texts = [sentence(rng, size) for size in (4, 10, 15)]
    long = tokenizer(sentence(rng, 400), add_special_tokens=False)["input_ids"]
    texts.append(tokenizer.decode(long[: 24 * 4]))
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert counts[-1] == 96 and max(counts[:-1]) < 24
    settings = PerplexitySettings(
        window=24, stride=24, batch_tokens=100, precision="float32", document_start="eos", trust_remote_code=False
    )
    nll, _, _ = score_documents(model, tokenizer, [str(i) for i in range(4)], texts, settings)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, prefix_token_id=0)
    rolling = lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts], disable_tqdm=True)
    size = sum(len(text.encode()) for text in texts)
    assert nll.sum() / math.log(2) / size == pytest.approx(-sum(rolling) / math.log(2) / size, abs=1e-5)
    assert nll == pytest.approx([-value for value in rolling], rel=1e-5)


def test_nan_is_an_error_where_text_is_written(loaded, folder):
    """The largest of NaN is a token like any other: a task that reads answers would go on."""
    model, tokenizer = loaded
    with torch.no_grad():
        before = model.model.norm.weight[0].item()
        model.model.norm.weight[0] = math.nan
    request = Instance("generate_until", {}, ("the model", {"until": ["\n"], "max_gen_toks": 3}), 0)
    lm = HarnessModel(model, tokenizer, 2)
    try:
        with pytest.raises(ArtifactError, match="logits are not finite numbers") as error:
            lm.generate_until([request], disable_tqdm=True)
    finally:
        with torch.no_grad():
            model.model.norm.weight[0] = before
    assert "the model" in str(error.value)
    assert len(lm.generate_until([request], disable_tqdm=True)) == 1


def test_nan_is_an_error_that_names_the_request(loaded, folder):
    """The harness would answer such a question with its first choice."""
    model, tokenizer = load_both(folder)
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    lm = HarnessModel(model, tokenizer, 2)
    with pytest.raises(ArtifactError, match=r"not a finite number\n.*the cat"):
        lm.loglikelihood([Instance("loglikelihood", {}, ("the cat", " sat"), 0)], disable_tqdm=True)


def test_tokenizer_that_ends_prompts_or_does_not_fit(loaded):
    model, _ = loaded
    from tokenizers.processors import TemplateProcessing

    inner = byte_level(300, [" ".join(WORDS)])._tokenizer
    inner.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 0)])
    with pytest.raises(ArtifactError, match="special tokens after text"):
        HarnessModel(model, PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>"), 2)
    larger = byte_level(300, [" ".join(WORDS)])
    larger.add_tokens([f"extra{i}" for i in range(60)])
    with pytest.raises(ArtifactError, match="does not fit"):
        HarnessModel(model, larger, 2)


# ------------------------------------------------------------------------------------------------------------- command


def test_command_with_limit_and_shots(include, folder, only_own, tmp_path, run_script):
    (tmp_path / "tasks.json").write_text(json.dumps(resolve(["own_letters"], include, 2)))
    settings = {**SETTINGS, "names": ["own_letters"], "include": include, "shots": 2, "limit": 4}
    words = ["--model", folder, "--tasks", tmp_path / "tasks.json", "--output", tmp_path / "out.json", "--settings"]
    assert run_script(answer_tasks, *words, json.dumps(settings))[0] == 0
    result = read_result(tmp_path / "out.json")
    assert {(m["condition"], m["n"]) for m in result["metrics"]} == {("2-shot", 4)}
    assert result["more"]["tasks"]["own_letters"]["questions_in_all"] == QUESTIONS
    assert result["more"]["tasks"]["own_letters"]["first_prompt"].count(":") == 3
    status, shown = run_script(answer_tasks, *words, json.dumps({**settings, "shots": 3}))
    assert status == 1 and "not of these tasks" in shown


def test_data_that_are_gone_are_an_error_that_names_the_task(include, folder, only_own, tmp_path, run_script):
    own = tmp_path / "own"
    shutil.copytree(include, own)
    (tmp_path / "tasks.json").write_text(json.dumps(resolve(["own_rolling", "own_letters"], str(own), None)))
    content = yaml.safe_load((own / "letters.yaml").read_text())
    (own / "letters.yaml").write_text(yaml.safe_dump({**content, "dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}}))
    settings = {**SETTINGS, "names": ["own_rolling", "own_letters"], "include": str(own)}
    words = ["--model", folder, "--tasks", tmp_path / "tasks.json", "--output", tmp_path / "out.json", "--settings"]
    status, shown = run_script(answer_tasks, *words, json.dumps(settings))
    assert status == 1 and "task own_letters: cannot be loaded" in shown and "snakemake fetched" in shown
    assert not (tmp_path / "out.json").exists()


# -------------------------------------------------------------------------------------------------------------- fetching


@pytest.fixture
def hub(include, tmp_path, monkeypatch):
    """A hub of one data set: loading it with network leaves what a real one leaves in the cache; without, the library itself loads."""
    load_dataset = datasets.load_dataset
    online = [True]

    def load_online(path, name=None, **arguments):
        if path != "owner/questions" or not online[0]:
            return load_dataset(path, name, **arguments)
        made = tmp_path / "made"
        load_dataset("json", data_files={"test": f"{include}/questions.jsonl"}, cache_dir=str(made))
        (info,) = made.rglob("dataset_info.json")
        target = Path(datasets.config.HF_DATASETS_CACHE, "owner___questions/default/0.0.0/c0ffee")
        shutil.copytree(info.parent, target)
        content = json.loads(info.read_text())
        (target / "dataset_info.json").write_text(json.dumps({**content, "config_name": "default", "dataset_name": "questions"}))
        for file in target.glob("json-*.arrow"):
            file.rename(target / file.name.replace("json", "questions"))
        return load_offline(path, name)

    def load_offline(path, name=None):
        with monkeypatch.context() as patch:
            patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
            patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
            return load_dataset(path, name)

    monkeypatch.setattr(datasets, "load_dataset", load_online)
    return online


def test_fetched_data_work_without_network(hub, folder, only_own, tmp_path, monkeypatch):
    own = tmp_path / "harness"
    own.mkdir()
    content = {key: value for key, value in OWN["letters"].items() if key != "dataset_kwargs"}
    (own / "task.yaml").write_text(yaml.safe_dump({**content, "dataset_path": "owner/questions"}))
    described = {"name": "own_letters", "own": False, "of": "own_letters", "version": None, "language": "", "files": {}}
    described |= {"output_type": "multiple_choice", "dataset_path": "owner/questions", "dataset_name": None}
    resolved = {"names": ["own_letters"], "include": str(own), "shots": None, "lm_eval": harness_version(), "tasks": [described]}
    (tmp_path / "tasks.json").write_text(json.dumps(resolved))
    out = tmp_path / "fetched"
    out.mkdir()
    fetch(resolved, out)
    provenance = json.loads((out / "provenance.json").read_text())["tasks"]
    assert [(task["task"], task["commit"], task["rows"]) for task in provenance] == [
        ("own_letters", "c0ffee", {"test": QUESTIONS})
    ]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    hub[0] = False
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    settings = TasksSettings(**{**SETTINGS, "names": ["own_letters"]}, include=str(own))
    metrics = evaluate(
        "tasks", folder, folder, {"tasks": tmp_path / "tasks.json", "fetched": out}, settings, {}, tmp_path / "out.json"
    )
    assert metrics[0]["n"] == QUESTIONS
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "data" in read_result(tmp_path / "out.json")["digests"]
    shutil.rmtree(out / "datasets/owner___questions")
    with pytest.raises(InputError, match="task own_letters: cannot be loaded"):
        evaluate("tasks", folder, folder, {"tasks": tmp_path / "tasks.json", "fetched": out}, settings, {}, tmp_path / "out.json")
    (out / "provenance.json").unlink()
    with pytest.raises(ArtifactError, match="no data of tasks"):
        evaluate("tasks", folder, folder, {"tasks": tmp_path / "tasks.json", "fetched": out}, settings, {}, tmp_path / "out.json")
