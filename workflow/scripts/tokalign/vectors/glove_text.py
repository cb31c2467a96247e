"""Vectors in GloVe's text format: a line ``id v1 ... vn`` per token, and a row ``<unk>``.

The reader also accepts the header ``n dimensions`` of fastText and ``glove -write-header 1``, and fastText's ``</s>``.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tokalign.common.errors import InputError
from tokalign.common.files import atomic_file
from tokalign.common.progress import Progress
from tokalign.vectors.vectors import Vectors

log = logging.getLogger(__name__)

NO_TOKENS = (b"<unk>", b"unk", b"</s>")
"""Words of rows that belong to no id of the tokenizer."""
RARE = 100
"""Number of the rarest tokens whose mean vector is the row ``<unk>``, as in ``glove.c``."""


def read_glove_text(path: str | Path, vocabulary_size: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Read vectors from GloVe's text format.

    Args:
        path: a text file whose words are token ids in decimal.
        vocabulary_size: number of ids of the tokenizer.

    Returns:
        Vectors float32 (n, dimensions) and their token ids int32 (n), in the order of the file.

    Raises:
        InputError: the file is missing, holds no vector, or a line is wrong; the error names file and line.
    """
    vectors, token_ids, lines = np.empty((0, 0), np.float32), [], np.zeros(vocabulary_size, np.int64)
    skipped: list[str] = []
    progress = Progress(f"vectors read from {path}", None, "vectors")
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file", expected="vectors in GloVe's text format", mend="correct the path")
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            where, fields = f"{path} line {number}", line.split()
            if not fields or (number == 1 and _is_header(fields)):
                continue
            if not line.endswith(b"\n"):
                raise InputError(
                    f"{where}: the file ends within this line",
                    expected="a line end",
                    mend="copy or download the file again; if it is complete, add a line end",
                )
            if fields[0] in NO_TOKENS:
                skipped.append(fields[0].decode())
                continue
            token = _token(fields[0], vocabulary_size, where)
            if lines[token]:
                raise InputError(
                    f"{where}: a second vector of token {token}",
                    found=f"the first is in line {lines[token]}",
                    mend="remove one of the lines",
                )
            row = _row(fields[1:], where)
            if not token_ids:
                if len(row) < 2:
                    raise InputError(f"{where}: a vector of {len(row)} numbers", expected="at least 2", mend="correct the file")
                vectors = np.empty((vocabulary_size, len(row)), np.float32)
            if len(row) != vectors.shape[1]:
                raise InputError(
                    f"{where}: a vector of another dimension",
                    found=f"{len(row)} numbers",
                    expected=f"{vectors.shape[1]}, as in the lines above",
                    mend="correct the line, or export the vectors again",
                )
            vectors[len(token_ids)] = row
            token_ids.append(token)
            lines[token] = number
            progress.advance()
    if not token_ids:
        raise InputError(
            f"{path}: no vectors", found="an empty file" if not Path(path).stat().st_size else "no line with a token id",
            expected="a line `id v1 ... vn` for each token", mend="export the vectors again",
        )  # fmt: skip
    progress.close(f"skipped {', '.join(skipped)}" if skipped else "")
    return vectors[: len(token_ids)].copy(), np.array(token_ids, np.int32)


def _is_header(fields: list[bytes]) -> bool:
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def _token(word: bytes, vocabulary_size: int, where: str) -> int:
    """Parse a token id."""
    expected = f"a whole number from 0 to {vocabulary_size - 1}, an id of the tokenizer"
    if not word.isdigit():
        raise InputError(
            f"{where}: not a token id",
            found=repr(word[:40].decode("utf-8", "replace")),
            expected=expected,
            mend="train the vectors on token ids; those of words cannot be used",
        )
    if int(word) >= vocabulary_size:
        raise InputError(
            f"{where}: token {int(word)} is not in the vocabulary",
            expected=expected,
            mend="name the vectors of this tokenizer",
        )
    return int(word)


def _row(fields: list[bytes], where: str) -> NDArray[np.float32]:
    """Parse the numbers of a line."""
    numbers = []
    for column, field in enumerate(fields, 1):
        try:
            numbers.append(float(field))
        except ValueError as error:
            found = f"{field[:40].decode('utf-8', 'replace')!r} as number {column}"
            raise InputError(f"{where}: not a number", found=found, mend="correct the line") from error
    with np.errstate(over="ignore"):
        row = np.array(numbers, np.float32)
    wrong = ~np.isfinite(row)
    if wrong.any():
        column = int(wrong.argmax())
        found = f"{fields[column].decode()} as number {column + 1}"
        raise InputError(f"{where}: not finite", found=found, expected="finite numbers", mend="train the vectors again")
    return row


def write_glove_text(path: str | Path, vectors: Vectors, *, unknown: bool) -> None:
    """Write vectors so that ``read_glove_text`` gives the same float32 numbers.

    Args:
        path: text file to write.
        vectors: vectors in the order of writing.
        unknown: add the row ``<unk>`` at the end: the mean of the vectors of the 100 rarest tokens (``glove.c``, ``save_params``).
    """
    progress = Progress("vectors written", len(vectors.token_ids), "vectors")
    with atomic_file(path) as partial, partial.open("w", encoding="ascii") as file:
        for token, row in zip(vectors.token_ids.tolist(), vectors.vectors, strict=True):
            file.write(f"{token} {_numbers(row)}\n")
            progress.advance()
        if unknown:
            rarest = np.argsort(vectors.counts, kind="stable")[:RARE]
            mean = vectors.vectors[rarest].mean(axis=0, dtype=np.float64)
            file.write(f"<unk> {_numbers(mean)}\n")
    progress.close()


def _numbers(row: NDArray[np.floating]) -> str:
    """Format numbers with nine digits, enough to distinguish any two float32."""
    return " ".join([f"{value:.9g}" for value in row.tolist()])
