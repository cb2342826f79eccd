"""Answers that are made to hang, crash or blow up a grader, for its tests and its benchmark."""

import random
from collections.abc import Callable, Iterator

REFERENCES = ("5", r"\frac{1}{2}", "(3,4]", r"\sqrt{51}", "x^2+1", r"\text{east}", "1,-2", "2516_8")

_PIECES = (
    *("{", "}", "(", ")", "[", "]", "\\", "$", "^", "_", "&", "%", "#", "~", ",", ".", "!", "=", "<", "|", "'", "-"),
    *(r"\frac", r"\sqrt", r"\left", r"\right", r"\begin{pmatrix}", r"\end{pmatrix}", r"\\", r"\text{", r"\int_0^1"),
    *(r"\sum_{n=1}^{\infty}", r"\boxed{", r"\cup", r"\infty", r"\pm", r"\log", r"\sin", "x", "i", "e", "9", "0", "10"),
    *("\x00", "\x07", "\x1b[31m", "\u202e", "\ud83d\ude00", "\ufffd", "\n\n", "\t", "nan", "inf", "True", "__import__"),
)


def answers(seed: int = 0) -> Iterator[str]:
    """Endless, each of another kind than the one before, by seed always the same."""
    rng = random.Random(seed)
    while True:
        for kind in _KINDS:
            yield kind(rng)


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """``count`` checks, a hostile answer each; every tenth has the hostile text as its reference."""
    made = [(REFERENCES[i % len(REFERENCES)], text) for i, text in zip(range(count), answers(seed), strict=False)]
    return [(text, reference) if i % 10 == 9 else (reference, text) for i, (reference, text) in enumerate(made)]


def _soup(rng: random.Random) -> str:
    return "".join(rng.choice(_PIECES) for _ in range(rng.randint(1, 40)))


def _nested(rng: random.Random) -> str:
    brackets = (("{", "}"), ("(", ")"), (r"\frac{1}{", "}"), (r"\sqrt{", "}"), (r"\left(", r"\right)"))
    opening, closing = rng.choice(brackets)
    depth = rng.choice((5, 11, 20, 100, 5000))
    return opening * depth + "x" + closing * rng.choice((depth, depth - 1, depth + 1, 0))


def _power(rng: random.Random) -> str:
    digits = "9" * rng.randint(1, 12)
    return rng.choice(
        (
            f"{digits}^{{{digits}}}",
            f"{digits}^{{{digits}^{{{digits}}}}}",
            "9" + "^{9" * rng.randint(1, 30) + "}" * 30,
            f"{digits}!",
            f"{digits}" + "!" * rng.randint(1, 9),
            rf"({digits}!)^{{{digits}}}",
            rf"\binom{{{digits}}}{{{digits[:-1] or 1}}}",
            rf"2^{{2^{{{rng.randint(1, 99)}}}}}",
            rf"10^{{10^{{{rng.randint(1, 99)}}}}}",
            rf"(x+y)^{{{digits}}}",
            rf"(x+1)^{{{rng.randint(10, 999)}}} (x-1)^{{{rng.randint(10, 999)}}}",
            rf"\sqrt[{digits}]{{{digits}}}",
            rf"\log_{{{digits}}}({digits}^{{{digits}}})",
        )
    )


def _huge(rng: random.Random) -> str:
    unit = rng.choice(("1+", "x*", "9", "(1,2),", r"\cup[1,2]", "\\frac{1}{2}+", "a", "-", "\x00", "1&2\\\\", " "))
    return unit * (rng.choice((30, 390, 2_000, 300_000)) // len(unit)) + "1"


def _endless(rng: random.Random) -> str:
    n = rng.randint(2, 10**6)
    return rng.choice(
        (
            rf"\sum_{{k=1}}^{{{n}}} \frac{{1}}{{k^2}}",
            rf"\prod_{{k=1}}^{{{n}}} (k+x)",
            rf"\int_0^{{{n}}} e^{{-x^2}} \sin(x^x) dx",
            rf"\lim_{{x \to 0}} \sin(\frac{{{n}}}{{x}})^{{\frac{{1}}{{x}}}}",
            rf"\sin(\cos(\tan(\exp({n}x))))",
            rf"\{{x \in R : x^{rng.randint(5, 50)} + x + 1 = 0\}}",
            rf"x^{rng.randint(5, 50)} + 3x^2 - {n} = 0",
            rf"\sqrt{{{n}+\sqrt{{{n}+\sqrt{{{n}}}}}}}",
            r"\begin{pmatrix}" + r"\\".join("&".join(["x"] * 12) for _ in range(12)) + r"\end{pmatrix}",
            rf"\begin{{pmatrix}}1&{n}\\3\end{{pmatrix}}^{{{n}}}",
            rf"\frac{{d^{{{n}}}}}{{dx^{{{n}}}}} x^{{{n}}}",
            rf"{n} \mod {n * n}",
        )
    )


def _broken(rng: random.Random) -> str:
    wholes = (r"\frac{1}{2}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\left( 3, \frac{\pi}{2} \right]", "x=5")
    text = list(rng.choice(wholes))
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(text))
        text[place] = rng.choice((*_PIECES, "", text[place] * 3))
    return "".join(text)


_KINDS: tuple[Callable[[random.Random], str], ...] = (_soup, _nested, _power, _huge, _endless, _broken)
