"""Tokens by a model's ``tokenizer.json``, as :class:`ATTS.serving.tokens.Tokens`."""

import json
import re
from typing import Any

from tokenizers import AddedToken, Tokenizer

from ATTS.errors import UserError
from ATTS.serving.model_folder import ModelFolder
from ATTS.serving.sentencepiece_model import BLANK

BYTE = re.compile("<0x([0-9A-F]{2})>")


class FileTokens:
    """``tokenizer.json``."""

    def __init__(self, folder: ModelFolder) -> None:
        file = folder.path / "tokenizer.json"
        described = folder.json(file.name)
        try:
            self._core = _build(described, folder)
            verbatim = _verbatim(described)
            self._verbatim = self._core if verbatim == described else _build(verbatim, folder)
        except UserError:
            raise
        except Exception as error:  # the library raises nothing more exact
            raise UserError(f"{file} can't be loaded ({error}): download the model's files again") from error
        model = described["model"]
        self._by_bytes = '"ByteLevel"' in json.dumps([described.get("pre_tokenizer"), described.get("decoder")])
        self._fallback = bool(model.get("byte_fallback"))
        parts = [described.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")]
        self._blank = BLANK if BLANK in json.dumps(parts, ensure_ascii=False) else " "
        self._added = {number: token.content for number, token in self._core.get_added_tokens_decoder().items()}
        self.size = 1 + max(self._core.get_vocab(with_added_tokens=True).values(), default=0)

    def begin(self, text: str, special: bool) -> list[int]:
        """See Vocabulary."""
        return list(self._core.encode(text, add_special_tokens=special).ids)

    def go_on(self, text: str) -> list[int]:
        """See Vocabulary."""
        return list(self._verbatim.encode(text, add_special_tokens=False).ids)

    def piece(self, token: int) -> bytes:
        """See Vocabulary."""
        text = self._added.get(token)
        if text is not None:
            return text.encode()
        text = self._core.id_to_token(token)
        if text is None:
            return b""
        if self._by_bytes:
            return bytes(_BYTES[c] for c in text) if all(c in _BYTES for c in text) else text.encode()
        if self._fallback and (one := BYTE.fullmatch(text)):
            return bytes.fromhex(one[1])
        return text.replace(self._blank, " ").encode()

    def find(self, text: str) -> int | None:
        """See Vocabulary."""
        number: int | None = self._core.token_to_id(text)
        return number

    def byte(self, value: int) -> int | None:
        """See Vocabulary."""
        if self._by_bytes:
            return self.find(_CHARACTERS[value])
        return self.find(f"<0x{value:02X}>") if self._fallback else None

    def decode(self, ids: list[int]) -> str:
        """As the file's own decoder does."""
        return str(self._core.decode(ids, skip_special_tokens=False))


def _build(described: dict[str, Any], folder: ModelFolder) -> Tokenizer:
    core = Tokenizer.from_str(json.dumps(described))
    core.no_truncation()
    core.no_padding()
    for number, text in folder.added.items():
        if core.token_to_id(text) is None:
            core.add_tokens([AddedToken(text, normalized=False)])
        if core.token_to_id(text) != number:
            raise UserError(
                f"the files of {folder.source!r} disagree: {text} is token {core.token_to_id(text)} by tokenizer.json"
                f" and {number} by tokenizer_config.json or added_tokens.json; download the model's files again"
            )
    return core


def _verbatim(described: dict[str, Any]) -> dict[str, Any]:
    """The same tokenizer without what changes a text or puts a blank before it."""
    changed: dict[str, Any] = json.loads(json.dumps(described))
    changed["normalizer"] = _only_blanks(changed.get("normalizer"))
    for part in _steps(changed.get("pre_tokenizer"), "pretokenizers"):
        if part.get("type") == "Metaspace":
            part.pop("add_prefix_space", None)
            part["prepend_scheme"] = "never"
        elif part.get("type") == "ByteLevel":
            part["add_prefix_space"] = False
    for token in changed.get("added_tokens") or ():
        token |= {"lstrip": False, "rstrip": False}
    return changed


def _only_blanks(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of a normalizer, what writes blanks as SentencePiece does."""
    kept = [
        step
        for step in _steps(normalizer, "normalizers")
        if step.get("type") == "Replace" and step.get("content") == BLANK and step.get("pattern") == {"String": " "}
    ]
    return {"type": "Sequence", "normalizers": kept} if kept else None


def _steps(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, however deep its sequences."""
    if part is None:
        return []
    if part.get("type") != "Sequence":
        return [part]
    return [step for inner in part.get(name) or () for step in _steps(inner, name)]


def _characters() -> list[str]:
    """The characters that stand for the 256 bytes in byte-level vocabularies, as GPT-2 chose them."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(value if value in shown else next(others)) for value in range(256)]


_CHARACTERS = _characters()
_BYTES = {character: value for value, character in enumerate(_CHARACTERS)}
