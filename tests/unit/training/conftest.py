"""What tests of the training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.training import random_blocks
from tokalign.tokens.packing import PackedBlocks


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, which is fastest for small matrices; other tests do not see it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> PackedBlocks:
    return random_blocks(tmp_path_factory.mktemp("blocks"))
