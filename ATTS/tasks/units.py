"""Units behind numbers: what they measure, and how large they are."""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

# dimension: names with their size in the first one's terms
_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "m meter meters metre metres": "1",
        "km kilometer kilometers kilometre kilometres": "1000",
        "cm centimeter centimeters centimetre centimetres": "1/100",
        "mm millimeter millimeters millimetre millimetres": "1/1000",
        "μm um micrometer micrometers micron microns": "1/1000000",
        "nm nanometer nanometers nanometre nanometres": "1/1000000000",
        "in inch inches": "254/10000",
        "ft foot feet": "3048/10000",
        "yd yard yards": "9144/10000",
        "mi mile miles": "1609344/1000",
    },
    "time": {
        "s sec secs second seconds": "1",
        "ms millisecond milliseconds": "1/1000",
        "min mins minute minutes": "60",
        "h hr hrs hour hours": "3600",
        "day days": "86400",
        "week weeks": "604800",
    },
    "month": {"month months": "1", "yr year years": "12"},
    "mass": {
        "g gram grams": "1",
        "kg kilogram kilograms": "1000",
        "mg milligram milligrams": "1/1000",
        "lb lbs": "45359237/100000",
        "oz ounce ounces": "45359237/1600000",
    },
    "volume": {"l liter liters litre litres": "1", "ml milliliter milliliters millilitre millilitres": "1/1000"},
    "angle": {"° deg degree degrees": "1", "rad radian radians": ""},
    "dollar": {"dollar dollars usd": "1", "cent cents ¢": "1/100"},
    "euro": {"€ eur euro euros": "1"},
    "pound sterling": {"£ gbp": "1"},
    "yen": {"¥ jpy yen": "1", "元 cny rmb yuan": ""},
    "rupee": {"₹ inr rupee rupees": "1"},
    "unit": {"unit units": "1"},
    "am": {"am a.m": "1"},
    "pm": {"pm p.m": "1"},
    "force": {"n newton newtons": "1"},
    "energy": {"j joule joules": "1", "kj kilojoule kilojoules": "1000"},
    "power": {"w watt watts": "1", "kw kilowatt kilowatts": "1000"},
    "voltage": {"v volt volts": "1"},
    "resistance": {"Ω ohm ohms": "1"},
    "frequency": {"hz hertz": "1"},
}
_COMPOSED = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h"}
SHORT = frozenset({"m", "g", "h", "l", "n", "j", "w", "v", "s"})  # letters that are as often variables


@dataclass(frozen=True, slots=True)
class Unit:
    """``kind``: dimensions with their exponents; ``size``: of one, in the first units of the table."""

    kind: tuple[tuple[str, int], ...]
    size: Fraction


_KNOWN: dict[str, Unit] = {}
for _kind, _names in _TABLE.items():
    for _synonyms, _size in _names.items():
        for _name in _synonyms.split():
            # a size that is no fraction of the first one's makes a kind of its own
            _KNOWN[_name] = Unit(((_kind if _size else _name, 1),), Fraction(_size or 1))

_TEXT = re.compile(r"\\text ?\{((?:[^{}]|\{[^{}]*\})*)\}")
_FRACTION = re.compile(r"\\frac ?\{([^{}]*(?:\{[^{}]*\})?[^{}]*)\} ?\{([^{}]*(?:\{[^{}]*\})?[^{}]*)\}")
_PART = re.compile(r"(?P<by>/| per )?\s*(?P<name>[^\W\d_]+|[°¢€£¥₹Ω%])\.?(?: ?\^ ?\{? ?(?P<power>-?\d) ?\}?)?[ ·]*")


def spelled(written: str) -> str:
    """A unit without LaTeX: ``m s^{-1}``, ``mi / hr``."""
    text = _FRACTION.sub(r"\1 / \2", written)
    text = _TEXT.sub(r"\1", text)
    for latex, plain in (
        (r"\\Omega ?", "Ω"),
        (r"\\mu ?", "μ"),
        (r"\^ ?\\circ ?", "°"),
        (r"\\cent\b", "¢"),
        (r"\\(?:cdot|times) ?", "·"),
    ):
        text = re.sub(latex, plain, text)
    text = re.sub(r"\b(?:square|sq\.?) ([a-z]+)", r"\1^2", text, flags=re.I)
    return re.sub(r"\b(?:cubic|cu\.?) ([a-z]+)", r"\1^3", text, flags=re.I).strip().rstrip(".")


def parse(written: str) -> Unit | None:
    """The unit that LaTeX or words name; None for one that is not known here."""
    text = spelled(written)
    text = _COMPOSED.get(text.lower(), text)
    at, sign, size = 0, 1, Fraction(1)
    kinds: Counter[str] = Counter()
    while at < len(text):
        match = _PART.match(text, at)
        if not match:
            return None
        known = _KNOWN.get(match["name"]) or _KNOWN.get(match["name"].lower())
        if known is None:
            return None
        sign = -1 if match["by"] else sign
        power = sign * int(match["power"] or 1)
        size *= known.size**power
        for kind, exponent in known.kind:
            kinds[kind] += exponent * power
        at = match.end()
    return Unit(tuple(sorted((kind, n) for kind, n in kinds.items() if n)), size) if text else None


def is_known(name: str) -> bool:
    """Whether a word is a unit."""
    return name in _KNOWN or name.lower() in _KNOWN or name.lower() in _COMPOSED
