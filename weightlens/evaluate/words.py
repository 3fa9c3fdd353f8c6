"""A tokenizer and chat template: what a model is told, and what its tokens say."""

from collections.abc import Sequence
from typing import Any

from weightlens.errors import EvaluationError
from weightlens.evaluate.thinking import spoken


class Words:
    """The tokenizer and chat template of a model, with what is to be known of it to ask it.

    label: what the user calls the model. ends: tokens that end an answer. pad: the token that fills
    a row. context: tokens that the model can hold, None where its config does not tell.
    """

    def __init__(self, tokenizer: Any, label: str, *, config: Any, generation: Any) -> None:
        """config, generation: transformers' of the model. Raises EvaluationError without a chat
        template, and without a token that ends answers."""
        if not tokenizer.chat_template:
            raise EvaluationError(
                f"{label}: its tokenizer has no chat template; give one (--chat-template FILE; for "
                "a base model, a file with {{ messages[0]['content'] }} asks as it is)"
            )
        self.tokenizer, self.label = tokenizer, label
        self.ends = _end_tokens(generation, tokenizer, label)
        known = tokenizer.pad_token_id
        self.pad = known if known is not None else self.ends[0]
        text_config = config.get_text_config(decoder=True)
        self.context: int | None = getattr(text_config, "max_position_embeddings", None)
        self._rows: int = text_config.vocab_size

    def render(self, prompt: str) -> str:
        """The text that the model is given when the user says `prompt`."""
        message = [{"role": "user", "content": prompt}]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    message, add_generation_prompt=True, tokenize=False
                )
            )
        except Exception as error:  # a template raises what it likes
            reason = str(error).strip().split("\n")[0]
            raise EvaluationError(f"{self.label}: its chat template fails ({reason})") from error

    def encode(self, rendered: str) -> list[int]:
        """Tokens of a rendered text, nothing added. Raises EvaluationError for a token that the
        model has no embedding of."""
        tokens: list[int] = self.tokenizer.encode(rendered, add_special_tokens=False)
        beyond = next((token for token in tokens if token >= self._rows), None)
        if beyond is not None:
            raise EvaluationError(
                f"{self.label}: token {beyond} ({self.tokenizer.decode([beyond])!r}) of its "
                f"tokenizer lies beyond the {self._rows} rows of its embedding; the tokenizer is "
                "of another model, or the embedding was not resized"
            )
        return tokens

    def said(self, tokens: Sequence[int]) -> str:
        """The text of generated tokens, up to the first that ends an answer."""
        end = next((i for i, token in enumerate(tokens) if token in self.ends), len(tokens))
        return str(self.tokenizer.decode(tokens[:end], skip_special_tokens=False))

    def spoken(self, rendered: str, raw: str) -> str:
        """What was said in answer to a rendered prompt, without the thinking."""
        return spoken(raw, rendered, self.tokenizer.all_special_tokens)


def _end_tokens(generation: Any, tokenizer: Any, label: str) -> list[int]:
    configured = generation.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    found = [*dict.fromkeys(e for e in [*ends, tokenizer.eos_token_id] if e is not None)]
    if not found:
        raise EvaluationError(f"{label}: it has no end-of-sequence token; set one in its config")
    return found
