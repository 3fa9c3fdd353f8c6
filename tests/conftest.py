"""Fixtures that many tests share. Torch runs on one thread: two on a busy machine are slower."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from checkpoints import Folders, tiny_llama

torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(20250722)


@pytest.fixture
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A tiny base, a full fine-tune and an adapter of it, as folders."""
    return tiny_llama(tmp_path_factory.mktemp("models"))
