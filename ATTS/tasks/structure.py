"""What an answer is made of: lists, equations, inequalities. Texts here are in plain notation (:mod:`notation`)."""

import re

from ATTS.tasks import wording

MOST_ELEMENTS = 12  # of a list that is compared element by element
_OPENING, _CLOSING = "([{", ")]}"
_JOINED = re.compile(
    r"(?<!\d),|,(?!\d{3}(?!\d))|;"  # no comma of thousands
    r"|\\text ?\{ ?,? ?(?:and|or|&) ?\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|\\(?:land|lor|vee|wedge)\b"
)
_OR = re.compile(r"\\text ?\{ ?,? ?or ?\}|(?<![a-zA-Z\\])or(?![a-zA-Z])|\\(?:lor|vee|cup)\b")
_AND_IN_TEXT = re.compile(r"\\text ?\{([^{}]*?),? \b(?:and|or) ?([^{}]*)\}")
_VARIABLE = r"[a-zA-Z]|\\(?:alpha|beta|theta|phi|lambda|mu|omega)"
_NAME = re.compile(
    rf"(?:{_VARIABLE})'*(?:_ ?(?:\w|\{{[^{{}}]*\}}))?"  # x, a_n
    rf"|(?:{_VARIABLE}) ?(?:\^ ?\{{? ?-?\d ?\}}?)?'* ?\([^()=]*\)"  # f(x), P(A)
    rf"|\( ?(?:{_VARIABLE})(?: ?, ?(?:{_VARIABLE}))* ?\)"  # (x, y)
    r"|\|?[A-Z]{2,3}\|?|\\(?:overline|angle|triangle|mathbb) ?\{?[A-Z ]+\}?|m ?\\angle ?[A-Z]+"
    r"|\\text ?\{[^{}\d]*\}|[A-Za-z][a-z]{2,}(?: [a-z]+)*|\\frac ?\{d ?\w\} ?\{d ?\w\}|[a-zA-Z] ?\\in\b.*"
)
_RELATION = re.compile(r"\\le(?![a-z])|\\ge(?![a-z])|<|>")
_SET_BUILDER = re.compile(
    rf"\\\{{ ?(?P<of>{_VARIABLE}) ?(?:\\in ?(?:\\mathbb ?\{{? ?R ?\}}?|R) ?)?(?:\||:|,) ?(?P<rule>.*?) ?\\\}}"
)
_APPROXIMATELY = re.compile(r"(?<=\S) ?\(? ?(?:(?:\\text ?\{ ?)?or ?\}? ?)?\\(?:approx|simeq)\b[^=]*$")


def canonical(text: str) -> str:
    """Without what introduces or rounds the value, words for sets as sets, inequalities as intervals."""
    text = re.sub(r"^\\(?:approx|simeq)\b ?", "", wording.without_lead(text))
    text = wording.as_symbols(_APPROXIMATELY.sub("", text).strip())
    if builder := _SET_BUILDER.fullmatch(text):
        text = builder["rule"]
    french = re.fullmatch(r"([\[\]])([^\[\](){}]*,[^\[\](){}]*)([\[\]])", text)
    if french and (french[1] == "]" or french[3] == "["):
        text = f"{'(' if french[1] == ']' else '['}{french[2]}{')' if french[3] == '[' else ']'}"
    return _as_intervals(text)


def at_top(text: str, where: re.Pattern[str]) -> list[str]:
    """The parts between those matches of ``where`` that stand in no bracket."""
    parts, depth, start, at = [], 0, 0, 0
    for match in where.finditer(text):
        for character in text[at : match.start()]:
            depth += (character in _OPENING) - (character in _CLOSING)
        at = match.start()
        if depth == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [part.strip() for part in (*parts, text[start:])]


def elements(text: str) -> list[str]:
    """The members of a list or set, each ``\\pm`` written out; one for anything else."""
    text = text.strip()
    if re.fullmatch(r"\\\{[^{}]*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}[^{}]*)*\\\}", text):
        text = text[2:-2]
    text = _AND_IN_TEXT.sub(r"\\text{\1}, \\text{\2}", text)
    text = re.sub(r"\\text ?\{ *\}", "", text)
    parts = [part for part in at_top(text, _JOINED) if part]
    return [one for part in parts for one in _both_signs(part)] or [text]


def _both_signs(text: str) -> list[str]:
    if text.count("\\pm") + text.count("\\mp") != 1:
        return [text]
    plus, minus = (re.sub(r"\\[pm]{2}\b ?", sign, text) for sign in "+-")
    return [re.sub(r"(^|[({=]|\\ne ?) ?\+ ?", r"\1", plus), minus]


def sides(text: str) -> list[str]:
    """The sides of an equation, or a chain of them; one for anything else."""
    return at_top(text, re.compile(r"(?<![<>!:])=(?!=)"))


def is_point(text: str) -> bool:
    """Whether it is one ``(a, b)``."""
    return (
        text[:1] == "("
        and text[-1:] == ")"
        and len(at_top(text[1:-1], re.compile(","))) > 1
        and len(at_top(text, re.compile(","))) == 1
    )


def is_name(text: str) -> bool:
    """Whether a side of an equation only names the value: ``x``, ``f(x)``, ``AB``, ``\\text{Area}``."""
    return _NAME.fullmatch(text) is not None


def variables(text: str) -> set[str]:
    """Single letters that stand for something."""
    return set(re.findall(r"(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z{])", re.sub(r"\\[a-zA-Z]+", " ", text))) - {"e", "i"}


def values(text: str) -> list[str]:
    """What an equation says the value is: all sides but a name. The text itself where it is no equation."""
    parts = sides(text)
    if len(parts) > 1 and is_name(parts[0]):
        return parts[1:]
    if len(parts) == 2 and is_name(parts[1]):
        return parts[:1]
    if len(parts) == 2 and len(variables(parts[0])) > 1 and not variables(parts[1]):
        return parts[1:]  # "x + y = 7" says the value of a sum; "3x + 2 = 7" is yet to be solved
    return parts


def names(text: str) -> str | None:
    """The name that an equation gives a value to."""
    parts = sides(text)
    return next((part for part in (parts[0], parts[-1]) if is_name(part)), None) if len(parts) > 1 else None


def _as_intervals(text: str) -> str:
    """``(-\\infty,-1] \\cup [3,\\infty)`` for ``x \\le -1 or x \\ge 3``; anything else as it is."""
    if not _RELATION.search(text):
        return text
    intervals = [_interval(part) for part in at_top(text, _OR)]
    return " \\cup ".join(one for one in intervals if one) if all(intervals) else text


def _interval(text: str) -> str | None:
    relations = _RELATION.findall(text)
    parts = at_top(text, _RELATION)
    if not relations or len(parts) != len(relations) + 1 or not all(parts):
        return None
    if len({relation in ("<", "\\le") for relation in relations}) > 1:
        return None
    if relations[0] in (">", "\\ge"):
        relations = [{">": "<", "\\ge": "\\le"}[relation] for relation in reversed(relations)]
        parts.reverse()
    at = next((i for i, part in enumerate(parts) if re.fullmatch(_VARIABLE, part)), None)
    if at is None or len(parts) > 3 or (len(parts) == 3 and at != 1):
        return None
    bounds = [part for i, part in enumerate(parts) if i != at]
    if any(re.search(r"(?<!\\)\b[a-zA-Z]\b|,|=", re.sub(r"\\[a-zA-Z]+", "", bound)) for bound in bounds):
        return None  # a bound that depends on a variable is no interval of numbers
    if len(parts) == 3:
        low, high = bounds
        return f"{'(' if relations[0] == '<' else '['}{low},{high}{')' if relations[1] == '<' else ']'}"
    if at == 0:
        return f"(-\\infty,{bounds[0]}{')' if relations[0] == '<' else ']'}"
    return f"{'(' if relations[0] == '<' else '['}{bounds[0]},\\infty)"
