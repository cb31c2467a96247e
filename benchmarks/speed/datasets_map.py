"""The usual way from text to token ids, to compare with ours: ``datasets.map``, then a text file of ids."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoTokenizer, PreTrainedTokenizerFast


def encode(batch: dict[str, list[str]], tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return the ids of a batch of texts."""
    return {"ids": tokenizer(batch["text"], add_special_tokens=False, return_attention_mask=False)["input_ids"]}


def main() -> None:
    """Tokenize and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="Parquet shards of documents")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer folder")
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the files of datasets")
    parser.add_argument("--output", type=Path, required=True, help="text file of ids, a document per line")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer, local_files_only=True)
    data = datasets.load_dataset(
        "parquet", data_files=[str(path) for path in args.text], split="train", cache_dir=str(args.cache)
    )
    tokens = data.map(
        partial(encode, tokenizer=tokenizer), batched=True, num_proc=args.processes, remove_columns=data.column_names
    )
    with args.output.open("w", encoding="ascii") as file:
        for row in tokens:
            file.write(" ".join(map(str, row["ids"])) + "\n")


if __name__ == "__main__":
    main()
