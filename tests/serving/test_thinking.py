"""Models that think first, by their templates: the switch, what a run says, the end of a turn that nothing names."""

import json
from pathlib import Path

import pytest
from made_tokenizers import TEMPLATE, byte_level

from ATTS.errors import UserError
from ATTS.serving.thinking import note
from ATTS.serving.tokenizer import ModelTokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = CHATML.replace(
    "assistant\n{% endif",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif",
)
GRANITE = CHATML.replace("{% if add", "{% if thinking %}<|im_start|>system\nThink.<|im_end|>\n{% endif %}{% if add")
QWQ = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")


def made(folder: Path, template: str, marks: tuple[str, ...] = (), **config: object) -> str:
    """A folder whose tokenizer has these marks besides."""
    path = byte_level(folder, chat_template=template, **config)
    described = json.loads((path / "tokenizer.json").read_text())
    start = 1 + max(described["model"]["vocab"].values())
    start = max(start, 1 + max(token["id"] for token in described["added_tokens"]))
    for number, mark in enumerate(marks, start):
        described["added_tokens"].append(
            {"id": number, "content": mark, "special": True, "single_word": False, "lstrip": False, "rstrip": False}
            | {"normalized": False}
        )
    (path / "tokenizer.json").write_text(json.dumps(described))
    return str(path)


MARKS = ("<|im_start|>", "<|im_end|>")


def prompt(tokenizer: ModelTokenizer) -> str:
    return tokenizer.render([{"role": "user", "content": "1 + 1?"}])


def test_a_switch_for_thinking_is_set(tmp_path: Path) -> None:
    qwen = made(tmp_path / "qwen", QWEN3, MARKS)
    off, on, default = (ModelTokenizer(qwen, thinking) for thinking in ("off", "on", "default"))
    assert prompt(off).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert prompt(on) == prompt(default) == "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    granite = made(tmp_path / "granite", GRANITE, MARKS)
    assert "Think." in prompt(ModelTokenizer(granite, "on"))
    assert "Think." not in prompt(ModelTokenizer(granite, "off")) + prompt(ModelTokenizer(granite))


@pytest.mark.parametrize("thinking", ["on", "off"])
@pytest.mark.parametrize("template", [TEMPLATE, CHATML, QWQ])
def test_a_template_without_a_switch_refuses_to_be_told(tmp_path: Path, template: str, thinking: str) -> None:
    with pytest.raises(UserError, match=r"has no switch for thinking .*: use --thinking default"):
        ModelTokenizer(made(tmp_path / "m", template, MARKS), thinking)  # type: ignore[arg-type]


def test_a_template_that_opens_thoughts_is_seen(tmp_path: Path) -> None:
    assert ModelTokenizer(made(tmp_path / "qwq", QWQ, MARKS)).opens_thinking
    assert not ModelTokenizer(made(tmp_path / "chatml", CHATML, MARKS)).opens_thinking
    qwen = made(tmp_path / "qwen", QWEN3, MARKS)
    assert not any(ModelTokenizer(qwen, thinking).opens_thinking for thinking in ("on", "off"))


def test_a_run_says_what_thinking_means_for_its_answers() -> None:
    assert note({"draft": False, "target": False}, False) is None
    assert note({"draft": True, "target": True}, True) is None
    assert "--answer_after_think" in (note({"draft": True, "target": True}, False) or "")
    mixed = note({"draft": True, "target": False}, True) or ""
    assert mixed.startswith("warning: the chat template of the draft opens thoughts")
    assert "that of the target doesn't" in mixed


def test_the_end_of_a_turn_ends_a_text_though_only_the_template_names_it(tmp_path: Path) -> None:
    """A base model with a ChatML template: its files name </s>, its turns end with <|im_end|>."""
    base = ModelTokenizer(made(tmp_path / "base", CHATML, MARKS))
    end = base._tokens.find("<|im_end|>")
    assert base.unannounced_end == end is not None
    assert base.decode([*base.encode("so 4."), end]) == "so 4."
    assert end not in base.encode("written <|im_end|> out")


def test_an_end_that_is_named_needs_no_telling(tmp_path: Path) -> None:
    chat = made(tmp_path / "chat", CHATML, MARKS, eos_token="<|im_end|>")
    assert ModelTokenizer(chat).unannounced_end is None
    both = made(tmp_path / "both", CHATML, MARKS)
    end = ModelTokenizer(both).unannounced_end
    (Path(both) / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, end]}))
    assert ModelTokenizer(both).unannounced_end is None
    assert ModelTokenizer(made(tmp_path / "plain", TEMPLATE)).unannounced_end is None
    no_template = made(tmp_path / "none", "")
    assert ModelTokenizer(no_template).unannounced_end is None
