"""Settings as flags, and back: a frozen dataclass whose fields are flags, or parts that hold flags.

Inside, settings have the shape of their parts (``settings.draft.name``); outside, on the command line and in the
files that tell how something was made, they are flat, by the names of their flags (``--small_model_name``).
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    TypeVar,
    dataclass_transform,
    get_args,
    get_type_hints,
)

import tyro

from ATTS.errors import UserError

Value = TypeVar("Value")
Settings = TypeVar("Settings", bound="Part")
INCIDENTAL = object()
Incidental = Annotated[Value, INCIDENTAL]  # says where, how fast or how far, not what: results made with others of
# these belong together


class Range(NamedTuple):
    """What a number may be; an open end is left out."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value lies in it."""
        above = self.low < value if self.open_low else self.low <= value
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"be {'more than' if self.open_low else 'at least'} {self.low:g}"
        return f"lie in {'(['[not self.open_low]}{self.low:g}, {self.high:g}{')]'[not self.open_high]}"


NotNegative = Annotated[Value, Range(0)]
Positive = Annotated[Value, Range(1)]
Share = Annotated[Value, Range(0, 1)]
CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
STORED = "settings.json"  # a run's settings, in its folder


class Flag(NamedTuple):
    """A field of a settings class: a flag, or a part that holds flags."""

    field: str
    name: str
    type: Any
    default: Any
    stored: bool
    incidental: bool
    range: Range | None

    @property
    def is_part(self) -> bool:
        """Whether its value is a group of flags."""
        return is_dataclass(self.type)


def _declared(kind: type) -> tuple[Flag, ...]:
    """The fields of a settings class or part."""
    hints = get_type_hints(kind, include_extras=True)
    flags = []
    for own in fields(kind):
        marks = getattr(hints[own.name], "__metadata__", ())
        flags.append(
            Flag(
                field=own.name,
                name=next((mark.name for mark in marks if hasattr(mark, "name")), own.name),
                type=hints[own.name].__origin__ if marks else hints[own.name],
                default=own.default,
                stored=own.compare,
                incidental=INCIDENTAL in marks,
                range=next((mark for mark in marks if isinstance(mark, Range)), None),
            )
        )
    return tuple(flags)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Part:
    """Settings, or a part of them. Every subclass is a frozen dataclass with keyword arguments only, whose numbers lie
    in the ranges that their fields name."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        for flag in _declared(type(self)):
            value = getattr(self, flag.field)
            if flag.range is not None and value is not None:
                for one in value if isinstance(value, tuple) else (value,):
                    require(flag.range.holds(one), f"--{flag.name} must {flag.range}")


def flags(kind: type) -> Iterator[Flag]:
    """All flags of a settings class, those of its parts among them."""
    for flag in _declared(kind):
        yield from flags(flag.type) if flag.is_part else (flag,)


def named(kind: type, field: str) -> str:
    """What the flag of a part's field is called, for messages."""
    return next(f"--{flag.name}" for flag in _declared(kind) if flag.field == field)


def flat(settings: "Part") -> dict[str, Any]:
    """Values by the names of their flags."""
    values: dict[str, Any] = {}
    for flag in (flag for flag in _declared(type(settings)) if flag.stored):
        value = getattr(settings, flag.field)
        values |= flat(value) if flag.is_part else {flag.name: value}
    return values


def make(kind: type[Settings], **given: Any) -> Settings:
    """Settings from flat values. Raises TypeError for a flag that is missing or that ``kind`` doesn't have."""
    unknown = given.keys() - {flag.name for flag in flags(kind)}
    if unknown:
        raise TypeError(f"{kind.__name__} has no flag {', '.join(sorted(unknown))}")
    return _make(kind, MISSING, given)


def _make(kind: type[Settings], default: Any, given: dict[str, Any]) -> Settings:
    own: dict[str, Any] = {}
    for flag in _declared(kind):
        if flag.is_part:
            own[flag.field] = _make(flag.type, flag.default, given)
        elif flag.name in given:
            value = given[flag.name]
            of_path = isinstance(value, str) and Path in (flag.type, *get_args(flag.type))
            own[flag.field] = Path(value) if of_path else value
    return kind(**own) if default is MISSING else replace(default, **own)


def settle(part: object, **values: object) -> None:
    """Writes what follows from other flags. For ``__post_init__`` only: frozen is a part for everyone after it."""
    for name, value in values.items():
        object.__setattr__(part, name, value)


def require(condition: bool, message: str) -> None:
    """Raises ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def parse(kind: type[Settings], description: str | None) -> Settings:
    """Reads the command line; a flag that doesn't exist or doesn't fit exits with 2.

    With ``--resume`` the settings are those of that folder, and beside it only incidental flags change anything.
    Raises UserError if another is given, or if the folder is of another command.
    """
    stored: Any = None
    folder = _folder_to_resume(sys.argv[1:])
    if folder and any(flag.name == "resume" for flag in flags(kind)):
        kind = getattr(kind, "stored_as", kind)
        stored = of_folder(kind, folder)
    settings: Settings = tyro.cli(
        kind,
        default=stored,
        description=(description or "").strip().split("\n\n")[0],
        config=CONFIG,
        use_underscores=True,
    )
    if stored is not None:
        before, now = flat(stored), flat(settings)
        decisive = (flag.name for flag in flags(kind) if flag.stored and not flag.incidental)
        changed = [f"--{name}" for name in decisive if before[name] != now[name]]
        if changed:
            raise UserError(f"--resume {folder} uses the settings of that run: leave out {', '.join(changed)}")
    return settings


def _folder_to_resume(words: Sequence[str]) -> Path | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, given, value = word.partition("=")
        if flag == "--resume" and (value or following):
            return Path(value if given else following)
    return None


def of_folder(kind: type[Settings], folder: Path) -> Settings:
    """The settings of the run in ``folder``; flags that its version didn't have are at their defaults.
    Raises UserError."""
    path = folder / STORED
    try:
        about = json.loads(path.read_text())
        settings = dict(about["settings"])
    except OSError as error:
        raise UserError(f"--resume: {path} can't be read ({error.strerror}), so {folder} is no run to resume") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"--resume: {path} is damaged ({error}); give the flags of the run instead") from None
    try:
        return make(kind, **settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"--resume: {folder} is of another command, {about.get('command')} ({error})") from None
