"""Numbers in answers, read exactly: decimals, fractions, powers of ten, percentages, with a unit or without."""

import re
from dataclasses import dataclass
from fractions import Fraction

from ATTS.tasks import units
from ATTS.tasks.units import Unit

ROUNDED_DIGITS = 6  # a decimal with at least this many digits may be a rounded fraction
LARGEST_EXPONENT = 300  # of a power of ten that is still written out

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_SIMPLE = re.compile(rf"(?P<sign>[-+]?) ?(?P<value>{_NUMBER})")
_FRACTION = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?P<whole>\d+) ?)?"
    rf"(?:\\frac ?(?:\{{ ?(?P<a>-?(?:{_NUMBER})) ?\}}|(?P<a1>\d)) ?(?:\{{ ?(?P<b>-?(?:{_NUMBER})) ?\}}|(?P<b1>\d)))"
)
_RATIO = re.compile(rf"(?P<sign>[-+]?) ?(?:(?P<whole>\d+) )?(?P<a>{_NUMBER}) ?/ ?(?P<b>{_NUMBER})")
_SCIENTIFIC = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?P<value>{_NUMBER}) ?(?:\\times|\\cdot|\*) ?)?10 ?\^ ?"
    r"(?:\{ ?(?P<power>[-+]? ?\d{1,4}) ?\}|(?P<digit>\d))"
)
_EXPONENT = re.compile(rf"(?P<sign>[-+]?) ?(?P<value>{_NUMBER})[eE](?P<power>[-+]?\d{{1,4}})")
_REPEATING = re.compile(
    r"(?P<sign>[-+]?) ?(?P<head>\d*\.\d*)"
    r"(?:\\(?:overline|bar|dot) ?(?:\{ ?(?P<over>\d+) ?\}|(?P<one>\d))|\((?P<in>\d+)\))"
)
_ENDLESS = re.compile(r"(?P<sign>[-+]?) ?(?P<head>\d*\.\d*?)(?P<period>\d{1,6}?)(?P=period){1,}(?: ?\\ldots)")
_PERCENT = re.compile(r" ?(?:\\?%|\\text ?\{ ?(?:\\?%|percent) ?\}|percent)$")
_SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
_SCALE = re.compile(rf" ?(?:\\text ?\{{ ?)?(?P<scale>{'|'.join(_SCALES)})(?P<rest> [^{{}}]*)?\}}?$", re.I)
_WORD = (
    r"(?:\\text ?\{[^{}\d]*(?:\^ ?\{? ?-?[1-3] ?\}?[^{}\d]*)*\}"
    r"|\\Omega|\\mu|\^\\circ|\\cent\b|[¢€£¥₹Ω°]|(?<![\\a-zA-Z])[A-Za-z]+\.?|[\u3400-\u9fff]+)"
)
_POWER = r"(?: ?\^ ?\{? ?-?[1-3] ?\}?)?"
_UNIT = re.compile(
    rf" ?(?P<of>(?:{_WORD}{_POWER}|\\frac ?\{{ ?{_WORD}{_POWER} ?\}} ?\{{ ?{_WORD}{_POWER} ?\}})"
    rf"(?: ?(?:/|\\cdot)? ?{_WORD}{_POWER})*)$"
)
_CURRENCY = re.compile(
    r"(?P<of>[€£¥₹]|(?:\\text ?\{ ?)?(?:USD|EUR|GBP|JPY|CNY|RMB|INR)(?: ?\})?) ?(?=[-+]?[\d.])", re.I
)
# Words behind a number that belong to its value, or that join it to another one.
_NOT_UNITS = {
    *(*_SCALES, "half", "pi", "sqrt", "infinity", "or", "and", "mod", "choose", "sin", "cos", "tan", "log", "ln"),
    *("if", "for", "when", "where", "to", "of", "is", "are", "not", "but", "than", "over"),
}
_CHINESE_SCALES = frozenset("万亿千百兆十")
_PARTS = re.compile(
    rf"(?P<value>{_NUMBER}|\\frac\{{\d+\}}\{{\d+\}}) ?"
    rf"(?P<of>\^\\circ|''|'|\\text ?\{{[^{{}}\d]*\}}|[A-Za-z]+\.?) ?,? ?(?:and )?"
)
_ARC = {"^\\circ": Fraction(1), "'": Fraction(1, 60), "''": Fraction(1, 3600)}
_BASED = re.compile(
    r"\(?(?P<digits>[0-9A-F]+(?:\.[0-9A-F]+)?)\)? ?_ ?(?:\{ ?)?(?:\\text ?\{ ?)?(?P<base>\d+|[a-z]+)[ }]*", re.I
)
_BASES = {
    name: base
    for base, name in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=2)
} | {"twelve": 12, "sixteen": 16}
_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number as it was written."""

    value: Fraction
    percent: bool = False
    unit: Unit | None = None  # None: none, or one that is not known here
    digits: int | None = None  # significant digits of a decimal fraction


def based(text: str) -> tuple[str, int] | None:
    """Digits and base of a number such as ``2516_8``."""
    match = _BASED.fullmatch(text)
    if not match:
        return None
    base = int(match["base"]) if match["base"].isdigit() else _BASES.get(match["base"], 0)
    return (match["digits"].upper().lstrip("0") or "0", base) if 2 <= base <= 36 else None


def number(text: str) -> Number | None:
    """Reads whole numbers, decimals, fractions, mixed numbers and powers of ten, with a unit or percent."""
    compound = _compound(text)
    if compound is not None:
        return compound
    bare = _PERCENT.sub("", text)
    percent = bare != text
    unit = None
    if not percent and (match := _CURRENCY.match(text)):
        bare, unit = text[match.end() :], units.parse(_TEXT.sub(r"\1", match["of"]).strip("{} "))
    elif not percent and (match := _unit_behind(text)):
        bare, unit = text[: match.start()], units.parse(match["of"])
    scale = 1
    if not percent and (match := _SCALE.search(bare if unit else text)):
        rest = (match["rest"] or "").strip()
        bare, unit, scale = (
            (bare if unit else text)[: match.start()],
            unit or units.parse(rest),
            _SCALES[match["scale"].lower()],
        )
    bare = bare.strip()
    value = _value(bare)
    if value is None:
        return None
    digits = len(re.sub(r"\D", "", bare).lstrip("0")) if re.fullmatch(r"[-+]? ?[\d, ]*\.\d+", bare) else None
    return Number(value * scale, percent, unit, digits)


def without_unit(text: str) -> str:
    """An expression without the unit in ``\\text{}`` or with a known name that stands behind it."""
    match = _unit_behind(text)
    if not match or not text[: match.start()].strip():
        return text
    of = match["of"]
    return text if of[0].isalpha() and units.parse(of) is None else text[: match.start()].strip()


def same_number(reference: Number, answer: Number) -> bool:
    """Equal in value; 15 % may be written as 15 or 0.15; of six digits and more the last may be rounded."""
    wanted, given = reference.value, answer.value
    if reference.unit and answer.unit:
        if reference.unit.kind != answer.unit.kind:
            return False
        wanted, given = wanted * reference.unit.size, given * answer.unit.size
    if wanted == given:
        return True
    if reference.percent != answer.percent and (wanted == given / 100 or wanted / 100 == given):
        return True
    if reference.digits is None and answer.digits is not None and answer.digits >= ROUNDED_DIGITS and wanted:
        return bool(abs(given / wanted - 1) <= Fraction(1, 2) / 10 ** (answer.digits - 1))
    return False


def _unit_behind(text: str) -> re.Match[str] | None:
    match = _UNIT.search(text)
    return match if match and _is_unit(match["of"], text[: match.start("of")]) else None


def _is_unit(written: str, before: str) -> bool:
    """Whether letters behind a number are a unit and not variables, as in ``2ab``."""
    in_text = written.startswith(("\\text", "\\frac"))
    if not re.search(r"\S\s*$" if in_text else r"[\d})\].]\s*$", before):
        return False
    name = units.spelled(written)
    first = re.split(r"[ /^·]", name, maxsplit=1)[0].rstrip(".").lower()
    if not name or first in _NOT_UNITS or set(name) & _CHINESE_SCALES:
        return False
    if not written[0].isalpha() or not written[0].isascii():
        return True  # in \text{}, or a symbol
    if units.is_known(first) and (len(first) > 1 or before.endswith(" ")):
        return True
    return before.endswith(" ") and len(name) > 2 and re.search("[aeiouy]", name) is not None


def _compound(text: str) -> Number | None:
    """``2 hours 30 minutes`` and ``12^\\circ 30'``: a sum of quantities of one kind, in its first unit."""
    sign, rest = ("-", text[1:].strip()) if text.startswith("-") else ("", text)
    parts: list[tuple[Fraction, Unit]] = []
    at = 0
    while at < len(rest):
        match = _PARTS.match(rest, at)
        if not match:
            return None
        value, of = _value(match["value"]), match["of"]
        unit = Unit((("angle", 1),), _ARC[of]) if of in _ARC else units.parse(of)
        if (
            value is None
            or unit is None
            or (parts and (unit.kind != parts[0][1].kind or unit.size >= parts[-1][1].size))
        ):
            return None
        parts.append((value, unit))
        at = match.end()
    if len(parts) < 2:
        return None
    first = parts[0][1]
    total = sum((value * unit.size for value, unit in parts), Fraction(0)) / first.size
    return Number(-total if sign else total, unit=first)


def _value(text: str) -> Fraction | None:
    """The value of a number without unit."""
    if match := _SIMPLE.fullmatch(text):
        return _signed(match["sign"], _decimal(match["value"]))
    if match := _FRACTION.fullmatch(text) or _RATIO.fullmatch(text):
        groups = match.groupdict()
        top, bottom = (_decimal(groups[name] or groups.get(f"{name}1") or "") for name in "ab")
        if bottom == 0:
            return None
        whole = Fraction(groups["whole"] or 0)
        return _signed(groups["sign"], whole + top / bottom)
    if match := _SCIENTIFIC.fullmatch(text) or _EXPONENT.fullmatch(text):
        power = int((match["power"] or match["digit"]).replace(" ", ""))
        if abs(power) > LARGEST_EXPONENT:
            return None
        return _signed(match["sign"], _decimal(match["value"] or "1") * Fraction(10) ** power)
    if match := _REPEATING.fullmatch(text):
        return _signed(match["sign"], _repeating(match["head"], match["over"] or match["one"] or match["in"]))
    if (match := _ENDLESS.fullmatch(text)) and len(text) - match.start("head") - len(match["head"]) >= 3:
        return _signed(match["sign"], _repeating(match["head"], match["period"])) if _often(match) else None
    return None


def _often(match: re.Match[str]) -> bool:
    """Whether a period stands there often enough to be meant: one digit three times, several twice."""
    shown = re.sub(r"[^\d]", "", match[0][match.end("head") - match.start() :])
    return len(shown) >= (3 if len(match["period"]) == 1 else 2) * len(match["period"])


def _repeating(head: str, period: str) -> Fraction:
    whole, _, decimals = head.partition(".")
    shift = 10 ** len(decimals)
    base = Fraction(int((whole + decimals) or "0"), shift)
    return base + Fraction(int(period), (10 ** len(period) - 1) * shift)


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub(r"[, ]", "", text).rstrip("."))


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value
