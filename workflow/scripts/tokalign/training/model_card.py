"""Model card of an adapted checkpoint; its text is ``model_card.md.jinja``, beside this module."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
SOURCE_KEYS = ("language", "domain", "documents", "bytes")


def _license(block: Mapping[str, Any]) -> str:
    """Return the license of a block or its source, else ``unknown``."""
    source = block.get("source")
    return block.get("license") or (source.get("license") if isinstance(source, Mapping) else None) or "unknown"


def _cell(value: Any) -> str:
    """Format a value for a table cell."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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
        Markdown with YAML front matter; it depends on the arguments alone. Missing values are ``unknown``.
    """
    sources: Mapping[str, Mapping[str, Any]] = corpus.get("sources", {})
    named = {source.get("language") or "" for source in sources.values()} - {"und"}
    languages = sorted(name for name in named if re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]+)*", name))  # ISO 639, not "python"
    source = model.get("source")
    base_model = source.get("hub") if isinstance(source, Mapping) and isinstance(source.get("hub"), str) else None
    card = ModelCard.from_template(
        ModelCardData(
            library_name="transformers",
            pipeline_tag="text-generation",
            license=_license(model).lower(),
            base_model=base_model,
            language=languages or None,
            tags=["tokalign", "vocabulary-adaptation"],
        ),
        template_path=str(TEMPLATE),
        table=_table,
        name=" · ".join(str(labels[key]) for key in ("model", "tokenizer", "stage") if labels.get(key) is not None),
        labels={"model": None, "tokenizer": None, **labels},
        blocks=[(key, value) for key, value in sorted(labels.items()) if value is not None],
        model=model,
        new_tokenizer=tokenizer,
        recipe=sorted(recipe.items()),
        training=[(key, value) for key, value in sorted(training.items()) if not isinstance(value, Mapping | list)],
        corpus=corpus,
        sources=[
            (name, *(value.get(key, "unknown") for key in SOURCE_KEYS), value.get("license") or "unknown")
            for name, value in sorted(sources.items())
        ],
        model_license=_license(model),
        tokenizer_license=_license(tokenizer),
    )
    return f"{card}\n"
