"""How answers are written: one form for the many ways to write the same, and numbers read exactly."""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

LETTERS = "ABCDEFGHIJ"  # of multiple choice
ROUNDED_DIGITS = 6  # from so many digits on a decimal may stand for a fraction that has no end
LARGEST_EXPONENT = 300  # of a power of ten that is still written out

# Symbols that models write in place of LaTeX.
_SYMBOLS = {
    ord(symbol): latex
    for symbol, latex in (
        *(("\u2212", "-"), ("\u2013", "-"), ("\u2014", "-"), ("\u00d7", "\\times "), ("\u00b7", "\\cdot ")),
        *(("\u00f7", "/"), ("π", "\\pi "), ("∞", "\\infty "), ("°", "^\\circ "), ("≤", "\\le "), ("≥", "\\ge ")),
        *(("²", "^2"), ("³", "^3")),
        *(("\u222a", "\\cup "), ("∈", "\\in "), ("±", "\\pm "), ("∅", "\\emptyset "), ("\u2019", "'")),
    )
}
_REWRITTEN = [
    (re.compile(pattern), by)
    for pattern, by in (
        # a blank line inside a number: published runs joined the chunks of a chain with one
        (r"(?<=[\d.,])\s*\n\s*\n\s*(?=[\d.])", ""),
        (r",\s*\\!\s*", ","),
        (r"(?<!\\)\\[$()\[\]!]|\$|\\(?:displaystyle|limits)\b|\\(?:left|right|big+|Big+)(?![a-zA-Z])\.?", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad\b|\s", " "),
        (r"\\[dt]frac", r"\\frac"),
        (r"\\(?:mbox|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|texttt|operatorname)\b", r"\\text"),
        (r"(\\text\s*\{[^{}]*)$", r"\1}"),  # cut, as the published expression does
        (r"\\text\s*\{\s*([ie])\s*\}", r"\1"),
        (r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}", r"\1"),
        (r"(?<=\w),? (?:\\text ?\{ ?)?(?:in )?base[- ](\w+) ?\}?$", r"_{\1}"),
        (r"(?<=\d)\{,\}(?=\d{3})", ","),
        (r"\\ang\s*\{([^{}]*)\}", r"\1^\\circ"),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ|\\degrees?\b", r"^\\circ "),
        (r"(\d)(?:\s*\^\s*\{?\s*(?:\\text\s*\{)?\s*(?:st|nd|rd|th)\s*\}?\s*\}?|(?:st|nd|rd|th)\b)", r"\1"),  # ordinals
        (r"\\(?:leq|leqslant)\b", r"\\le "),
        (r"\\(?:geq|geqslant)\b", r"\\ge "),
        (r"\\begin\s*\{[bvBV]?matrix\}", r"\\begin{pmatrix}"),
        (r"\\end\s*\{[bvBV]?matrix\}", r"\\end{pmatrix}"),
        (r"(?<=\d) +i\b", "i"),
        (r" {2,}", " "),
    )
]

_UNITS = {
    name: unit
    for unit, names in {
        "°": "^\\circ degree degrees deg",
        "cent": "cent cents \\cent ¢",
        "dollar": "dollar dollars usd",
        "mm": "mm millimeter millimeters",
        "cm": "cm centimeter centimeters centimetre centimetres",
        "m": "m meter meters metre metres",
        "km": "km kilometer kilometers kilometre kilometres",
        "in": "in inch inches",
        "ft": "ft foot feet",
        "mi": "mi mile miles",
        "s": "s sec second seconds",
        "min": "min minute minutes",
        "h": "h hr hour hours",
        "day": "day days",
        "g": "g gram grams",
        "kg": "kg kilogram kilograms",
        "mph": "mph",
        "unit": "unit units",
        "am": "am a.m",
        "pm": "pm p.m",
    }.items()
    for name in names.split()
}
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
_PERCENT = re.compile(r" ?(?:\\?%|\\text ?\{ ?(?:\\?%|percent) ?\}|percent)$")
_UNIT = re.compile(
    r" ?(?P<of>(?:\^\\circ|\\cent|¢|\\text ?\{[^{}\d]*\}|(?<=[\d }])[A-Za-z]+\.?(?:[ /][A-Za-z]+\.?)*)"
    r"(?: ?\^ ?\{?[23]\}?)?)$"
)
# Words behind a number that belong to its value, or that join it to another one.
_NOT_UNITS = {
    *("hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "pi", "sqrt", "infinity"),
    *("or", "and", "mod", "choose", "sin", "cos", "tan", "log", "ln"),
}
_BASED = re.compile(
    r"\(?(?P<digits>[0-9A-F]+(?:\.[0-9A-F]+)?)\)? ?_ ?(?:\{ ?)?(?:\\text ?\{ ?)?(?P<base>\d+|[a-z]+)[ }]*", re.I
)
_BASES = {
    name: base
    for base, name in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=2)
} | {"twelve": 12, "sixteen": 16}
_LETTER = re.compile(rf"(?:option|choice|answer)?:? ?\(? ?([{LETTERS}])(?:\)|[.:]|$)(?![\d)])(?P<rest>.*)", re.I | re.S)
_MORE_LETTERS = re.compile(rf" ?(?:,|;|&|and|or) ?\(?[{LETTERS}]\b", re.I)
_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '-][^\W\d_]+)*")


def plain(text: str) -> str:
    """One form for what means the same to a reader: no dress, one spelling, no control characters."""
    text = text.translate(_SYMBOLS)
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    for pattern, by in _REWRITTEN:
        text = pattern.sub(by, text)
    return text.strip().rstrip(".,;: ").removesuffix("\\").strip()


def compact(text: str) -> str:
    """Without blanks that mean nothing: those between two letters or two digits do."""
    return re.sub(r"(?<![a-zA-Z\d]) | (?![a-zA-Z\d])|(?<=\d) (?=[a-zA-Z])|(?<=[a-zA-Z]) (?=\d)", "", text)


def letter(text: str) -> str | None:
    r"""The choice that ``(C)``, ``\text{(C)}``, ``C. 5 m`` or ``c`` names."""
    match = _LETTER.fullmatch(_TEXT.sub(r"\1", text).strip())
    return match[1].upper() if match and not _MORE_LETTERS.match(match["rest"]) else None


def is_letter(text: str) -> bool:
    """Whether a reference is a choice and nothing else."""
    return re.fullmatch(rf"\(?[{LETTERS}]\)?[.:]?", _TEXT.sub(r"\1", text).strip()) is not None


def words(text: str) -> str | None:
    """An answer in words, in small letters and without an article; None for anything else."""
    bare = _TEXT.sub(r"\1", text).strip()
    if not _WORDS.fullmatch(bare):
        return None
    return re.sub(r"^(?:the|an?) ", "", bare.lower())


def is_text(text: str) -> bool:
    r"""Whether it stands in ``\text{}`` as a whole, so that it is no product of letters."""
    return _TEXT.fullmatch(text) is not None


def based(text: str) -> tuple[str, int] | None:
    """Digits and base of a number such as ``2516_8``."""
    match = _BASED.fullmatch(text)
    if not match:
        return None
    base = int(match["base"]) if match["base"].isdigit() else _BASES.get(match["base"], 0)
    return (match["digits"].upper().lstrip("0") or "0", base) if 2 <= base <= 36 else None


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number as it was written."""

    value: Fraction
    percent: bool = False
    unit: str | None = None  # None: none, or one that is not known here
    digits: int | None = None  # significant digits of a decimal fraction


def unassigned(text: str) -> str:
    """``5`` for ``x = 5``."""
    return re.sub(r"^(?:[A-Za-z](?:_\{?\w\}?)?|[A-Za-z] ?\( ?[a-z] ?\)) ?=(?!.*=) ?", "", text)


def number(text: str) -> Number | None:
    """Reads whole numbers, decimals, fractions, mixed numbers and powers of ten, with a unit or percent."""
    bare = _PERCENT.sub("", text)
    percent = bare != text
    unit = None
    if not percent and (match := _UNIT.search(text)) and _is_unit(match["of"], text[: match.start("of")]):
        bare, unit = text[: match.start()], _unit(match["of"])
    value = _value(bare.strip())
    if value is None:
        return None
    digits = len(re.sub(r"\D", "", bare).lstrip("0")) if re.fullmatch(r"[-+]? ?[\d, ]*\.\d+", bare.strip()) else None
    return Number(value, percent, unit, digits)


def without_unit(text: str) -> str:
    """An expression without the unit in ``\\text{}`` or with a known name that stands behind it."""
    match = _UNIT.search(text)
    if not match or not text[: match.start()].strip():
        return text
    of = match["of"]
    if not _is_unit(of, text[: match.start("of")]):
        return text
    return text if of[0].isalpha() and _unit(of) is None else text[: match.start()].strip()


def _is_unit(written: str, before: str) -> bool:
    """Whether letters behind a number are a unit and not variables, as in ``2ab``."""
    name = re.sub(r" ?\^.*", "", _TEXT.sub(r"\1", written)).strip().lower()
    if name.split(" ")[0] in _NOT_UNITS or (not name and not written.startswith("^")):
        return False
    if not written[0].isalpha() or (name.rstrip(".") in _UNITS and (len(name) > 1 or before.endswith(" "))):
        return True
    return before.endswith(" ") and len(name) > 2 and re.search("[aeiouy]", name) is not None


def _unit(written: str) -> str | None:
    power = re.search(r"\^ ?\{?([23])\}?$", written)
    name = written[: power.start()] if power else written
    name = _TEXT.sub(r"\1", name).strip().rstrip(".").lower()
    squared = re.fullmatch(r"(square|sq\.?|cubic|cu\.?) (.+)", name)
    if squared:
        name = squared[2]
    known = _UNITS.get(name.strip())
    exponent = power[1] if power else "" if not squared else "2" if squared[1].startswith("s") else "3"
    return f"{known}{exponent}" if known else None


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
    if match := _SCIENTIFIC.fullmatch(text):
        power = int((match["power"] or match["digit"]).replace(" ", ""))
        if abs(power) > LARGEST_EXPONENT:
            return None
        return _signed(match["sign"], _decimal(match["value"] or "1") * Fraction(10) ** power)
    return None


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub(r"[, ]", "", text).rstrip("."))


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


def same_number(reference: Number, answer: Number) -> bool:
    """Equal in value; 15 % may be written as 15 or 0.15; of six digits and more the last may be rounded."""
    if reference.unit and answer.unit and reference.unit != answer.unit:
        return False
    wanted, given = reference.value, answer.value
    if wanted == given:
        return True
    if reference.percent != answer.percent and (wanted == given / 100 or wanted / 100 == given):
        return True
    if reference.digits is None and answer.digits is not None and answer.digits >= ROUNDED_DIGITS and wanted:
        return bool(abs(given / wanted - 1) <= Fraction(1, 2) / 10 ** (answer.digits - 1))
    return False
