"""What a model thought before it replied, taken out of the reply."""

import re

# Opening and closing marks of the model families that write their thoughts into the reply.
MARKS = (
    *((f"<{name}>", f"</{name}>") for name in ("think", "thinking", "thought", "reasoning", "reason", "reflection")),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
)
_HARMONY = re.compile(r"<\|channel\|>\s*final\s*<\|message\|>")  # gpt-oss names the channel of its reply
_OPEN = re.compile("|".join(re.escape(mark) for mark, _ in MARKS) + r"|<\|channel\|>", re.I)
_CLOSED = re.compile("|".join(re.escape(mark) for _, mark in MARKS), re.I)
_SOLUTION = re.compile(r"<\|(?:begin|end)_of_solution\|>|<\|(?:return|end|start)\|>", re.I)


def without_thoughts(text: str) -> tuple[str, bool]:
    """The reply behind the thoughts, and whether there were any.

    Templates often open the thoughts themselves, so a closing mark alone ends them; one that was opened and
    never closed was cut off, and the reply is empty.
    """
    final = _HARMONY.search(text)
    if final:
        return _SOLUTION.sub("", text[final.end() :]).strip(), True
    *_, behind = _CLOSED.split(text)
    opened = _OPEN.search(behind)
    thought = opened is not None or len(behind) < len(text)
    return _SOLUTION.sub("", behind[: opened.start()] if opened else behind).strip(), thought
