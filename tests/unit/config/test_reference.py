"""config/README.md and the schema for editors agree with the types, the examples are valid, and so are the presets."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tokalign.common.errors import InputError
from tokalign.config.experiments import expand
from tokalign.config.reference import BEGIN, END, documented, named_blocks, reference, schema_text, tables
from tokalign.config.schema import json_schema, resolved
from tokalign.config.validation import validate

ROOT = Path(__file__).resolve().parents[3]
SCHEMA_FILE = ROOT / "workflow/schemas/config.schema.yaml"
README = ROOT / "config/README.md"
SCHEMA = json_schema()
DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
SNIPPETS = re.findall(r"^```yaml\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
PRESETS = sorted((ROOT / "config/presets").glob("*.yaml"))


def merged(fragment):
    """The demo with the blocks of a fragment added to it; its experiments, if it has any, replace the demo's."""
    config = dict(DEMO)
    for section, value in fragment.items():
        config[section] = {**DEMO.get(section, {}), **value} if isinstance(value, dict) else value
    return config


def run(*arguments):
    script = ROOT / "workflow/scripts/commands/config/document_config.py"
    return subprocess.run([sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True)


def test_the_page_is_up_to_date():
    page = README.read_text(encoding="utf-8")
    assert documented(page, SCHEMA, "config/README.md") == page, "run: make docs"


def test_the_schema_for_editors_is_up_to_date():
    text = SCHEMA_FILE.read_text(encoding="utf-8")
    assert text == schema_text(), "run: make docs"
    assert yaml.safe_load(text) == SCHEMA


def test_every_key_of_the_schema_is_in_the_page():
    page = README.read_text(encoding="utf-8").split(BEGIN)[1]
    blocks = SCHEMA["$defs"].items()
    leaves = [
        (name, key) for name, block in blocks for key, sub in block["properties"].items()
        if "properties" not in resolved(sub, SCHEMA) or reference(sub) in named_blocks(SCHEMA)
    ]  # fmt: skip
    assert len(leaves) > 60
    for name, key in leaves:
        assert re.search(rf"^\| `(\w+\.)*{key}` \|", page, flags=re.MULTILINE), f"{key} of {name}"


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_are_valid(number):
    fragment = yaml.safe_load(SNIPPETS[number])
    assert set(fragment) <= set(SCHEMA["properties"])
    validate(merged(fragment))


def test_there_are_snippets():
    assert len(SNIPPETS) >= 7


def test_the_comparison_has_as_many_runs_as_it_says():
    snippet = next(yaml.safe_load(s) for s in SNIPPETS if "brief:" in s)
    assert len(expand(validate(merged(snippet)))) == 6


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_bounded_and_the_editor_finds_their_schema(path):
    text = path.read_text(encoding="utf-8")
    schema = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert (path.parent / schema[1]).resolve() == SCHEMA_FILE
    config = validate(yaml.safe_load(text))
    for corpus in config["corpora"].values():
        sources = corpus["sources"].values()
        assert all(source["max_bytes"] for source in sources)
        assert sum(source["max_bytes"] for source in sources) >= (corpus["byte_budget"] or 0)
    assert path.name in README.read_text(encoding="utf-8")


def test_there_are_presets():
    assert [path.stem for path in PRESETS] == ["pythia-1b-gemma", "pythia-1b-llama3", "pythia-1b-qwen2", "tokalign-baseline"]


@pytest.mark.parametrize("tokenizer", ["gemma", "llama3", "qwen2"])
def test_presets_have_the_mixture_and_the_steps_of_the_paper(tokenizer):
    config = validate(yaml.safe_load((ROOT / f"config/presets/pythia-1b-{tokenizer}.yaml").read_text(encoding="utf-8")))
    shares = {}
    for source in config["corpora"]["mix"]["sources"].values():
        shares[source["domain"]] = shares.get(source["domain"], 0) + source["weight"]
    assert shares == {"web": 120, "code": 90, "mathematics": 90}  # 40 : 30 : 30
    cultura = [s for s in config["corpora"]["mix"]["sources"].values() if s["hub"] == "uonlp/CulturaX"]
    assert len({s["subset"] for s in cultura}) == len({s["language"] for s in cultura}) == 30
    recipe = config["recipes"]["paper"]
    assert recipe["block"] == 2048
    chosen = [
        (s["train"], s["steps"], s["learning_rate"], s["batch_tokens"], s["schedule"], s["warmup_ratio"], s["weight_decay"],
         s["max_grad_norm"], s["precision"])
        for s in recipe["stages"]
    ]  # fmt: skip
    common = (1024 * 2048, "cosine", 0.03, 0.01, 0.3, "bfloat16")
    assert chosen == [("embeddings", 2500, 6.4e-4, *common), ("all", 2500, 5e-5, *common)]
    glove = config["vectors"]["glove"]
    assert (glove["count"]["window"], glove["count"]["min_count"], glove["glove"]["dimensions"]) == (15, 5, 300)
    assert (glove["glove"]["iterations"], glove["glove"]["x_max"], glove["glove"]["alpha"]) == (15, 10, 0.75)
    assert config["alignments"]["tokalign"]["relative"]["pivots"] == 300


SMALL = {
    "type": "object",
    "properties": {
        "boxes": {"type": "object", "additionalProperties": {"$ref": "#/$defs/box"}},
        "spares": {"type": "array", "items": {"$ref": "#/$defs/box"}},
    },
    "$defs": {
        "label": {"description": "A word | two words.", "type": "string", "default": "none"},
        "box": {
            "description": "A box.",
            "type": "object",
            "required": ["width"],
            "properties": {
                "width": {
                    "description": "From side to side. [cm]",
                    "type": ["number", "null"],
                    "exclusiveMinimum": 0,
                    "maximum": 9,
                },
                "label": {"$ref": "#/$defs/label"},
                "lid": {
                    "type": "object",
                    "required": ["kind"],
                    "properties": {"kind": {"enum": ["flat", "round"]}, "holes": {"type": "array", "items": {"type": "integer"}}},
                },
            },
        },
    },
}
TABLE = """### `boxes.NAME`, `spares[]`

A box.

| key | type | unit | default | meaning |
|---|---|---|---|---|
| `width` | number > 0, <= 9 or `null` | cm | required | From side to side. |
| `label` | text |  | `none` | A word \\| two words. |
| `lid.kind` | `flat` or `round` |  | required with `lid` |  |
| `lid.holes` | list of whole numbers |  |  |  |"""


def test_a_table_written_by_hand():
    assert tables(SMALL) == TABLE


def test_only_what_stands_between_the_markers_is_replaced():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert documented(page, SMALL, "page") == f"before\n{BEGIN}\n\n{TABLE}\n\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["nothing", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_one_place_is_refused(page):
    with pytest.raises(InputError, match="no place for the tables"):
        documented(page, SMALL, "page")


def test_check_says_which_files_are_out_of_date_and_the_command_mends_them(tmp_path):
    page, schema = tmp_path / "page.md", tmp_path / "schema.yaml"
    schema.write_text("{}\n")
    page.write_text(f"# Page\n{BEGIN}\n{END}\n")
    stale = run("--schema", schema, "--readme", page, "--check")
    assert (stale.returncode, page.read_text(), schema.read_text()) == (1, f"# Page\n{BEGIN}\n{END}\n", "{}\n")
    assert str(page) in stale.stderr and str(schema) in stale.stderr and "make docs" in stale.stderr
    assert run("--schema", schema, "--readme", page).returncode == 0
    assert "| `byte_budget` |" in page.read_text() and yaml.safe_load(schema.read_text()) == SCHEMA
    assert run("--schema", schema, "--readme", page, "--check").returncode == 0
    schema.unlink()
    assert run("--schema", schema, "--readme", page, "--check").returncode == 1


def test_a_missing_page_is_named(tmp_path):
    result = run("--schema", SCHEMA_FILE, "--readme", tmp_path / "none.md")
    assert result.returncode == 1 and "none.md: no such file" in result.stderr
