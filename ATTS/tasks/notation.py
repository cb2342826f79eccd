"""How answers are written: one form for the many ways to write the same."""

import ast
import re
import unicodedata

# Symbols that models write in place of LaTeX, and that Unicode itself does not reduce to plain ones.
_SYMBOLS = {
    ord(symbol): latex
    for symbols, latex in (
        ("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63", "-"),
        ("\u00d7\u2a2f", "\\times "),
        ("\u00b7\u22c5\u2219", "\\cdot "),
        ("\u00f7\u2215\u2044", "/"),
        ("\u221e", "\\infty "),
        ("\u00b0\u02da\u00ba", "^\\circ "),
        ("\u2264\u2a7d\u2266", "\\le "),
        ("\u2265\u2a7e\u2267", "\\ge "),
        ("\u2260", "\\ne "),
        ("\u2248\u2243\u2245", "\\approx "),
        ("\u222a", "\\cup "),
        ("\u2229", "\\cap "),
        ("\u2208", "\\in "),
        ("\u00b1", "\\pm "),
        ("\u2205\u00d8", "\\emptyset "),
        ("\u2216", "\\setminus "),
        ("\u211d", "\\mathbb{R} "),
        ("\u2019\u2018\u2032\u02b9", "'"),
        ("\u2033\u201c\u201d", "''"),
        ("\u3001", ","),
        ("\u3002", "."),
        ("\u2026\u22ef", "\\ldots "),
        ("\u27e8\u2329\u3008", "\\langle "),
        ("\u27e9\u232a\u3009", "\\rangle "),
        ("\u2225", "\\parallel "),
        ("\u22a5", "\\perp "),
        ("\u2220", "\\angle "),
        ("\u25b3\u2206", "\\triangle "),
    )
    for symbol in symbols
}
_GREEK = {
    f"GREEK {size} LETTER {name.upper()}": f"\\{name if size == 'SMALL' else name.capitalize()} "
    for size in ("SMALL", "CAPITAL")
    for name in (
        *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu", "nu", "xi"),
        *("pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
    )
} | {"MICRO SIGN": "\\mu ", "OHM SIGN": "\\Omega ", "GREEK SMALL LETTER LAMDA": "\\lambda "}
_ROOTS = {"\u221a": "", "\u221b": "[3]", "\u221c": "[4]"}
_BOX = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # a group in braces, two more levels within
_ATOM = r"\{(?:[^{}]|\{[^{}]*\})*\}|\([^()]*\)|\d+(?:\.\d+)?|\\[a-zA-Z]+|[a-zA-Z]"
_TEXTS = "mbox|text|textbf|textit|textrm|textnormal|textsf|mathrm|mathit|mathsf|texttt|operatorname|emph|hbox|rm|textup"
_STYLES = "mathbf|boldsymbol|bm|pmb|bf|bold|mathcal|it|underline|overbrace|underbrace|uline|ensuremath|bb|smash"
_SIZES = "tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge"
_FUNCTIONS = "sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|ln|log|arcsin|arccos|arctan|max|min|gcd|lcm"
_REWRITTEN = [
    (re.compile(pattern), by)
    for pattern, by in (
        # a blank line inside a number: published runs joined the chunks of a chain with one
        (r"(?<=[\d.,])\s*\n\s*\n\s*(?=[\d.])", ""),
        (r"^[\s*`]*(?:\*\*|`|\*)(?=\S)|(?<=\S)(?:\*\*|`+|\*)[\s*`]*$|^__(?=[^_])|(?<=[^_])__$", ""),  # Markdown
        (r",\s*\\!\s*", ","),
        (r"(?<=\d)(?:\\,|\\:|\\;|\\thinspace\b ?|[\u2009\u202f\u00a0]|\{,\})(?=\d{3}(?!\d))", ","),  # thousands
        (r"(?<!\\)\\[$()\[\]!]|\$|\\(?:displaystyle|textstyle|limits|nolimits|mathstrut)\b", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\.?", ""),
        (rf"\\(?:{_SIZES})\b|\\color\s*\{{[^{{}}]*\}}", ""),
        (r"\\(?:textcolor|colorbox|mathcolor|fcolorbox\s*\{[^{}]*\})\s*\{[^{}]*\}\s*" + _BOX, r"\1"),
        (r"\s*\\(?:qed(?:symbol)?|(?:black)?square|Box|blacklozenge|checkmark)\b(?!\s*\{)\s*$", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad\b|\\(?:thin|med|thick|en)?space\b|\s", " "),
        (r"\\(?:[dtc]|nice|s|x|f)frac\b", r"\\frac"),
        (r"\{((?:[^{}]|\{[^{}]*\})*?) ?\\over\b ?((?:[^{}]|\{[^{}]*\})*)\}", r"\\frac{\1}{\2}"),
        (r"\{((?:[^{}]|\{[^{}]*\})*?) ?\\choose\b ?((?:[^{}]|\{[^{}]*\})*)\}", r"\\binom{\1}{\2}"),
        (rf"\{{ ?\\(?:{_TEXTS})\s+([^{{}}]*)\}}", r"\\text{\1}"),
        (rf"\\(?:{_TEXTS})\b ?(?=\{{)", r"\\text"),
        (rf"\\(?:{_TEXTS})\b ?([^\W_])", r"\\text{\1}"),
        (rf"\\(?:{_STYLES})\b ?" + _BOX, r"\1"),
        (rf"\{{ ?\\(?:{_STYLES})\b ?([^{{}}]*)\}}", r"\1"),
        (rf"\\(?:{_STYLES})\b", ""),
        (r"(\\text\s*\{[^{}]*)$", r"\1}"),  # cut, as the published expression does
        (rf"\\text ?\{{ ?({_FUNCTIONS}) ?\}}", r"\\\1 "),
        (r"\\text\s*\{\s*([ie])\s*\}", r"\1"),
        (r"\\(?:boxed|fbox)\s*" + _BOX, r"\1"),
        (r"(?<=\w),? (?:\\text ?\{ ?)?(?:in )?base[- ](\w+) ?\}?$", r"_{\1}"),
        (r"\\ang\s*\{([^{}]*)\}", r"\1^\\circ"),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ|\\degrees?\b", r"^\\circ "),
        (r"\^ ?\{ ?(\\?'+|(?:\\prime ?)+) ?\}|\^ ?((?:\\prime ?)+)|\\prime\b ?", "'"),
        (r"(\d)(?:\s*\^\s*\{?\s*(?:\\text\s*\{)?\s*(?:st|nd|rd|th)\s*\}?\s*\}?|(?:st|nd|rd|th)\b)", r"\1"),  # ordinals
        (r"\\(?:leq|leqslant)\b|<=", r"\\le "),
        (r"\\(?:geq|geqslant)\b|>=|=>", r"\\ge "),
        (r"\\(?:neq|not ?=)|!=", r"\\ne "),
        (r"\\lt\b", "<"),
        (r"\\gt\b", ">"),
        (r"\\(?:varnothing|empty)\b|\\\{ ?\\\}", r"\\emptyset "),
        (r"\\(?:infin)\b|(?<![a-zA-Z\\])(?:[Ii]nfinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"\+ ?(?=\\infty)", ""),
        (r"\\dots[bcmoi]?\b|\\cdots\b|\.{3,}", r"\\ldots "),
        (r"\\(?:lang|langle)\b", "("),
        (r"\\(?:rang|rangle)\b", ")"),
        (r"\\(?:mid|vert|lvert|rvert)\b", "|"),
        (r"\\begin\s*\{(?:[bvBV]?matrix|smallmatrix|array)\}(?:\s*\{[lcr|@ ]*\})?", r"\\begin{pmatrix}"),
        (r"\\end\s*\{(?:[bvBV]?matrix|smallmatrix|array)\}", r"\\end{pmatrix}"),
        (r"^\( ?(\\begin\{pmatrix\}.*\\end\{pmatrix\}) ?\)$", r"\1"),
        (r"\\log ?_ ?\{? ?e ?\}?(?![a-zA-Z])", r"\\ln "),
        (r"\\(sin|cos|tan) ?\^ ?\{ ?- ?1 ?\}", r"\\arc\1"),
        # as programs and keyboards write
        (r"(?<![a-zA-Z])(?:np|numpy|math|sympy|sp)\.(?=[a-z])", ""),
        (r"(?<![a-zA-Z\\])(a(?:rc)?)(sin|cos|tan)(?=\s?\()", r"\\arc\2 "),
        (rf"(?<![a-zA-Z\\])({_FUNCTIONS})(?=\s?\()", r"\\\1 "),
        (r"(?<![a-zA-Z\\])(?:exp) ?\(([^()]*)\)|\\exp ?\(([^()]*)\)", r"e^{\1\2}"),
        (r"(?<![a-zA-Z\\])sqrt ?(?:\(([^()]*)\)|\{)", lambda m: f"\\sqrt{{{m[1]}}}" if m[1] is not None else "\\sqrt{"),
        (r"(?<![a-zA-Z\\])cbrt ?\(([^()]*)\)", r"\\sqrt[3]{\1}"),
        (r"(?<![a-zA-Z\\])(pi|theta|alpha|beta|phi|omega)(?![a-zA-Z])", r"\\\1 "),
        (r"(?<=[\w)}])\s?\*\*\s?", "^"),
        (r"(?<=[\w)}]) ?\* ?(?=[\w(\\])", r" \\cdot "),
        (r"(?<=\d) ?[xX] ?(?=10 ?\^)", r"\\times "),
        (r"\^ ?\(? ?(-?\d{2,}|-\d) ?\)?(?![\d.}])", r"^{\1}"),  # 10^-7, 10^23: who means 10^2 3 doesn't write so
        (r"(?<=\d) +i\b", "i"),
        (r"^\s*\{([^{}]*)\}\s*$", r"\1"),
        (r" {2,}", " "),
    )
]


def plain(text: str) -> str:
    """One form for what means the same to a reader: no dress, one spelling, no control characters."""
    text = _without_unicode(_unlisted(text.strip()))
    for pattern, by in _REWRITTEN:
        text = pattern.sub(by, text)
    return text.strip().rstrip(".,;: ").removesuffix("\\").strip()


def compact(text: str) -> str:
    """Without blanks that mean nothing: those between two letters or two digits do."""
    return re.sub(r"(?<![a-zA-Z\d]) | (?![a-zA-Z\d])|(?<=\d) (?=[a-zA-Z])|(?<=[a-zA-Z]) (?=\d)", "", text)


def _unlisted(text: str) -> str:
    """``2,3`` for ``['2,3']`` and ``['2', '3']``, as some data sets write a reference."""
    if re.fullmatch(r"\[\s*(['\"]).*\1\s*\]", text, re.S):
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        if all(isinstance(value, str) for value in values):
            return ", ".join(values)
    return text


def _without_unicode(text: str) -> str:
    """LaTeX for superscripts, subscripts, fractions, roots, Greek, bold and wide characters; no control characters."""
    if text.isascii() and text.isprintable():
        return text
    text = re.sub(rf"([{''.join(_ROOTS)}]) ?({_ATOM})?", _root, text)
    written = []
    for character in text:
        if character in "\n\t\u2009\u202f\u00a0":
            written.append(character)
        elif unicodedata.category(character)[0] != "C":
            written.append(_latex(character))
    # neighbours in one script are one index
    text = re.sub(r"(?:\^\{[^{}]*\}){2,}", lambda m: f"^{{{re.sub(r'[{}^]', '', m[0])}}}", "".join(written))
    return re.sub(r"(?:_\{[^{}]*\}){2,}", lambda m: f"_{{{re.sub(r'[{}_]', '', m[0])}}}", text)


def _root(match: re.Match[str]) -> str:
    inside = (match[2] or "").strip("{}() ") if re.fullmatch(r"[{(].*[})]", match[2] or "") else match[2] or ""
    return f"\\sqrt{_ROOTS[match[1]]}{{{inside}}}" if inside else "\\sqrt "


def _latex(character: str) -> str:
    """One character, by Unicode's own decomposition where it has one."""
    if character.isascii():
        return character
    if ord(character) in _SYMBOLS:
        return _SYMBOLS[ord(character)]
    greek = _GREEK.get(unicodedata.name(character, ""))
    if greek:
        return greek
    tag, _, codes = unicodedata.decomposition(character).rpartition(">")
    plain_text = "".join(chr(int(code, 16)) for code in codes.split()) if tag else ""
    plain_text = plain_text.translate(_SYMBOLS)
    if tag == "<super":
        return f"^{{{plain_text}}}"
    if tag == "<sub":
        return f"_{{{plain_text}}}"
    if tag == "<fraction" and "/" in plain_text:
        above, _, below = plain_text.partition("/")
        return f"\\frac{{{above}}}{{{below}}}"
    if tag == "<circle":
        return f"\\textcircled{{{plain_text}}}"
    if tag in ("<wide", "<font", "<narrow", "<compat", "<noBreak"):
        return "".join(map(_latex, plain_text)) if plain_text != character else character
    return character
