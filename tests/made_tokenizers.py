"""Model folders with tokenizers made here, in every form that models come in."""

import json
from pathlib import Path
from typing import Any

import sentencepiece as spm
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from ATTS.serving.tokenizer import PROBE
from ATTS.serving.tokenizer_json import _CHARACTERS

TEXT = "We add \\boxed{3 4/5} and 12345, so\n\n  let x = 7 .\n</think> The end "
CORPUS = [TEXT, "the answer is 3 and 4 of 12345 so we add x to the end", PROBE] * 20
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)
# As Mistral's: user and assistant in turns, a system message only as part of the first user's.
ALTERNATING = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %}{{ m['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
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


def sentencepiece(folder: Path, **config: Any) -> Path:
    """As Llama-2's and Mistral's: the text is taken as it is, and blanks are kept."""
    folder.mkdir()
    with open(folder / "tokenizer.model", "wb") as file:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_writer=file, vocab_size=340, model_type="bpe", byte_fallback=True,
            hard_vocab_limit=False, minloglevel=2, normalization_rule_name="identity", remove_extra_whitespaces=False,
        )  # fmt: skip
    named = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(named | config))
    return folder


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
