"""Answers that are no expressions: letters of multiple choice, words, and words that stand for a set."""

import re

LETTERS = "ABCDEFGHIJ"  # of multiple choice
_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '-][^\W\d_]+)*")
_LEAD = r"(?:(?:the |my )?(?:(?:correct|right|final|best) )?(?:option|choice|answer)(?: is| would be)?:? ?)?"
_LETTER = re.compile(
    rf"{_LEAD}\(? ?([{LETTERS}])(?P<mark> ?\)|[.:,]|(?= is\b)|(?= because\b)|(?= since\b)|$)(?![\d)])(?P<rest>.*)",
    re.I | re.S,
)
_MORE_LETTERS = re.compile(rf" ?(?:,|;|&|and|or)? ?\(?[{LETTERS}](?:\b|(?=_))", re.I)
_BEHIND = {  # what may follow a letter, by what joins it
    ",": re.compile(r" ?(?:since|because|as|for|so)\b.*", re.I | re.S),
    "": re.compile(
        r"|,? (?:since|because)\b.*| is (?:the )?(?:correct|right|best|true)(?: (?:answer|choice|option|one))?",
        re.I | re.S,
    ),
}
# Words for sets, in the notation that others use for them.
_SETS = {
    "\\emptyset": "no solution|no solutions|no such solution|empty set|the empty set|null set|empty",
    "(-\\infty,\\infty)": "all real numbers|all reals|all real|the set of all real numbers|any real number"
    "|the real numbers|real numbers|the set of real numbers",
}
_NAMED_SETS = {name: latex for latex, names in _SETS.items() for name in names.split("|")}
_REALS = re.compile(r"(?:[a-zA-Z] ?\\in ?)?\\mathbb ?\{? ?R ?\}?|[a-zA-Z] ?\\in ?R")
_SMALL_NUMBERS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
]


def letter(text: str) -> str | None:
    r"""The choice that ``(C)``, ``\text{(C)}``, ``C. 5 m``, ``C is correct`` or ``c`` names."""
    bare = re.sub(r"\{([^{}])\}", r"\1", _TEXT.sub(r"\1", text)).strip()
    match = _LETTER.fullmatch(bare)
    if not match:
        return None
    mark, rest = match["mark"].strip(), match["rest"]
    if mark in _BEHIND:
        return match[1].upper() if _BEHIND[mark].fullmatch(rest) else None
    return None if re.match(r" ?(?:,|;|&|and|or) ", rest, re.I) and _MORE_LETTERS.match(rest) else match[1].upper()


def is_letter(text: str) -> bool:
    """Whether a reference is a choice and nothing else."""
    return re.fullmatch(rf"\(?[{LETTERS}]\)?[.:]?", _TEXT.sub(r"\1", text).strip()) is not None


def words(text: str) -> str | None:
    """An answer in words, in small letters, without an article and in the singular; None for anything else."""
    bare = _TEXT.sub(r"\1", text).strip()
    if not _WORDS.fullmatch(bare):
        return None
    bare = re.sub(r"^(?:the|an?) ", "", bare.lower())
    return " ".join(
        word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui" else word for word in bare.split()
    )


def is_text(text: str) -> bool:
    r"""Whether it stands in ``\text{}`` as a whole, so that it is no product of letters."""
    return _TEXT.fullmatch(text) is not None


def as_symbols(text: str) -> str:
    """``\\emptyset`` for "no solution", an interval for "all real numbers", 7 for "seven"; anything else as it is."""
    bare = re.sub(r"\s+", " ", _TEXT.sub(r"\1", text)).strip().lower()
    if bare in _NAMED_SETS:
        return _NAMED_SETS[bare]
    if bare in _SMALL_NUMBERS:
        return str(_SMALL_NUMBERS.index(bare))
    return "(-\\infty,\\infty)" if _REALS.fullmatch(text.strip()) else text


def without_lead(text: str) -> str:
    """The value behind words that introduce it: ``7`` for ``The area is 7``. What qualifies it stays."""
    match = _INTRODUCTION.match(text)
    if not match or _QUALIFIED.search(match["words"] or match["bare"]):
        return text
    return text if _QUALIFIER.match(match["rest"]) else match["rest"].strip()


_INTRODUCTION = re.compile(
    r"(?:\\text ?\{(?P<words>[^{}\d]*?\b(?:is|are|equals|be) ?:? ?|[^{}\d=]*[:=] ?)\}"
    r"|(?P<bare>[A-Za-z][a-z]* (?:[a-z]+ )*(?:is|are|equals) ))(?P<rest>.+)",
    re.S,
)
_QUALIFIED = re.compile(r"\b(?:not|no|least|most|than|if|about|never)\b", re.I)
_QUALIFIER = re.compile(r"\s*(?:\\text ?\{ ?)?(?:not|at|less|more|greater|about|approximately)\b", re.I)
