"""Tokenizers made here in every form that models come in: each gives every text back, in any cutting."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ATTS import demo
from ATTS.emulator import Scripted, Served, Server, Written
from ATTS.errors import UnknownCharacter, UserError
from ATTS.method.chain import whole_characters
from ATTS.runs import models as served_models
from ATTS.serving.capacity import CapacityLimiter
from ATTS.serving.client import ServerInfo, SGLangModel, new_session, tokenized
from ATTS.serving.tokenizer import PROBE, ModelTokenizer
from ATTS.serving.tokenizer_json import _CHARACTERS

TEXT = "We add \\boxed{3 4/5} and 12345, so\n\n  let x = 7 .\n</think> The end "
CORPUS = [TEXT, "the answer is 3 and 4 of 12345 so we add x to the end", PROBE] * 20
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)
SPECIAL = ["<unk>", "<s>", "</s>"]


def save(core: Tokenizer, folder: Path, **config: Any) -> Path:
    folder.mkdir()
    core.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(named | config))
    return folder


def byte_level(folder: Path, digits: str = r"\d", **config: Any) -> Path:
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(digits + r"| ?[A-Za-z]+|\s+|[^\sA-Za-z\d]+"), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    core.add_special_tokens([AddedToken("</think>", lstrip=True, rstrip=True)])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return save(core, folder, **config)


def metaspace(folder: Path, scheme: str) -> Path:
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps if scheme != "never" else steps[:3])
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)
    core.train_from_iterator([t.replace("\n", "").replace("字", "") for t in CORPUS], trainer)
    described = json.loads(core.to_str())
    vocab = described["model"]["vocab"]
    vocab |= {token: len(vocab) + i for i, token in enumerate(bytes_)}
    return save(Tokenizer.from_str(json.dumps(described)), folder)


def sentencepiece(folder: Path) -> Path:
    import sentencepiece as spm

    folder.mkdir()
    with open(folder / "tokenizer.model", "wb") as file:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_writer=file, vocab_size=340, model_type="bpe", byte_fallback=True,
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


MADE: dict[str, Callable[[Path], Path]] = {
    "llama class, byte-level file": lambda f: byte_level(f, tokenizer_class="LlamaTokenizerFast"),
    "qwen2, digits in threes": lambda f: byte_level(f, r"\d{1,3}", tokenizer_class="PreTrainedTokenizerFast"),
    "always": lambda f: metaspace(f, "always"),
    "first": lambda f: metaspace(f, "first"),
    "never": lambda f: metaspace(f, "never"),
    "sentencepiece": sentencepiece,
}


@pytest.fixture(scope="module", params=list(MADE))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    if request.param == "sentencepiece":
        pytest.importorskip("sentencepiece")
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


def without_bytes(folder: Path, *values: int) -> Path:
    """A byte-level tokenizer, as :func:`byte_level`, whose vocabulary lacks these bytes."""
    described = json.loads((byte_level(folder) / "tokenizer.json").read_text())
    vocab, merges = described["model"]["vocab"], described["model"]["merges"]
    gone = {_CHARACTERS[value] for value in values}
    kept = [token for token in vocab if not gone & set(token)]
    described["model"]["vocab"] = {token: number for number, token in enumerate(kept)}
    described["model"]["merges"] = [pair for pair in merges if not gone & set("".join(pair))]
    for token in described["added_tokens"]:
        token["id"] = described["model"]["vocab"].get(token["content"], len(kept))
    (folder / "tokenizer.json").write_text(json.dumps(described))
    return folder


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
