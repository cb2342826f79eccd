"""The YAML files of Speculative Thinking, with the published field names."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from ATTS.baselines.speculative_thinking.loop import Rules
from ATTS.baselines.speculative_thinking.sentiment import Keywords
from ATTS.errors import UserError

Text = Annotated[str, Field(min_length=1)]
SHIPPED = Path("configs/speculative_thinking")  # in the repository; a link puts them into the package
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True)


class Words(BaseModel):
    """Words that tell what a paragraph is about to do."""

    model_config = STRICT

    verify: list[Text]
    negative: list[Text]
    positive: list[Text]


class TakeOvers(BaseModel):
    """When the target takes over, and for how many tokens (docs/baselines.md)."""

    model_config = STRICT

    TRIGGER_TOKENS: list[Text]
    TARGET_VALIDATION_KEYWORDS: Words
    help_think_word: str | None = None
    help_recap_words: Text
    choose_large: bool
    max_target_tokens: PositiveInt
    begin: bool
    begin_token_num: PositiveInt
    original_recap_token_num: PositiveInt
    recap_after_negative_num: PositiveInt
    add_each_recap: int | float
    max_recap_token_num: PositiveInt
    add_each_neg: int | float
    max_negative_num: PositiveInt
    not_reasoning: bool = False
    time_out: float | None = None
    max_model_len: PositiveInt | None = None

    def rules(self, max_tokens: int, context: int | None, published: bool) -> Rules:
        """``context``: tokens that the servers have room for."""
        words = self.TARGET_VALIDATION_KEYWORDS
        verify, negative, positive = (
            tuple(map(str.lower, kind)) for kind in (words.verify, words.negative, words.positive)
        )
        chosen = self.model_dump(exclude={"TARGET_VALIDATION_KEYWORDS", "TRIGGER_TOKENS", "time_out", "max_model_len"})
        return Rules(
            **chosen,
            trigger_tokens=tuple(self.TRIGGER_TOKENS),
            keywords=Keywords(verify, negative, positive, inside_words=published),
            time_out=max(0.0, self.time_out or 0.0),
            max_model_len=min((n for n in (self.max_model_len, context) if n), default=0),
            max_tokens=max_tokens,
            published=published,
        )


class _Models(BaseModel):
    """Which models; how they are started is said elsewhere (scripts/launch_sglang_servers.sh), so those
    fields of the published files are accepted and unused."""

    model_config = STRICT

    mode: Literal["vllm", "vllm_p", "hf", "sglang"]  # the published back ends: here all are the two servers
    target_model_name: Text
    target_model_gpu: Any = None
    speculative_model_gpu: Any = None
    target_base_gpu_id: Any = None
    speculative_base_gpu_id: Any = None
    dtype: Any = None


class _Alone(_Models):
    """A file without a draft: whatever else it holds is unused."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    speculative_model_name: None


class _Pair(_Models, TakeOvers):
    speculative_model_name: Text


class ThinkingConfig(BaseModel):
    """A file's content. ``draft`` and ``take_overs`` are None for a target alone."""

    name: str
    target: str
    draft: str | None = None
    take_overs: TakeOvers | None = None


class Plain(yaml.SafeLoader):  # type: ignore[misc]
    """Without aliases, ten lines of which can stand for more than a machine holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuses aliases. Raises YAMLError."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name): write out what they stand for")
        return super().compose_node(parent, index)


def read(path: Path) -> dict[str, Any]:
    """The fields of a file; of one that ships with the project wherever a command runs. Raises UserError."""
    own = Path(__file__).parent / "configs" / path.name
    there = own if path.parent == SHIPPED and not path.exists() and own.exists() else path
    try:
        fields = yaml.load(there.read_text(encoding="utf-8"), Plain)  # noqa: S506 - a safe loader
    except OSError as error:
        raise UserError(f"--spe_config {path} can't be read: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {_in_a_line(error)}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path} holds no fields")
    return fields


def _in_a_line(error: Exception) -> str:
    """What is wrong and where; YAML's own text shows the place in four lines."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def load(path: Path) -> ThinkingConfig:
    """Reads and checks a file. Raises UserError that names the field at fault."""
    fields = read(path)
    alone = "speculative_model_name" in fields and fields["speculative_model_name"] is None
    try:
        if alone:
            unknown = fields.keys() - _Pair.model_fields.keys()
            if unknown:
                raise UserError(f"{path}: {min(map(str, unknown))}: there is no such field")
            return ThinkingConfig(name=path.stem, target=_Alone(**fields).target_model_name)
        pair = _Pair(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        given = "" if first["type"] in ("missing", "extra_forbidden") else f", not {first['input']!r}"
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}{given}") from None
    except TypeError:
        raise UserError(f"{path}: every field must be named by a text") from None
    take_overs = TakeOvers(**{name: getattr(pair, name) for name in TakeOvers.model_fields})
    return ThinkingConfig(
        name=path.stem, target=pair.target_model_name, draft=pair.speculative_model_name, take_overs=take_overs
    )
