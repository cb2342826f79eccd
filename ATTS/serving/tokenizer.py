"""A model's tokenizer, from the hub, its cache, or a local folder."""

from collections.abc import Mapping, Sequence

from ATTS.errors import UserError

_PROBE = "bought 12:\n\nWait, x = \\boxed{3}.\n\n  So"


class ModelTokenizer:
    """Encodes chunks of a chain so that they can be appended: no begin-of-text, no clean-up.

    Raises UserError if the tokenizer can't be loaded or doesn't give a chunk's text back.
    """

    def __init__(self, source: str) -> None:
        from transformers import AutoTokenizer  # brings torch along: seconds that no mistyped flag should cost

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise UserError(f"no tokenizer could be loaded from {source!r}: {error}") from error
        if self.decode(self.encode(_PROBE)) != _PROBE:
            raise UserError(
                f"the tokenizer of {source!r} changes text at the start of a chunk, so chunks can't be"
                " appended exactly; only tokenizers that give text back unchanged are supported"
            )

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def prompt(self, user: str, system: str | None = None) -> list[int]:
        """The chat template's ids up to where the assistant begins to write."""
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": user})
        return self.template(messages)

    def template(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The chat template's ids for ``messages`` and the beginning of an answer to them."""
        return self.encode(self.render(messages))  # the template's text holds any begin-of-text token already

    def render(self, messages: Sequence[Mapping[str, str]], answer: bool = True) -> str:
        """The chat template's text for ``messages`` and, unless ``answer`` is false, the beginning of an answer."""
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer))

    def plain_prompt(self, text: str) -> list[int]:
        """Ids of a text that starts a sequence, with a begin-of-text token if the model has one."""
        return list(self._tokenizer.encode(text, add_special_tokens=True))

    def decode_all(self, ids: Sequence[int]) -> str:
        """The text of a whole prompt, special tokens included."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    @property
    def size(self) -> int:
        return len(self._tokenizer)

    @property
    def end(self) -> int:
        """The end-of-text token."""
        return int(self._tokenizer.eos_token_id)
