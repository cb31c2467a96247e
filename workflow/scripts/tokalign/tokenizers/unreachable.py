"""Tokens that no text is made into by their own tokenizer."""

from __future__ import annotations

from typing import Any

from tokalign.tokenizers.loading import encode
from tokalign.tokenizers.vocabulary import Vocabulary, printable

EXAMPLES = 20


def unreachable_tokens(tokenizer: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    """Find tokens that their own tokenizer does not make of their own text.

    A token of text counts as unreachable if the tokenizer cuts its text otherwise, both where the text stands alone and where
    it stands behind a newline (which tells the piece ``the`` from ``▁the`` in the manner of SentencePiece). Tokens that
    are part of a character cannot be tried and are counted apart.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: its canonical bytes and kinds.

    Returns:
        ``tested``, ``unreachable`` (numbers of tokens), ``partial_characters``, ``examples`` (the first of them: ``id``, ``text``,
        ``pieces``, the texts it is cut into).
    """
    ids, texts, partial = [], [], 0
    for i, (data, kind) in enumerate(zip(vocabulary.token_bytes, vocabulary.kinds, strict=True)):
        if kind != "text" or not data:
            continue
        try:
            texts.append(data.decode("utf-8"))
            ids.append(i)
        except UnicodeDecodeError:
            partial += 1
    (newline,) = encode(tokenizer, ["\n"])
    alone = encode(tokenizer, texts)
    behind = encode(tokenizer, [f"\n{text}" for text in texts])
    missed = [
        (i, cut)
        for i, cut, after in zip(ids, alone, behind, strict=True)
        if cut != [i] and after != [*newline, i]
    ]  # fmt: skip
    data = vocabulary.token_bytes
    return {
        "tested": len(ids),
        "unreachable": len(missed),
        "partial_characters": partial,
        "examples": [
            {"id": i, "text": printable(data[i]), "pieces": [printable(data[piece]) for piece in cut]}
            for i, cut in missed[:EXAMPLES]
        ],
    }
