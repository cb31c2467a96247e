"""Tokens that their own tokenizer never produces."""

from __future__ import annotations

from typing import Any

from tokalign.tokenizers.loading import encode
from tokalign.tokenizers.vocabulary import Vocabulary, printable

EXAMPLES = 20


def unreachable_tokens(tokenizer: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    """Find tokens that their tokenizer does not produce from their own text.

    A text token counts as unreachable if the tokenizer splits its text differently, both alone and after a newline (which
    distinguishes the piece ``the`` from ``▁the`` in SentencePiece). Tokens that are part of a character cannot be tested
    and are counted separately.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: its canonical bytes and kinds.

    Returns:
        ``tested``, ``unreachable`` and ``partial_characters`` (numbers of tokens); ``examples``, the first unreachable tokens:
        ``id``, ``text`` and ``pieces`` (the texts it is split into).
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
