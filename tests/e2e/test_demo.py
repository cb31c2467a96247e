"""The demo of the repository, run where it lies: what it makes can be used, and its numbers say that the method works.

Finished steps are kept, so that this is quick where `make demo` has run, and takes as long as it where it has not (and then
needs the network, for the model).
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from support.project import ROOT
from tokalign.config.validation import validate
from tokalign.report.figures.sources import figures_of

RESULTS = ROOT / "results"
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--profile", "profiles/local"]
ADAPTED = RESULTS / "adapted/smollm2-135m--demo-16k/demo/fitted/demo/s1/stage2"
TABLES = (
    "results", "criteria", "comparison", "runs", "durations", "perplexity", "bits_per_byte", "tokenizers", "alignments", "alignment_scores", "training",
)  # fmt: skip
CONFIGURATION = validate(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")))
FIGURES = figures_of(CONFIGURATION["evaluations"].values())
ALL = {"language": "all", "domain": "all"}

pytestmark = pytest.mark.slow


def snakemake(*arguments: str) -> str:
    result = subprocess.run([*SNAKEMAKE, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout


@pytest.fixture(scope="session", autouse=True)
def demo() -> None:
    """Run the demo as `make demo` does."""
    snakemake()
    snakemake("--report", "results/report.html")


def rows(table: str, **wanted: str) -> list[dict[str, str]]:
    """Return the rows of a table in which columns have the wanted values."""
    with (RESULTS / f"tables/{table}.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[column] == value for column, value in wanted.items())]


def test_nothing_is_left_to_do():
    assert "Nothing to be done" in snakemake("-n")


@pytest.mark.parametrize("name", TABLES)
def test_table_is_filled(name: str):
    table = rows(name)
    assert table
    assert all(None not in row and None not in row.values() for row in table)  # as many cells as columns


@pytest.mark.parametrize("name", FIGURES)
def test_figure_can_be_shown(name: str):
    drawing = ElementTree.parse(RESULTS / f"figures/{name}.svg").getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}path"))) > 10
    assert (RESULTS / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (RESULTS / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF-")


def test_every_step_makes_the_model_better():
    (row,) = rows("bits_per_byte", **ALL)
    better = [float(row[column]) for column in ("stage2", "stage1", "initialized", "initialized:random")]
    assert better == sorted(better)
    assert len(set(better)) == 4
    assert 0 < float(row["source"]) < float(row["initialized:random"])
    others = [float(row[f"initialized:{name}"]) for name in ("random", "decomposition", "tokalign")]
    assert float(row["initialized"]) < min(others)


def test_losses_fall_within_the_recipe():
    recipe = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["recipes"]["demo"]
    for stage in recipe["stages"]:
        losses = {int(row["step"]): float(row["loss"]) for row in rows("training", stage=stage["name"]) if row["loss"]}
        assert sorted(losses) == list(range(1, stage["steps"] + 1))
    first = float(rows("training", stage="stage1", step="1")[0]["loss"])
    last = float(rows("training", stage="stage2", step=str(recipe["stages"][-1]["steps"]))[0]["loss"])
    assert last < first


def test_heldout_text_is_predicted_better_and_better():
    """Measured in training on the same documents each time, from before the first step to behind the last."""
    measured = [float(row["heldout_bits_per_byte"]) for row in rows("training") if row["heldout_bits_per_byte"]]
    assert len(measured) == 3 + 3  # steps 0, 10, 20 of stage 1 and 0, 6, 12 of stage 2
    assert measured[2] < measured[0]
    assert measured[-1] < measured[3] == pytest.approx(measured[2], rel=1e-3)


@pytest.mark.parametrize("language", ["ru", "hi", "ja"])
def test_new_tokenizer_needs_fewer_tokens(language: str):
    sizes = {
        tokenizer: [float(row["bytes_per_token"]) for row in rows("tokenizers", tokenizer=tokenizer, language=language)]
        for tokenizer in ("smollm2", "demo-16k")
    }
    assert len(sizes["smollm2"]) == len(sizes["demo-16k"]) == 1
    assert sizes["demo-16k"][0] > sizes["smollm2"][0]


def test_every_token_was_found_once():
    size = 16384
    for alignment in ("fitted", "tokalign", "decomposition", "random"):
        assert sum(int(row["tokens"]) for row in rows("alignments", alignment=alignment)) == size
    aligned = {row["category"]: int(row["tokens"]) for row in rows("alignments", alignment="tokalign")}
    assert aligned["exact"] > 0
    assert aligned["aligned"] > 0
    assert not {row["category"] for row in rows("alignments", alignment="decomposition") if int(row["tokens"])} & {"aligned"}


def test_adapted_model_loads_and_generates():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ADAPTED, local_files_only=True)
    model, report = AutoModelForCausalLM.from_pretrained(ADAPTED, local_files_only=True, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == 16384
    for settings in (model.config, model.generation_config):
        assert getattr(settings, "bos_token_id", None) == tokenizer.bos_token_id
        assert settings.eos_token_id == tokenizer.eos_token_id
        assert settings.pad_token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert tokenizer.eos_token == "<|endoftext|>"

    text = "Select the cells, then choose"
    prompt = tokenizer(text, return_tensors="pt")
    made = model.generate(**prompt, do_sample=False, min_new_tokens=8, max_new_tokens=8)[0]
    assert made.shape == (prompt["input_ids"].shape[1] + 8,)
    assert tokenizer.decode(made).startswith(text)
    assert len(set(made[-8:].tolist())) > 1


def test_model_card():
    card = (ADAPTED / "README.md").read_text(encoding="utf-8")
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "apache-2.0"
    assert [name for name in ("smollm2-135m", "demo-16k", "fitted", "stage2") if name not in body] == []


class References(HTMLParser):
    """Collects what a page loads to be shown: sources of elements, style sheets and addresses within styles."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.within = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.within = tag
        values = dict(attributes)
        self.found += [values[name] or "" for name in ("src", "srcset", "data", "poster") if name in values]
        if tag == "link":
            self.found.append(values.get("href") or "")
        self.found += re.findall(r"url\(\s*['\"]?([^'\")]+)", values.get("style") or "")

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within == "style":
            self.found += re.findall(r"url\(\s*['\"]?([^'\")]+)", data) + re.findall(r"@import\s+['\"]([^'\"]+)", data)


def test_report_needs_no_network():
    page = (RESULTS / "report.html").read_text(encoding="utf-8")
    references = References()
    references.feed(page)
    assert [place for place in references.found if re.match(r"\s*(https?:)?//", place)] == []
    for name in (
        "summary.html",
        "results.html",
        "bits_per_byte.html",
        "compression.svg",
        "machine_translation.svg",
        "report.json",
    ):
        assert name in page


def test_every_suite_compares_source_and_adapted_on_the_same_items():
    suites = ("perplexity", "tasks", "choices", "translation", "generation", "efficiency")
    for suite in suites:
        table = rows("comparison", suite=suite)
        assert {row["role"] for row in table} >= {"source", "adapted"}
        assert all(float(row["n"]) > 0 for row in table)
        compared = [row for row in table if row["role"] == "adapted" and row["difference"]]
        assert compared
        assert all(row["baseline"] == "source" for row in compared)
    tested = rows("comparison", role="adapted", metric="bits_per_byte", **ALL)
    assert len(tested) == 1
    assert float(tested[0]["difference_ci_low"]) <= float(tested[0]["difference"]) <= float(tested[0]["difference_ci_high"])
    assert 0 < float(tested[0]["p"]) <= float(tested[0]["p_corrected"]) <= 1


def test_summary_answers_in_five_lines():
    text = (RESULTS / "summary.md").read_text(encoding="utf-8")
    heads = ("Tokens saved", "Quality", "Speed", "What failed", "What to do next")
    assert [f"{number}. **{head}:**" in text for number, head in enumerate(heads, 1)] == [True] * 5
    assert "not measured" not in text


def test_criteria_have_outcomes():
    assert {row["passed"] for row in rows("criteria")} <= {"yes", "no"}
    assert len({row["criterion"] for row in rows("criteria")}) == 3


def test_report_checks_itself():
    """The parser of the test above sees what it is to find."""
    references = References()
    references.feed(
        '<script src="https://a/b.js"></script><link href="//c/d.css"><style>@import "http://e"; a{background:url(http://f)}</style>'
    )
    assert references.found == ["https://a/b.js", "//c/d.css", "http://f", "http://e"]


def test_no_half_written_file_is_left():
    assert [path for path in RESULTS.rglob("*") if ".partial-" in path.name] == []


def test_checkpoint_is_complete():
    names = {path.name for path in Path(ADAPTED).iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {"README.md", "metrics.jsonl", "training.json"} <= names
    assert not list((ROOT / "work").glob("adapted/**/checkpoint-*"))
