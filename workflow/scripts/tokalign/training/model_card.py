"""Model card of an adapted checkpoint: what it is, how it was made, from what, and what it cannot do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

PAPER = "Li, Zhang and Zong: TokAlign: Efficient Vocabulary Adaptation via Token Alignment. ACL 2025"


def _license(block: Mapping[str, Any]) -> str:
    """Return the license that a block or its source names, else ``unknown``."""
    source = block.get("source")
    return block.get("license") or (source.get("license") if isinstance(source, Mapping) else None) or "unknown"


def _cell(value: Any) -> str:
    """Write a value for a cell of a table."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _front_matter(license: str, languages: Sequence[str], base_model: str | None) -> list[str]:
    """Return the YAML head that model hubs read; JSON strings are YAML strings."""
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation", f"license: {json.dumps(license.lower())}"]
    if base_model:
        lines += [f"base_model: {json.dumps(base_model)}"]
    if languages:
        lines += ["language:", *(f"- {json.dumps(language)}" for language in languages)]
    return [*lines, "tags:", "- tokalign", "- vocabulary-adaptation", "---"]


def write_model_card(
    *,
    labels: Mapping[str, Any],
    model: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    corpus: Mapping[str, Any],
    recipe: Mapping[str, Any],
    training: Mapping[str, Any],
) -> str:
    """Compose the text of ``README.md`` for the folder of an adapted checkpoint.

    Args:
        labels: names of the blocks: ``model``, ``tokenizer``, ``corpus``, ``alignment``, ``recipe``, ``seed``, ``stage``.
        model: ``info.json`` of the source model.
        tokenizer: ``info.json`` of the new tokenizer.
        corpus: ``manifest.json`` of the training corpus.
        recipe: settings of the stage.
        training: how the training ran; nested values are left out.

    Returns:
        Markdown with YAML front matter; the same for the same arguments. What an argument does not say is ``unknown``.
    """
    sources: Mapping[str, Mapping[str, Any]] = corpus.get("sources", {})
    named = {source.get("language") or "" for source in sources.values()} - {"und"}
    languages = sorted(
        language for language in named if re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]+)*", language)
    )  # ISO 639, not "python"
    source = model.get("source")
    base_model = source.get("hub") if isinstance(source, Mapping) and isinstance(source.get("hub"), str) else None
    license = _license(model)
    name = " · ".join(str(labels[key]) for key in ("model", "tokenizer", "stage") if labels.get(key) is not None)
    data = [
        (key, value.get("language", "unknown"), value.get("domain", "unknown"), value.get("documents", "unknown"),
         value.get("bytes", "unknown"), value.get("license") or "unknown")
        for key, value in sorted(sources.items())
    ]  # fmt: skip
    made = [(key, value) for key, value in sorted(labels.items()) if value is not None]
    ran = [(key, value) for key, value in sorted(training.items()) if not isinstance(value, Mapping | list)]
    return "\n".join(
        [
            *_front_matter(license, languages, base_model),
            "",
            f"# {name}",
            "",
            f"The causal language model `{labels.get('model')}` with the tokenizer `{labels.get('tokenizer')}` in place of its own.",
            "It works with this tokenizer only, which lies in the same folder.",
            "",
            "## How to load",
            "",
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
            'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")',
            "```",
            "",
            "## How it was made",
            "",
            "Each token of the new tokenizer was matched to tokens of the old one; its rows of the input and output",
            "embeddings were initialized from theirs; then the model was trained on text in the new tokenizer.",
            f"The method is that of {PAPER}.",
            "",
            *_table(("block", "name"), made),
            "",
            "Source model and tokenizer:",
            "",
            *_table(
                ("what", "value"),
                [
                    ("architecture", model.get("architecture", "unknown")),
                    ("parameters of the source model", model.get("parameters", "unknown")),
                    ("source model", model.get("source", "unknown")),
                    ("tokens of the new tokenizer", tokenizer.get("size", "unknown")),
                    ("new tokenizer", tokenizer.get("source", "unknown")),
                    ("SHA-256 of the new tokenizer", tokenizer.get("sha256", "unknown")),
                    ("special tokens", tokenizer.get("roles", "unknown")),
                ],
            ),
            "",
            "Settings of this stage of the training:",
            "",
            *_table(("setting", "value"), sorted(recipe.items())),
            "",
            *(["How it ran:", "", *_table(("what", "value"), ran), ""] if ran else []),
            "## Training data",
            "",
            f"{corpus.get('documents', 'unknown')} documents, {corpus.get('bytes', 'unknown')} UTF-8 bytes, "
            "of which the training read as much as its steps say.",
            "",
            *_table(("source", "language", "domain", "documents", "bytes", "license"), data),
            "",
            "## Limits",
            "",
            "- It has what the source model learned, right and wrong, and may have lost some of it in the exchange of the",
            "  tokenizer, above all in languages and domains that the training data lacks.",
            "- Rows of tokens that are rare in the training data have hardly been trained.",
            "- Perplexity per token cannot be compared with that of the source model: the tokens differ. Bits per byte can.",
            "- An instruction-tuned source model does not keep its behavior in chats unless the training data has chats.",
            "",
            "## License",
            "",
            f"Source model: {license}. Tokenizer: {_license(tokenizer)}. The licenses of the training data are in the table",
            "above; `unknown` means that nobody has stated it: find out before you pass this model on.",
            "",
        ]
    )
