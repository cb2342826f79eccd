"""A model's tokenizer, from the hub, its cache, or a local folder."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from ATTS.errors import UnknownCharacter, UserError
from ATTS.serving import tokens
from ATTS.serving.chat_template import ChatTemplate, Thinking
from ATTS.serving.model_folder import ModelFolder
from ATTS.serving.tokenizer_json import FileTokens
from ATTS.tasks.thoughts import MARKS

# Digits, blanks at both ends and in rows, line breaks, LaTeX, a mark, Unicode.
QUESTION = {"role": "user", "content": "1 + 1?"}
ANSWER = "the-answer-stands-here"
PROBE = "  bought 12, 345 and 1234567:\n\nWait, x = \\boxed{\\frac{3 4}{5}}.\n\n\t So</think> ≤ ½ é e\u0301 字 🙂 \r\n "
UTF8 = (*range(0x80), *range(0x80, 0xC0), *range(0xC2, 0xF5))  # the bytes that occur in it
# Bytes of control characters and of planes of Unicode without characters (4 - 11) or for private use only (16).
# Vocabularies that were trained without the whole alphabet lack some: SmolLM2's has no 0x04 and no 0xF1.
RARE = frozenset({*range(0x20), 0x7F, 0xF1, 0xF2, 0xF4} - set(b"\t\n\r"))


class ModelTokenizer:
    """Text and ids of a chain: ``decode(encode(text)) == text`` for every text, in any cutting into chunks, or
    UnknownCharacter where it holds one of the few characters that the vocabulary may lack (``RARE``).

    Ids are those of the model's own files (:mod:`ATTS.serving.tokens`). A prompt begins a sequence and is
    encoded as the server does it; a chunk stands behind other text and is encoded verbatim: what the
    tokenizer would change is spelled in single bytes. Special tokens are text like any other, but the tokens
    that end a text are none: they are not decoded, and their names in a text don't become them.

    ``thinking``: what a chat template that has a switch for it is told. Raises UserError if the tokenizer can't be
    loaded or has no token for some bytes of other characters, or if there is no such switch.
    """

    def __init__(self, source: str, thinking: Thinking = "default") -> None:
        folder = ModelFolder.find(source)
        self.source = source
        self._tokens = tokens.load(folder)
        self._template = ChatTemplate(folder, thinking)
        end = folder.names.get("eos_token")
        own = [self._tokens.find(end)] if end is not None else []
        self._ends = [number for number in (*own, *folder.end_ids) if number is not None]
        self.unannounced_end = self._end_of_turn(folder)
        if self.unannounced_end is not None:
            self._ends.append(self.unannounced_end)
        self._end_set = frozenset(self._ends)
        self._piece = lru_cache(maxsize=None)(self._tokens.piece)
        self._survives = lru_cache(maxsize=4096)(self._survives_alone)
        self._check()

    def _end_of_turn(self, folder: ModelFolder) -> int | None:
        """The token that the chat template writes behind an answer, if nothing else names it as an end: its server has
        to be told, or a chunk would go on with the user's next turn. Base models with a template are like that."""
        try:
            text = self.render([QUESTION, {"role": "assistant", "content": ANSWER}], answer=False)
        except UserError:  # no template, or none for answers: whoever needs it says so
            return None
        behind = text.rpartition(ANSWER)[2].lstrip()
        mark = max((one for one in folder.marks if behind.startswith(one)), key=len, default=None)
        end = self._tokens.find(mark) if mark else None
        return None if end in self._ends else end

    @property
    def opens_thinking(self) -> bool:
        """Whether the chat template begins an answer with an opening mark of thoughts. Raises UserError."""
        return self.render([QUESTION]).rstrip().endswith(tuple(mark for mark, _ in MARKS))

    def _check(self) -> None:
        """Raises UserError for a tokenizer that can't give every text back."""
        missing = [f"0x{value:02X}" for value in UTF8 if value not in RARE and self._tokens.byte(value) is None]
        if missing:
            raise UserError(
                f"the tokenizer of {self.source!r} can't write every text: {len(missing)} bytes have no token"
                f" ({', '.join(missing[:4])} ...), so another model's chunks can't be appended exactly; use a model"
                " with a byte-level tokenizer, or a SentencePiece one with byte fallback"
            )
        ids = self.encode(PROBE)
        own = self._tokens.decode(ids) if isinstance(self._tokens, FileTokens) else PROBE
        if self.decode_all(ids) != PROBE or own not in (PROBE, PROBE[1:]):  # a decoder drops the first blank
            raise UserError(
                f"the tokenizer of {self.source!r} changes text: {PROBE!r} comes back as {own!r}; only tokenizers whose"
                " tokens join to the text (byte-level or SentencePiece) are supported: use another model"
            )

    def encode(self, text: str) -> list[int]:
        """Ids of a text that stands behind another, as every chunk does. Raises UnknownCharacter."""
        ids = self._tokens.go_on(text)
        if self.decode(ids) == text:
            return ids
        if len(text) == 1:
            spelled = [self._tokens.byte(value) for value in text.encode()]
            if None in spelled:
                raise UnknownCharacter(
                    f"the chain holds U+{ord(text):04X}, for which the tokenizer of {self.source!r} has no token"
                )
            return [token for token in spelled if token is not None]
        parts = ["".join(group) for _, group in groupby(text, key=self._survives)]
        if len(parts) == 1:  # its characters, alone, are kept, or none of them is
            parts = [text[: len(text) // 2], text[len(text) // 2 :]]
        return [token for part in parts for token in self.encode(part)]

    def _survives_alone(self, character: str) -> bool:
        return self.decode(self._tokens.go_on(character)) == character

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids anywhere in a chain. Bytes of an unfinished character are shown as U+FFFD."""
        piece, ends = self._piece, self._end_set
        return b"".join([piece(token) for token in ids if token not in ends]).decode("utf-8", "replace")

    def prompt(self, user: str, system: str | None = None) -> list[int]:
        """The chat template's ids up to where the assistant begins to write."""
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": user})
        return self.template(messages)

    def template(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The chat template's ids for ``messages`` and the beginning of an answer to them."""
        return self.begin(self.render(messages))

    def render(self, messages: Sequence[Mapping[str, str]], answer: bool = True) -> str:
        """The chat template's text for ``messages`` and, unless ``answer`` is false, the beginning of an answer."""
        return self._template.render(messages, answer)

    def begin(self, text: str) -> list[int]:
        """Ids of a text that starts a sequence and holds any begin-of-text token already, as a template's does."""
        return self._tokens.begin(text, special=False)

    def plain_prompt(self, text: str) -> list[int]:
        """Ids of a text that starts a sequence, with a begin-of-text token if the model has one."""
        return self._tokens.begin(text, special=True)

    def decode_all(self, ids: Sequence[int]) -> str:
        """The text of a whole prompt, special tokens included."""
        return b"".join([self._piece(token) for token in ids]).decode("utf-8", "replace")

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary."""
        return self._tokens.size

    @property
    def end(self) -> int:
        """The end-of-text token. Raises UserError if the model names none."""
        if not self._ends:
            raise UserError(f"{self.source!r} names no end-of-text token: add eos_token to its tokenizer_config.json")
        return self._ends[0]
