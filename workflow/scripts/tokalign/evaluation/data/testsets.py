"""Test sets as the suites read them: items, described by the metadata of their file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tokalign.common.errors import ArtifactError
from tokalign.common.files import atomic_file, sha256_file, sha256_json

ABOUT = ("name", "kind", "language", "domain")
METADATA = b"testset"
"""Key of the Parquet file's metadata with the JSON of name, kind, language and domain."""


@dataclass(frozen=True)
class Testset:
    """A test set as the suites read it.

    Attributes:
        name: name of its block.
        kind: ``parallel``, ``choices`` or ``prompts``.
        language: language code; for a parallel set the codes of all languages, joined by hyphens.
        domain: kind of text.
        items: table with ``id`` and the columns of the kind.
    """

    __test__ = False  # pytest takes the name for a test

    name: str
    kind: str
    language: str
    domain: str
    items: pa.Table

    def about(self) -> dict[str, str]:
        """Return all attributes except the items."""
        return {key: getattr(self, key) for key in ABOUT}


def write_testset(path: str | Path, testset: Testset) -> None:
    """Write the items of a test set, with its description in the file's metadata."""
    described = json.dumps(testset.about(), sort_keys=True, ensure_ascii=False).encode()
    with atomic_file(path) as partial:
        pq.write_table(testset.items.replace_schema_metadata({METADATA: described}), partial, compression="zstd")


def read_testset(path: str | Path, kind: str) -> Testset:
    """Read the items of a test set.

    Args:
        path: ``items.parquet``.
        kind: expected kind.

    Raises:
        ArtifactError: the file is missing or damaged, or not a test set of this kind.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file", mend="prepare the test set first") from error
    except pa.ArrowException as error:
        raise ArtifactError(f"{path}: not a readable Parquet file", found=error, mend="make it again") from error
    try:
        about = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
    except ValueError:
        about = None
    if not isinstance(about, dict) or set(about) != set(ABOUT):
        raise ArtifactError(
            f"{path}: does not say what test set it is",
            found=f"metadata {about}",
            expected=", ".join(ABOUT),
            mend="prepare the test set again, with this version",
        )
    if about["kind"] != kind or not table.num_rows:
        raise ArtifactError(
            f"{path}: not a test set of the kind {kind}",
            found=f"{table.num_rows} items of the kind {about['kind']}",
            expected=f"items of the kind {kind}",
            mend="prepare the test set again",
        )
    return Testset(**about, items=table.replace_schema_metadata())


def digest_of_testsets(testsets: Sequence[Testset], paths: Sequence[str | Path]) -> str:
    """Return one SHA-256 of several test sets.

    Args:
        testsets: the test sets.
        paths: their files.
    """
    return sha256_json({testset.name: sha256_file(path) for testset, path in zip(testsets, paths, strict=True)})
