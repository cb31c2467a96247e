"""Corpora: documents sampled, de-duplicated, split and shuffled by the hash of their text.

A document's 128-bit hash decides everything, so the result depends only on the documents and the seed, not on file order or
parallelism: equal texts meet in one place (exact de-duplication within and across splits), a document is held out in every
corpus that uses the same fraction, and the order in a shard is a seeded shuffle. Memory grows with the number of documents
(28 bytes each) and the size of one shard, not with the size of the corpus.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokalign.common.errors import InputError
from tokalign.common.files import sha256_file
from tokalign.common.progress import Progress
from tokalign.config.corpora import CorpusSettings
from tokalign.text.documents import read_documents

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("language", pa.string()), ("domain", pa.string()), ("source", pa.string())]
)
VALIDATION = "validation"


@dataclass(frozen=True)
class Source:
    """A named source of documents.

    Attributes:
        name: name of the source within its corpus.
        files: paths in any order.
        text_field: field or column of the text.
        language: code of the language.
        domain: kind of text.
        license: SPDX identifier.
        weight: share of the corpus's bytes relative to the other sources; ``None`` weights by size.
    """

    name: str
    files: tuple[str, ...]
    text_field: str
    language: str
    domain: str
    license: str
    weight: float | None


@dataclass
class _Scan:
    """Result of the first pass over a source: one entry per document, in reading order."""

    hashes: np.ndarray
    sizes: np.ndarray
    dropped: Counter[str] = field(default_factory=Counter)


def document_hash(text: str) -> bytes:
    """Return the 16-byte identity of a text: BLAKE2b of its UTF-8 bytes."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def _documents(source: Source, dropped: Counter[str], min_characters: int) -> Iterator[tuple[bytes, str]]:
    """Yield (hash, text) of a source's documents that are long enough."""
    for path in sorted(source.files):
        for text in read_documents(path, source.text_field, dropped):
            if max(text) >= "\ud800" and any("\ud800" <= c <= "\udfff" for c in text):
                dropped["unpaired_surrogate"] += 1
            elif len(text) < min_characters:
                dropped["too_short"] += 1
            else:
                yield document_hash(text), text


def _scan(source: Source, settings: CorpusSettings, progress: Progress) -> _Scan:
    dropped: Counter[str] = Counter()
    hashes, sizes = bytearray(), []
    for digest, text in _documents(source, dropped, settings.min_characters):
        size = len(text.encode("utf-8"))
        hashes += digest
        sizes.append(size)
        progress.advance(size)
    if not sizes:
        found = f"no usable document in {len(source.files)} file(s)" + (f" ({dict(dropped)} dropped)" if dropped else "")
        raise InputError(
            f"source {source.name!r}: an empty corpus",
            found=found,
            expected="documents with text",
            mend="check " + ", ".join(source.files[:3]),
        )
    return _Scan(
        np.frombuffer(bytes(hashes), dtype=">u8").reshape(-1, 2).astype(np.uint64), np.array(sizes, dtype=np.int64), dropped
    )


def _mix(values: np.ndarray, seed: int) -> np.ndarray:
    """Return a seeded pseudo-random uint64 per uint64 (splitmix64): one hash serves several draws."""
    with np.errstate(over="ignore"):
        z = values + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) & 0xFFFFFFFFFFFFFFFF)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def share_budget(sizes: Mapping[str, int], weights: Mapping[str, float | None], budget: int | None) -> dict[str, int]:
    """Return how many bytes to take from each source.

    With a budget, each source gets its share by weight; if a source is too small, the others share the rest in the same
    proportions. Without a budget, weights give the largest corpus with these proportions; without weights as well,
    everything is taken.

    Args:
        sizes: bytes available in each source.
        weights: relative weights; ``None`` for all sources weights by size.
        budget: bytes in all, or ``None``.

    Returns:
        Bytes for each source, at most its size.
    """
    shares = {name: float(sizes[name] if weights[name] is None else weights[name]) for name in sizes}
    if budget is None:
        if all(weight is None for weight in weights.values()):
            return dict(sizes)
        scale = min(sizes[name] / shares[name] for name in sizes)
        return {name: min(sizes[name], round(scale * shares[name])) for name in sizes}
    taken: dict[str, int] = {}
    open_names, left = list(sizes), min(budget, sum(sizes.values()))
    while open_names:
        total = sum(shares[name] for name in open_names)
        full = [name for name in open_names if sizes[name] <= left * shares[name] / total]
        if not full:
            return taken | {name: int(left * shares[name] / total) for name in open_names}
        for name in full:
            taken[name] = sizes[name]
        left -= sum(sizes[name] for name in full)
        open_names = [name for name in open_names if name not in full]
    return taken


def _choose(scans: dict[str, _Scan], sources: list[Source], settings: CorpusSettings) -> dict[str, np.ndarray]:
    """Return each source's mask of documents to keep: first of equal texts, within its share."""
    names = [source.name for source in sources]
    every = np.concatenate([scans[name].hashes for name in names])
    _, first = np.unique(every, axis=0, return_index=True)
    unique = np.zeros(len(every), dtype=bool)
    unique[first] = True
    masks, start = {}, 0
    for name in names:
        scan = scans[name]
        masks[name] = unique[start : start + len(scan.sizes)].copy()
        start += len(scan.sizes)
        scan.dropped["duplicate"] += int((~masks[name]).sum())
    available = {name: int(scans[name].sizes[masks[name]].sum()) for name in names}
    empty = [name for name in names if not available[name]]
    if empty:
        raise InputError(
            f"source {empty[0]!r}: all its documents are also in earlier sources",
            found=f"{len(masks[empty[0]])} documents, all of them duplicates",
            expected="text that no earlier source has",
            mend="remove the source from the corpus",
        )
    shares = share_budget(available, {source.name: source.weight for source in sources}, settings.byte_budget)
    for name in names:
        scan, mask = scans[name], masks[name]
        if shares[name] >= available[name]:
            continue
        order = np.flatnonzero(mask)
        order = order[np.argsort(_mix(scan.hashes[order, 0], settings.seed), kind="stable")]
        over = order[np.cumsum(scan.sizes[order]) > shares[name]]
        mask[over] = False
        scan.dropped["over_budget"] += len(over)
    return masks


def _place(hashes: np.ndarray, settings: CorpusSettings) -> np.ndarray:
    """Return each document's shard: -1 for validation (by unseeded hash), else 0 ... shards - 1."""
    held_out = hashes[:, 1] < np.uint64(settings.validation_fraction * 2.0**64)
    shard = (_mix(hashes[:, 1], settings.seed) % np.uint64(settings.shards)).astype(np.int64)
    return np.where(held_out, -1, shard)


class _Spill:
    """Temporary storage of documents: one Arrow stream file per shard, in reading order."""

    def __init__(self, folder: Path, shards: int):
        """Open a file for each shard and one for validation."""
        self.paths = {shard: folder / f"spill-{shard}.arrows" for shard in range(-1, shards)}
        self.rows: dict[int, list[tuple[str, ...]]] = {shard: [] for shard in self.paths}
        self.writers = {shard: pa.ipc.new_stream(path, SCHEMA) for shard, path in self.paths.items()}

    def add(self, shard: int, row: tuple[str, ...]) -> None:
        """Append a row to a shard."""
        self.rows[shard].append(row)
        if len(self.rows[shard]) >= 1024:
            self._flush(shard)

    def _flush(self, shard: int) -> None:
        if self.rows[shard]:
            columns = [pa.array(column, pa.string()) for column in zip(*self.rows[shard], strict=True)]
            self.writers[shard].write_batch(pa.record_batch(columns, schema=SCHEMA))
            self.rows[shard] = []

    def close(self) -> None:
        """Write what is buffered and close all files."""
        for shard, writer in self.writers.items():
            self._flush(shard)
            writer.close()

    def abandon(self) -> None:
        """Close the files without writing what is buffered."""
        for writer in self.writers.values():
            writer.close()


def _write_shards(spill: _Spill, out: Path, settings: CorpusSettings) -> dict[str, dict[str, Any]]:
    """Shuffle each shard, write it as Parquet, and return figures by shard name."""
    shards = {}
    for shard, path in spill.paths.items():
        name = VALIDATION if shard < 0 else f"train-{shard:05d}"
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            table = reader.read_all()
            hashes = np.array([int(i[:16], 16) for i in table["id"].to_pylist()], dtype=np.uint64)
            table = table.take(pa.array(np.argsort(_mix(hashes, settings.seed + 1), kind="stable")))
            file = out / f"{name}.parquet"
            pq.write_table(table, file, compression="zstd", row_group_size=1000)
        path.unlink()
        size = int(sum(len(text.encode()) for text in table["text"].to_pylist()))
        shards[name] = {"documents": table.num_rows, "bytes": size, "sha256": sha256_file(file)}
    return shards


def prepare_corpus(sources: list[Source], settings: CorpusSettings, out: Path) -> dict[str, Any]:
    """Write a corpus's shards into a folder and return its manifest.

    Args:
        sources: at least one; of equal texts the first in this order is kept.
        settings: settings of the corpus.
        out: an existing empty folder; gets ``train-00000.parquet`` ... and ``validation.parquet``.

    Returns:
        The manifest: documents and bytes by source and by shard, digests, licenses, what was dropped and why.

    Raises:
        InputError: a file cannot be read, a source has no documents, or a split would be empty.
    """
    progress = Progress("reading (first pass)", None, "bytes")
    scans = {source.name: _scan(source, settings, progress) for source in sources}
    progress.close()
    masks = _choose(scans, sources, settings)
    spill = _Spill(out, settings.shards)
    kept: dict[str, dict[str, Any]] = {}
    total = sum(int(scans[name].sizes[mask].sum()) for name, mask in masks.items())
    progress = Progress("writing (second pass)", total, "bytes")
    try:
        for source in sources:
            scan, mask = scans[source.name], masks[source.name]
            places = _place(scan.hashes, settings)
            first_pass = zip(mask, places, scan.sizes, scan.hashes.astype(">u8"), strict=True)
            documents = itertools.zip_longest(_documents(source, Counter(), settings.min_characters), first_pass)
            for document, known in documents:
                if document is None or known is None or document[0] != known[3].tobytes():
                    raise InputError(
                        f"source {source.name!r}: its files changed while they were read",
                        mend="run again when nothing writes to them",
                    )
                keep, place, size, _ = known
                if keep:
                    digest, text = document
                    spill.add(int(place), (digest.hex(), text, source.language, source.domain, source.name))
                    progress.advance(int(size))
            kept[source.name] = {
                "documents": int(mask.sum()), "bytes": int(scan.sizes[mask].sum()), "read_documents": len(mask) + sum(scan.dropped[why] for why in ("empty", "too_short", "unpaired_surrogate")),
                "dropped": dict(scan.dropped), "validation_documents": int((mask & (places < 0)).sum()),
                "language": source.language, "domain": source.domain, "license": source.license,
                "files": {Path(path).name: {"bytes": Path(path).stat().st_size, "sha256": sha256_file(path)} for path in sorted(source.files)},
            }  # fmt: skip
        spill.close()
    except BaseException:
        spill.abandon()
        raise
    shards = _write_shards(spill, out, settings)
    progress.close()
    for name, shard in shards.items():
        if not shard["documents"]:
            mend = "raise `validation_fraction`" if name == VALIDATION else "lower `shards`"
            raise InputError(
                f"split {name} got no document",
                found=f"{sum(map(len, masks.values()))} documents read",
                mend=f"{mend}, or give more text",
            )
    return {
        "documents": sum(shard["documents"] for shard in shards.values()), "bytes": sum(shard["bytes"] for shard in shards.values()),
        "sources": kept, "shards": shards, "settings": settings.plain(),
    }  # fmt: skip
