"""Tokens by a model's SentencePiece model, as :class:`ATTS.serving.tokens.Tokens`."""

import re
from collections.abc import Callable
from functools import cached_property

from ATTS.errors import UserError
from ATTS.serving.model_folder import ModelFolder

BLANK = "\u2581"  # what stands for a blank in the tokens of SentencePiece
# The normalizer {precompiled_charsmap: "", add_dummy_prefix: false, remove_extra_whitespaces: false}: behind a
# serialized model it overrides the model's own, because a message that stands twice is merged.
VERBATIM = b"\x1a\x06\x12\x00\x18\x00\x20\x00"


class SentencePieceTokens:
    """A SentencePiece model and the tokens that the folder adds to it."""

    def __init__(self, folder: ModelFolder) -> None:
        file = folder.path / "tokenizer.model"
        from sentencepiece import SentencePieceProcessor  # few folders need it

        model = file.read_bytes()
        try:
            self._core = SentencePieceProcessor(model_proto=model)
            self._verbatim = SentencePieceProcessor(model_proto=model + VERBATIM)
        except RuntimeError as error:
            raise UserError(
                f"{file} is not a SentencePiece model ({error}): download the model's files again"
            ) from error
        config = folder.config
        self._legacy = bool(config.get("legacy", False))
        self._added = folder.added
        self.size = max(int(self._core.get_piece_size()), 1 + max(self._added, default=-1))
        known = {text: number for number, text in self._added.items()}
        for text in folder.names.values():
            number = self._core.piece_to_id(text)
            if text not in known and self._core.id_to_piece(number) == text:
                known[text] = number
        self._special = known
        split = "|".join(re.escape(text) for text in sorted(known, key=len, reverse=True))
        self._split = re.compile(f"({split})") if known else None
        first, last = self._core.bos_id(), self._core.eos_id()
        self._first = [first] if first >= 0 and config.get("add_bos_token", True) else []
        self._last = [last] if last >= 0 and config.get("add_eos_token", False) else []

    def begin(self, text: str, special: bool) -> list[int]:
        """See Vocabulary."""

        def encode(part: str, at_start: bool) -> list[int]:
            return list((self._core if at_start or self._legacy else self._verbatim).encode(part))

        ids = self._parts(text, encode)
        return [*self._first, *ids, *self._last] if special else ids

    def go_on(self, text: str) -> list[int]:
        """See Vocabulary."""
        return self._parts(text, lambda part, _: list(self._verbatim.encode(part)))

    def _parts(self, text: str, encode: Callable[[str, bool], list[int]]) -> list[int]:
        """Special tokens by their ids, and what stands between them by ``encode``."""
        ids: list[int] = []
        for i, part in enumerate(self._split.split(text) if self._split else [text]):
            if i % 2:
                ids.append(self._special[part])
            elif part:
                ids += encode(part, i == 0)
        return ids

    def piece(self, token: int) -> bytes:
        """See Vocabulary."""
        text = self._added.get(token)
        if text is not None:
            return text.encode()
        if not 0 <= token < self._core.get_piece_size():
            return b""
        text = str(self._core.id_to_piece(token))
        if self._core.is_byte(token):
            return bytes([int(text[3:5], 16)])
        return text.replace(BLANK, " ").encode()

    def find(self, text: str) -> int | None:
        """See Vocabulary."""
        if text in self._special:
            return self._special[text]
        number = int(self._core.piece_to_id(text))
        return number if self._core.id_to_piece(number) == text else None

    def byte(self, value: int) -> int | None:
        """See Vocabulary."""
        return self._bytes[value]

    @cached_property
    def _bytes(self) -> list[int | None]:
        numbers = [self.find(f"<0x{value:02X}>") for value in range(256)]
        return [number if number is not None and self._core.is_byte(number) else None for number in numbers]
