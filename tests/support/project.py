"""A tiny project that the whole workflow runs on in seconds per rule: a random two-layer model, its tokenizer, a corpus."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from support import snakemake_calls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]

WORDS = {
    "en": "the a model token vector matrix learns reads writes small large stage world language new old row column text",
    "de": "der die das modell wort vektor lernt liest schreibt klein gross stufe welt sprache neu alt zeile spalte text",
    "ru": "это модель слово вектор учится читает пишет малый большой мир язык новый старый строка столбец текст и в на",
}


def write_corpus(folder: Path, documents: int = 240) -> None:
    """Write a JSONL file per language with sentences of its words."""
    rng = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for language, words in WORDS.items():
        vocabulary = words.split()
        with (folder / f"{language}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(documents):
                sentences = [" ".join(rng.choices(vocabulary, k=rng.randint(4, 12))) + f" {number}." for _ in range(6)]
                file.write(json.dumps({"text": "\n".join(sentences)}, ensure_ascii=False) + "\n")


def byte_level(size: int, texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a small byte-level BPE tokenizer with an EOS token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def write_tokenizer(folder: Path, texts: list[str], size: int) -> None:
    """Train and save a small byte-level BPE tokenizer with an EOS token."""
    byte_level(size, texts).save_pretrained(folder)


def write_model(folder: Path, rows: int, eos: int = 0, seed: int = 0) -> None:
    """Save a random two-layer Llama with tied embeddings."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


STAGE = {"steps": 6, "batch_tokens": 128, "device_sequences": 2, "save_steps": 2, "gpus": 0, "precision": "float32"}
STAGE |= {"heldout_steps": 3, "heldout_bytes": 2000}

CONFIG: dict[str, Any] = {
    "corpora": {
        "tiny": {
            "sources": {name: {"files": [f"corpus/{name}*.jsonl"], "language": name} for name in WORDS},
            "validation_fraction": 0.1,
            "shards": 2,
        }
    },
    "models": {"llama": {"source": {"folder": "model"}, "tokenizer": "own"}},
    "tokenizers": {
        "own": {"source": {"folder": "tokenizer"}},
        "new": {"source": {"train": {"corpus": "tiny", "vocabulary_size": 400}}, "special_tokens": {"eos": "<|endoftext|>"}},
    },
    "vectors": {"glove": {"count": {"min_count": 1}, "glove": {"dimensions": 16, "iterations": 3}}},
    "alignments": {
        "tokalign": {"methods": ["special", "exact", "relative", "decomposed"], "vectors": "glove", "relative": {"pivots": 20}},
        "random": {"methods": ["random"]},
    },
    "recipes": {
        "short": {
            "block": 32,
            "stages": [
                {"name": "stage1", "train": "embeddings", "learning_rate": 0.00064, **STAGE},
                {"name": "stage2", "train": "all", "learning_rate": 0.00005, **STAGE},
            ],
        }
    },
    "evaluations": {
        "heldout": {
            "corpus": "tiny",
            "sample": {"bytes_per_group": 2000, "max_document_bytes": 500},
            "perplexity": {"window": 64, "stride": 32, "batch_tokens": 512, "precision": "float32"},
            "gpus": 0,
        }
    },
    "experiments": [
        {
            "name": "tiny",
            "model": "llama",
            "tokenizer": "new",
            "corpus": "tiny",
            "alignment": "tokalign",
            "baselines": ["random"],
            "recipe": "short",
            "evaluation": "heldout",
        }
    ],
}


class Project:
    """A folder with inputs and a configuration in which the workflow runs.

    Args:
        folder: an empty or new folder.
        inputs: whether to make the corpus, tokenizer and model (else the folder has them).
    """

    def __init__(self, folder: Path, *, inputs: bool = True):
        """Write the inputs and the configuration."""
        self.folder = folder
        self.config = copy.deepcopy(CONFIG)
        if inputs:
            write_corpus(folder / "corpus")
            texts = [json.loads(line)["text"] for name in ("en", "de") for line in (folder / f"corpus/{name}.jsonl").open()]
            write_tokenizer(folder / "tokenizer", texts, 320)
            write_model(folder / "model", rows=328)
        self.write()

    def write(self) -> None:
        """Write the current configuration."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))

    def command(self, *arguments: str, profile: str = "profiles/local") -> list[str]:
        """Return the command line that runs the workflow in this folder."""
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder)),
            *("--configfile", str(self.folder / "config.yaml"), "--profile", str(ROOT / profile)),
            *arguments,
        ]

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the workflow in a new process group; output goes to a pipe."""
        environment = os.environ | {"PYTHONPATH": ""}
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )

    def run(self, *arguments: str, check: bool = True, profile: str = "profiles/local") -> subprocess.CompletedProcess[str]:
        """Run the workflow to its end; with ``check``, a failure raises with the end of the output."""
        result = snakemake_calls.run(self.command(*arguments, profile=profile), self.folder)
        if check and result.returncode:
            raise AssertionError(f"snakemake exited with {result.returncode}:\n{result.stdout[-6000:]}")
        return result

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run would start."""
        output = self.run(*arguments, "-n", "--quiet", "host").stdout
        if "Job stats:" not in output:
            assert "Nothing to be done" in output, output
            return {}
        lines = output.split("Job stats:")[1].strip().splitlines()[2:]
        jobs = {}
        for line in lines:
            name, count = line.split()[:2]
            if name == "total":
                break
            jobs[name] = int(count)
        return {name: count for name, count in jobs.items() if name != "all"}
