"""The YAML files of Speculative Thinking, with the published field names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ATTS.method.sentiment import Keywords
from ATTS.method.speculative_thinking import Rules
from ATTS.problem import Problem

MODES = ("vllm", "vllm_p", "hf", "sglang")  # the published back ends: here all are the two servers
WORDS, SECONDS, COUNT, SWITCH = "a list of texts", "a number", "a whole number of at least 1", "true or false"
TEXT, TEXT_OR_NULL, ANY = "a text", "a text or null", "any value"
KEYWORDS = ("verify", "negative", "positive")
REQUIRED = {
    "mode": TEXT,
    "target_model_name": TEXT,
    "speculative_model_name": TEXT_OR_NULL,
    "TRIGGER_TOKENS": WORDS,
    "TARGET_VALIDATION_KEYWORDS": ANY,
    "help_recap_words": TEXT,
    "choose_large": SWITCH,
    "max_target_tokens": COUNT,
    "begin": SWITCH,
    "begin_token_num": COUNT,
    "original_recap_token_num": COUNT,
    "recap_after_negative_num": COUNT,
    "add_each_recap": SECONDS,
    "max_recap_token_num": COUNT,
    "add_each_neg": SECONDS,
    "max_negative_num": COUNT,
}
OPTIONAL = {"help_think_word": TEXT_OR_NULL, "not_reasoning": SWITCH, "time_out": ANY, "max_model_len": COUNT}
# Of starting the models: here the servers are started with scripts/launch_sglang_servers.sh.
ELSEWHERE = (
    "target_model_gpu",
    "speculative_model_gpu",
    "target_base_gpu_id",
    "speculative_base_gpu_id",
    "dtype",
)
ALONE = ("mode", "target_model_name", "speculative_model_name")  # all that a file without a draft needs


@dataclass(frozen=True)
class ThinkingConfig:
    """A file's content. ``draft`` and ``rules`` are None for a target alone."""

    name: str
    target: str
    draft: str | None
    fields: Mapping[str, Any]

    def rules(self, max_tokens: int, context: int | None, published: bool) -> Rules:
        """``context``: tokens that the servers have room for."""
        chosen = {key.lower(): value for key, value in self.fields.items() if key in {*REQUIRED, *OPTIONAL}}
        for other in (*ALONE, "target_validation_keywords"):
            chosen.pop(other, None)
        words = self.fields["TARGET_VALIDATION_KEYWORDS"]
        verify, negative, positive = (tuple(word.lower() for word in words[kind]) for kind in KEYWORDS)
        chosen["keywords"] = Keywords(verify, negative, positive, inside_words=published)
        chosen["trigger_tokens"] = tuple(chosen["trigger_tokens"])
        chosen["time_out"] = max(0.0, float(chosen.get("time_out") or 0))
        chosen["max_model_len"] = min((n for n in (chosen.get("max_model_len"), context) if n), default=0)
        chosen.setdefault("help_think_word", None)
        return Rules(**chosen, max_tokens=max_tokens, published=published)


def load(path: Path) -> ThinkingConfig:
    """Reads and checks a file. Raises Problem that names the field at fault."""
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Problem(f"--spe_config {path} can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise Problem(f"{path} is not YAML: {error}") from None
    if not isinstance(fields, dict):
        raise Problem(f"{path} holds no fields")
    known = {**REQUIRED, **OPTIONAL, **dict.fromkeys(ELSEWHERE, ANY)}
    unknown = sorted(str(key) for key in fields.keys() - known.keys())
    if unknown:
        raise Problem(f"{path}: unknown field {unknown[0]}; known are {', '.join(sorted(known))}")
    needed = ALONE if fields.get("speculative_model_name") is None else tuple(REQUIRED)
    missing = [key for key in needed if key not in fields]
    if missing:
        raise Problem(f"{path}: the field {missing[0]} is missing")
    for key, value in fields.items():
        if not _fits(value, known[key]):
            raise Problem(f"{path}: {key} must be {known[key]}, not {value!r}")
    if fields["mode"] not in MODES:
        raise Problem(f"{path}: mode must be one of {', '.join(MODES)}, not {fields['mode']!r}")
    if "TARGET_VALIDATION_KEYWORDS" in fields:
        _check_keywords(path, fields["TARGET_VALIDATION_KEYWORDS"])
    return ThinkingConfig(path.stem, fields["target_model_name"], fields["speculative_model_name"], fields)


def _check_keywords(path: Path, words: Any) -> None:
    if not isinstance(words, dict) or sorted(words) != sorted(KEYWORDS):
        raise Problem(f"{path}: TARGET_VALIDATION_KEYWORDS must have the fields {', '.join(KEYWORDS)} and no others")
    for kind in KEYWORDS:
        if not _fits(words[kind], WORDS):
            raise Problem(f"{path}: TARGET_VALIDATION_KEYWORDS.{kind} must be {WORDS}, not {words[kind]!r}")


def _fits(value: object, what: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        WORDS: isinstance(value, list) and all(isinstance(word, str) and word for word in value),
        SECONDS: number,
        COUNT: number and isinstance(value, int) and value >= 1,
        SWITCH: isinstance(value, bool),
        TEXT: isinstance(value, str) and bool(value),
        TEXT_OR_NULL: value is None or isinstance(value, str),
        ANY: True,
    }[what]
