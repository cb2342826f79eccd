"""Texts that want to be markup, script, another file or an error when they are shown."""

TEXTS = [
    "<script>window.taken=1</script>",
    "</script><script>window.taken=1</script>",
    "<img src=x onerror='window.taken=1'>",
    "<svg/onload=window.taken=1>",
    "<iframe src='javascript:parent.taken=1'></iframe>",
    "\"><b onmouseover='window.taken=1'>bold</b>",
    "'); window.taken=1; ('",
    "]]>--><!--<![CDATA[",
    "{{ 7*7 }}{% raw %}${window.taken=1}`${window.taken=1}`",
    "$\\href{javascript:window.taken=1}{x}$ and $\\includegraphics{http://127.0.0.1:9/x.png}$",
    "$\\htmlStyle{color:red}{x}\\htmlData{a=1}{y}\\url{http://127.0.0.1:9}$",
    "$\\def\\x{\\x\\x}\\x$ $\\frac{1$ $\\text{<img src=x onerror=window.taken=1>}$",
    "$$\\rule{1000000em}{1000000em}$$ \\(\\unknown{\\) \\[",
    "line\u2028separator\u2029paragraph\x00zero\x1b[31mred\r\n\ttab",
    "half \ud800 a character \udfff",
    "right\u202eto left\u202c, ﷽, 👩‍👩‍👧, combining " + "e" + "\u0301" * 50,
    "__proto__ constructor toString",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=1 onerror=window.taken=1>'>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'><base href='http://127.0.0.1:9/'>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css><style>@import 'http://127.0.0.1:9/y.css';*{display:none}</style>",
    "a" * 20_000,
]


def text(number: int, plain: str) -> str:
    """One of them beside the plain text."""
    return f"{TEXTS[number % len(TEXTS)]} {plain}"
