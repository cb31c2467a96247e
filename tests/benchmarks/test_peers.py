"""Peers of the benchmark of initial models: the folder that they write, and the text that they are given."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from support.project import ROOT, write_model, write_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

PEERS = ROOT / "benchmarks" / "initialization" / "peers"
TEXTS = ["the model reads text", "der wert der welt liest", "a vector and a matrix of rows"]


@pytest.fixture
def peer(monkeypatch):
    """Call a peer's command in this process."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(PEERS))

    def call(name: str, *options: object) -> None:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, options)])
        importlib.import_module(name).main()

    yield call
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__).parent == PEERS:
            del sys.modules[name]


def write_source(folder: Path, size: int) -> torch.Tensor:
    """Save a tiny model with its tokenizer; return its embedding."""
    write_tokenizer(folder, TEXTS, size)
    write_model(folder, rows=size)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).get_input_embeddings().weight.detach()


@pytest.mark.parametrize(("source", "target"), [(270, 290), (290, 270)])
@pytest.mark.parametrize("method", ["mean_resizing", "initializer"])
def test_resize_keeps_rows_by_id(tmp_path, peer, source, target, method):
    old = write_source(tmp_path / "model", source)
    write_tokenizer(tmp_path / "tokenizer", TEXTS, target)
    output = tmp_path / "output"
    peer("resize", "--model", tmp_path / "model", "--tokenizer", tmp_path / "tokenizer", "--output", output, "--method", method)
    model = AutoModelForCausalLM.from_pretrained(output)
    rows = model.get_input_embeddings().weight.detach()
    shared = min(source, target)
    assert rows.shape == (target, old.shape[1])
    assert torch.equal(rows[:shared], old[:shared])
    assert torch.equal(rows, model.get_output_embeddings().weight)
    if method == "mean_resizing" and target > source:
        torch.testing.assert_close(rows[source:], old.mean(0).expand(target - source, -1), atol=1e-4, rtol=0)
    assert (output / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer" / "tokenizer.json").read_bytes()
    assert model.config.eos_token_id == AutoTokenizer.from_pretrained(output).eos_token_id
    assert json.loads((output / "peer.json").read_text())["rows_kept"] == shared


def test_an_existing_output_is_kept(tmp_path, peer, capsys):
    write_source(tmp_path / "model", 270)
    (tmp_path / "output").mkdir()
    with pytest.raises(SystemExit):
        peer("resize", "--model", tmp_path / "model", "--tokenizer", tmp_path / "model", "--output", tmp_path / "output")
    assert "remove it or name another folder" in capsys.readouterr().err
    assert list((tmp_path / "output").iterdir()) == []


def test_donor_has_the_target_vocabulary_and_a_row_for_each_id(tmp_path, peer):
    write_tokenizer(tmp_path / "tokenizer", TEXTS, 280)
    importlib.import_module("tokensurgeon").write_donor(tmp_path / "tokenizer", tmp_path / "donor")
    donor = AutoModelForCausalLM.from_pretrained(tmp_path / "donor")
    assert donor.get_input_embeddings().weight.shape[0] == 280
    vocabularies = [AutoTokenizer.from_pretrained(tmp_path / name).get_vocab() for name in ("tokenizer", "donor")]
    assert vocabularies[0] == vocabularies[1]


def test_sentencepiece_donor_gets_the_class_that_mergekit_knows(tmp_path, peer):
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<unk>", "<s>", "</s>", *(f"▁{number}" for number in range(150)), "▁", *"0123456789"]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, [], unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.decoder = normalizers.Replace(" ", "▁"), decoders.Replace("▁", " ")
    generic = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    generic.save_pretrained(tmp_path / "tokenizer")
    importlib.import_module("tokensurgeon").write_donor(tmp_path / "tokenizer", tmp_path / "donor")
    donor = AutoTokenizer.from_pretrained(tmp_path / "donor")
    assert type(donor).__name__.startswith("LlamaTokenizer")
    assert donor.get_vocab() == generic.get_vocab()


def test_sample_leaves_out_the_end_of_each_file(tmp_path, peer):
    for name in "ab":
        lines = [json.dumps({"id": number, "text": f"{name}{number:03d}"}) + "\n" for number in range(101)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    # a line is {"text": "a000"} and a newline: 17 bytes; 1700 bytes are 50 documents of each file
    peer("sample_corpus", "--files", *files, "--output", tmp_path / "out.jsonl", "--bytes", 1700, "--hold-out", 0.05)
    texts = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(list(record) == ["text"] for record in texts)
    drawn = [record["text"] for record in texts]
    assert [sum(text.startswith(name) for text in drawn) for name in "ab"] == [50, 50]
    assert drawn == sorted(set(drawn))
    # 5 % of 101 documents, rounded up, are the last six: numbers 95 to 100
    assert max(int(text[1:]) for text in drawn) <= 94
