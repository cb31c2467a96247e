"""Token shards as lines of text."""

from __future__ import annotations

import pytest
from support.shards import write_shard
from tokalign.common.errors import ArtifactError
from tokalign.vectors.token_text import write_token_text


def test_a_line_per_document(tmp_path):
    """Shards follow each other, record batches leave no trace, documents without tokens no line."""
    shards = [
        write_shard(tmp_path / "a.arrow", [[3, 0, 4_000_000_000], [], [7]], rows=2),
        write_shard(tmp_path / "b.arrow", [[1, 1]]),
    ]
    assert write_token_text(shards, tmp_path / "text") == {"documents": 3, "tokens": 6}
    assert (tmp_path / "text").read_text() == "3 0 4000000000\n7\n1 1\n"


def test_missing_shard(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.arrow: no such file"):
        write_token_text([tmp_path / "none.arrow"], tmp_path / "text")
