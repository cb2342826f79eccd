"""Tokenizers made here in every form that models come in: each gives every text back, in any cutting."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tokenizers import (
    ALTERNATING,
    GEMMA,
    TEMPLATE,
    TEXT,
    byte_level,
    metaspace,
    save,
    sentencepiece,
    without_bytes,
)
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, models

from ATTS import demo
from ATTS.emulator import Scripted, Served, Server, Written
from ATTS.errors import UnknownCharacter, UserError
from ATTS.method.chain import whole_characters
from ATTS.runs import models as served_models
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import ServerInfo, new_session, tokenized
from ATTS.serving.tokenizer import PROBE, ModelTokenizer

MADE: dict[str, Callable[[Path], Path]] = {
    "llama class, byte-level file": lambda f: byte_level(f, tokenizer_class="LlamaTokenizerFast"),
    "qwen2, digits in threes": lambda f: byte_level(f, r"\d{1,3}", tokenizer_class="PreTrainedTokenizerFast"),
    "always": lambda f: metaspace(f, "always"),
    "first": lambda f: metaspace(f, "first"),
    "never": lambda f: metaspace(f, "never"),
    "sentencepiece": sentencepiece,
    "sentencepiece, legacy": lambda f: sentencepiece(f, legacy=True),
}


@pytest.fixture(scope="module", params=list(MADE))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = MADE[request.param](tmp_path_factory.mktemp("made") / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2" if "qwen2" in request.param else "llama"}))
    return ModelTokenizer(str(folder))


@pytest.mark.parametrize("size", [1, 3, 6])
def test_chunks_of_a_text_give_it_back_and_are_read_alike(made: ModelTokenizer, size: int) -> None:
    other = ModelTokenizer(str(demo.MODELS["target"]))
    ids = made.encode(TEXT)
    chunks = [made.decode(ids[i : i + size]) for i in range(0, len(ids), size)]
    assert "".join(chunks) == TEXT
    assert other.decode([token for chunk in chunks for token in other.encode(chunk)]) == TEXT
    assert made.decode([token for chunk in chunks for token in made.encode(chunk)]) == TEXT


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30), cut=st.integers(0, 30))
def test_every_text_is_given_back_in_any_cutting(made: ModelTokenizer, text: str, cut: int) -> None:
    parts = [text[:cut], text[cut:]]
    assert made.decode([token for part in parts for token in made.encode(part)]) == text
    ids = made.encode(text)
    kept, head = whole_characters(made, ids[:cut])
    assert text.startswith(head)
    assert made.decode(kept + made.encode(text[len(head) :])) == text


def test_ids_are_those_of_the_file_whatever_the_class(tmp_path: Path) -> None:
    folder = byte_level(tmp_path / "m", r"\d{1,3}", tokenizer_class="LlamaTokenizerFast")
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert ModelTokenizer(str(folder)).begin(PROBE) == own.encode(PROBE, add_special_tokens=False).ids


def test_marks_stay_and_end_tokens_do_not(tmp_path: Path) -> None:
    made = ModelTokenizer(str(byte_level(tmp_path / "m")))
    ids = made.encode("so </think> 3")
    assert made._tokens.find("</think>") in ids
    assert made.decode([*ids, made.end]) == "so </think> 3"
    assert made.end not in made.encode("written </s> out")


def test_a_tokenizer_without_bytes_is_refused_with_a_way_out(tmp_path: Path) -> None:
    core = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    with pytest.raises(UserError, match=r"bytes have no token .* use a model"):
        ModelTokenizer(str(save(core, tmp_path / "m")))


def test_control_characters_may_lack_and_end_a_sample_that_holds_one(tmp_path: Path) -> None:
    """SmolLM2's vocabulary has no 0x04 and no 0xF1; all other texts are written exactly."""
    made = ModelTokenizer(str(without_bytes(tmp_path / "m", 0x04, 0xF1)))
    assert made.decode(made.encode(PROBE + "\x03\x05")) == PROBE + "\x03\x05"
    for text, named in (("a \x04 b", r"U\+0004"), ("a \U00050000", r"U\+50000")):
        with pytest.raises(UnknownCharacter, match=f"the chain holds {named}, for which the tokenizer of"):
            made.encode(text)
    for number, value in enumerate((ord("x"), ord("\n"), 0xE4, 0xF0)):
        with pytest.raises(UserError, match=rf"1 bytes have no token \(0x{value:02X}"):
            ModelTokenizer(str(without_bytes(tmp_path / str(number), value)))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither tokenizer\.json nor"):
        ModelTokenizer(str(tmp_path))


def test_a_template_without_a_system_role_gets_the_text_in_the_user_turn(tmp_path: Path) -> None:
    made = ModelTokenizer(str(byte_level(tmp_path / "m", chat_template=GEMMA)))
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert made.render(messages) == "<s>[user]S\n\nU"


def test_where_roles_must_alternate_neighbours_of_one_role_are_one_message(tmp_path: Path) -> None:
    made = ModelTokenizer(str(byte_level(tmp_path / "m", chat_template=ALTERNATING)))

    def render(*messages: tuple[str, str]) -> str:
        return made.render([{"role": role, "content": content} for role, content in messages])

    assert render(("user", "U")) == "<s>[INST] U [/INST]"
    assert render(("system", "S"), ("user", "U")) == "<s>[INST] S\n\nU [/INST]"
    assert render(("user", "U"), ("assistant", "A"), ("user", "V")) == "<s>[INST] U [/INST]A</s>[INST] V [/INST]"
    assert render(("system", "S"), ("user", "U"), ("user", "V"), ("assistant", "A"), ("assistant", "B")) == (
        "<s>[INST] S\n\nU\n\nV [/INST]A\n\nB</s>"
    )
    with pytest.raises(UserError, match=r"can't write a conversation of assistant, user: Conversation roles must alt"):
        render(("assistant", "A"), ("user", "U"))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_sentencepiece_folder_has_the_ids_of_its_model_and_of_its_behaviour_behind_special_tokens(
    tmp_path: Path, legacy: bool
) -> None:
    """Legacy (Llama-2): the text behind a special token begins with a blank of its own, as the first one does."""
    made = ModelTokenizer(str(sentencepiece(tmp_path / "m", legacy=legacy)))
    core = SentencePieceProcessor(model_file=str(tmp_path / "m/tokenizer.model"))
    first, last = core.bos_id(), core.eos_id()
    assert made.begin(TEXT) == core.encode(TEXT)
    assert made.plain_prompt(TEXT) == [first, *core.encode(TEXT)]
    joined = made.begin("<s>the end</s>the end")
    begun = core.encode("the end")
    assert made._tokens.piece(begun[0]).startswith(b" ")
    assert joined[: joined.index(last)] == [first, *(begun if legacy else made.encode("the end"))]
    assert joined[joined.index(last) + 1 :] == (begun if legacy else made.encode("the end"))
    assert made.encode("the end") != begun  # a chunk stands behind other text, legacy or not
    assert (made.end, made.decode([*made.encode("x"), made.end])) == (last, "x")


def test_templates_by_name_and_in_a_file(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    folder = byte_level(tmp_path / "m", chat_template=named)
    assert ModelTokenizer(str(folder)).render([{"role": "user", "content": "U"}]) == "<s>[user]U"
    (folder / "chat_template.jinja").write_text("file " + TEMPLATE)
    assert ModelTokenizer(str(folder)).render([{"role": "user", "content": "U"}]) == "file <s>[user]U"


@pytest.mark.parametrize("template", [None, "{% if %}", "{{ raise_exception('never') }}", "nothing"])
def test_a_template_that_fails_is_one_line(tmp_path: Path, template: str | None) -> None:
    made = ModelTokenizer(str(byte_level(tmp_path / "m", chat_template=template)))
    with pytest.raises(UserError, match="chat template") as caught:
        made.prompt("U", "S")
    assert "\n" not in str(caught.value)


def test_the_servers_own_ids_are_compared(tmp_path: Path) -> None:
    folder = byte_level(tmp_path / "m")

    async def go() -> None:
        content = Scripted(lambda _: Written("x"), lambda _, __: [])
        async with Server(Served(role="draft", name="m", content=content)) as server, new_session(10) as session:
            info = ServerInfo(frozenset({"m"}), "m", str(folder), 100, "0.5.23")
            assert await tokenized(session, server.url, "draft", "m", "12") is not None
            assert await tokenized(session, server.url + "/no", "draft", "m", "12") is None
            model = SGLangModel(session, server.url, "draft", info, CapacityLimiter(1), 0)
            with pytest.raises(UserError, match="another tokenizer"):
                await served_models._tokenizer(session, model, "m")

    asyncio.run(go())


def test_loaders_that_join_a_blank_at_the_very_beginning_are_no_other_tokenizer(tmp_path: Path) -> None:
    """SentencePiece puts its own blank before one that begins a text, transformers 5 does not. No prompt begins so."""
    ours = metaspace(tmp_path / "ours", "first")
    described = json.loads((ours / "tokenizer.json").read_text())
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    described["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replaced]}
    served = save(Tokenizer.from_str(json.dumps(described | {"pre_tokenizer": None})), tmp_path / "served")
    assert ModelTokenizer(str(ours)).begin(PROBE) != ModelTokenizer(str(served)).begin(PROBE)

    async def go() -> None:
        content = Scripted(lambda _: Written("x"), lambda _, __: [])
        about = Served(role="draft", name="m", content=content, tokenizer=str(served))
        async with Server(about) as server, new_session(10) as session:
            info = ServerInfo(frozenset({"m"}), "m", str(ours), 100, "0.5.23")
            model = SGLangModel(session, server.url, "draft", info, CapacityLimiter(1), 0)
            assert (await served_models._tokenizer(session, model, "m")).source == str(ours)

    asyncio.run(go())
