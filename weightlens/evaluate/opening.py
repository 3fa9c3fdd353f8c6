"""A model made ready to be asked, with the backend that a user names."""

from typing import Literal

from weightlens.evaluate.asking import Speaker
from weightlens.evaluate.backends.backend import Backend
from weightlens.evaluate.backends.packing import pack_linears
from weightlens.evaluate.backends.static import StaticBatching
from weightlens.evaluate.chat import Chat, Loading, load_chat
from weightlens.hub import Resolved

BackendName = Literal["static", "continuous", "vllm"]


def open_speaker(
    at: Resolved, loading: Loading, backend: BackendName = "static", batch_size: int | None = None
) -> Speaker:
    """Loads a model. Raises EvaluationError for a backend that is not installed or cannot."""
    if backend == "vllm":
        from weightlens.evaluate.backends.vllm import open_vllm

        words, engine = open_vllm(at, loading)
        return Speaker(words, engine, batch_size)
    chat = load_chat(at.path, adapters=at.adapters, label=at.label, loading=loading)
    return Speaker(chat.words, _backend(chat, backend), batch_size)


def _backend(chat: Chat, name: BackendName) -> Backend:
    if name == "continuous":
        from weightlens.evaluate.backends.continuous import ContinuousBatching

        return ContinuousBatching(chat)
    pack_linears(chat.model)
    return StaticBatching(chat)
