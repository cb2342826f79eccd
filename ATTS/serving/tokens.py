"""Text to token ids by a model's own files: ``tokenizer.json``, else its SentencePiece model.

No class of ``transformers`` takes part: from version 5 on, one can replace parts of a ``tokenizer.json`` by
its own, and the ids are then others than those the model was trained on.
"""

from typing import Protocol

from ATTS.errors import UserError
from ATTS.serving.model_folder import ModelFolder
from ATTS.serving.sentencepiece_model import SentencePieceTokens
from ATTS.serving.tokenizer_json import FileTokens


class Tokens(Protocol):
    """A vocabulary and its two ways to cut a text into tokens."""

    size: int

    def begin(self, text: str, special: bool) -> list[int]:
        """Ids of a text that starts a sequence, as the server makes them; ``special``: with begin-of-text."""
        ...

    def go_on(self, text: str) -> list[int]:
        """Ids of a text that stands behind another: no blank is put before it, nothing is normalized."""
        ...

    def piece(self, token: int) -> bytes:
        """What a token stands for; nothing if there is no such token."""
        ...

    def find(self, text: str) -> int | None:
        """The token that is written so in the vocabulary."""
        ...

    def byte(self, value: int) -> int | None:
        """The token of a single byte."""
        ...


def load(folder: ModelFolder) -> Tokens:
    """Raises UserError if the folder has no tokenizer that can be read."""
    if (folder.path / "tokenizer.json").is_file():
        return FileTokens(folder)
    if (folder.path / "tokenizer.model").is_file():
        return SentencePieceTokens(folder)
    raise UserError(
        f"{folder.source!r} has neither tokenizer.json nor the SentencePiece model tokenizer.model: save the tokenizer"
        " there with transformers, AutoTokenizer.from_pretrained(...).save_pretrained(...)"
    )
