"""The small files of a model: where they are and what they say of tokens and templates."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ATTS.errors import UserError

# All that a tokenizer and its chat template are made of; no weights.
PATTERNS = (
    *("tokenizer*", "*config.json", "special_tokens_map.json", "added_tokens.json"),
    *("*.jinja", "chat_template.json"),
)


@dataclass(frozen=True)
class ModelFolder:
    """A local folder in the Hugging Face layout. ``source``: what the user calls it."""

    source: str
    path: Path

    @classmethod
    def find(cls, source: str) -> "ModelFolder":
        """The folder ``source``, or that of the hub's (or its cache's) model of this name. Raises UserError."""
        if Path(source).is_dir():
            return cls(source, Path(source))
        from huggingface_hub import snapshot_download

        try:
            return cls(source, Path(str(snapshot_download(source, allow_patterns=list(PATTERNS)))))
        except Exception as error:  # offline, unknown, gated, not a name: every one has a class of its own
            raise UserError(
                f"no tokenizer could be loaded from {source!r}: it is no folder here, and the hub and its cache don't"
                f" give it ({error}); download the model, or start the server with a local folder"
            ) from error

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file, empty if there is no such file. Raises UserError."""
        try:
            content = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{self.path / name} can't be read ({error}): download the model's files again") from error
        if not isinstance(content, dict):
            raise UserError(f"{self.path / name} holds no JSON object: download the model's files again")
        return content

    @cached_property
    def config(self) -> dict[str, Any]:
        """What config.json says; empty if there is none."""
        return self.json("tokenizer_config.json")

    @cached_property
    def names(self) -> dict[str, str]:
        """The special tokens that have a role: ``bos_token`` and so on, as chat templates call them."""
        named = self.json("special_tokens_map.json") | self.config
        texts = {role: _content(token) for role, token in named.items() if role.endswith("_token")}
        return {role: text for role, text in texts.items() if text is not None}

    @cached_property
    def added(self) -> dict[int, str]:
        """Tokens that stand beside the vocabulary, by id."""
        added = {int(number): text for text, number in self.json("added_tokens.json").items()}
        declared: Mapping[str, Any] = self.config.get("added_tokens_decoder") or {}
        texts = {int(number): _content(token) for number, token in declared.items()}
        return dict(sorted((added | {number: text for number, text in texts.items() if text}).items()))

    @cached_property
    def marks(self) -> frozenset[str]:
        """Texts of all tokens that stand beside the vocabulary or have a role."""
        described = (_content(token) for token in self.json("tokenizer.json").get("added_tokens") or ())
        return frozenset({*self.added.values(), *self.names.values(), *filter(None, described)})

    @cached_property
    def end_ids(self) -> list[int]:
        """What the server stops on besides the tokenizer's own end token."""
        configs = [self.json("generation_config.json"), self.json("config.json")]
        configs.append(configs[1].get("text_config") or {})
        declared = [config.get("eos_token_id") for config in configs]
        return [
            number for one in declared for number in (one if isinstance(one, list) else [one]) if number is not None
        ]

    def templates(self) -> dict[str, str]:
        """The chat templates by name; the one without a name is ``default``."""
        file = self.path / "chat_template.jinja"
        if file.is_file():
            return {"default": file.read_text(encoding="utf-8")}
        declared = self.json("chat_template.json").get("chat_template") or self.config.get("chat_template")
        return dict(_named(declared))


def _content(token: object) -> str | None:
    """A token's text: it is written as a text or as an object that holds one."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _named(declared: object) -> Iterator[tuple[str, str]]:
    if isinstance(declared, str):
        yield "default", declared
    elif isinstance(declared, dict):
        yield from ((str(name), text) for name, text in declared.items() if isinstance(text, str))
    elif isinstance(declared, list):
        yield from ((str(one["name"]), str(one["template"])) for one in declared if {"name", "template"} <= set(one))
