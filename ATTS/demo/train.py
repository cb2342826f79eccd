"""Train the demo pair from a seed: ``python -m ATTS.demo.train --out DIR`` (2 cores, no GPU).

Both models learn the chains of :mod:`ATTS.demo.family` in exactly the form the servers see them:
prompt, chunk boundaries anywhere, and chains with wrong stretches followed by a correction. A wrong
stretch is context only and never a training target, so neither model is taught to err; the target
also learns to write ``Wait, `` as soon as it holds the pen behind one, the draft only to go on
behind a correction that stands there.
"""

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ATTS.demo import family
from ATTS.demo.family import BREAK, CORRECTION, Problem
from ATTS.method import prompts

END, PAD = "<|end|>", "<|pad|>"
SPECIAL = [END, PAD, "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if not (loop.last and continue_final_message) %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
VOCABULARY = 576
CONTEXT = 2048
# A digit, a paragraph break, a word or a run of signs; a word keeps the space before it, and the one
# after it if a digit follows, so that a number costs one token a digit and no more.
WORDS = r"\d|\n\n| ?[A-Za-z]+(?: (?=\d))?| ?[^\sA-Za-z\d]+(?: (?=\d))?|\s+"
IGNORE = -100  # the label of a token that is context only


@dataclass(frozen=True)
class Recipe:
    """Shape and training of one model."""

    width: int
    layers: int
    heads: int
    learning_rate: float
    short_steps: int  # first on problems of 1 to 3 events, which teach to find and copy
    short_batch: int
    steps: int  # then on the real ones
    batch: int
    error_rate: float  # probability that a wrong stretch stands before a paragraph of a training chain
    corrects: bool  # learns to write "Wait, "; else only to go on behind one


DRAFT = Recipe(32, 3, 2, 6e-3, 1500, 16, 1300, 8, error_rate=0.1, corrects=False)
TARGET = Recipe(96, 6, 3, 2.5e-3, 1500, 16, 2500, 8, error_rate=0.2, corrects=True)


# ------------------------------------------------------------------ tokenizer


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 576 tokens in which digits and paragraph breaks stand alone."""
    rng = random.Random(seed)
    corpus = []
    for problem in itertools.islice(family.problems("train", seed), 3000):
        corpus += [prompts.SYSTEM, prompts.maths(problem.question), problem.solution]
        corpus.append(CORRECTION + rng.choice(problem.paragraphs))
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(  # type: ignore[no-untyped-call]
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


# ------------------------------------------------------------------ documents


RIGHT, WRONG, NOTICED = "right", "wrong", "noticed"
Document = tuple[list[int], list[int], list[int]]  # ids, labels, inside a wrong stretch (0, 1 or IGNORE)


class Writer:
    """Writes training documents: one chain behind its prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, seed: int) -> None:
        self._core = tokenizer.backend_tokenizer
        self._tokenizer = tokenizer
        self._lengths = [len(tokenizer.decode([i])) for i in range(len(tokenizer))]
        self._recipe = recipe
        self._rng = random.Random(seed)

    def document(self, problem: Problem, short: bool) -> Document:
        ids = self._encode(problem.question + "\n") if short else self._prompt(prompts.maths(problem.question))
        labels, wrong = [IGNORE] * len(ids), [IGNORE] * len(ids)
        for kind, segment in self._segments(problem):
            ids += segment
            learned = kind is RIGHT or (kind is NOTICED and self._recipe.corrects)
            labels += segment if learned else [IGNORE] * len(segment)
            wrong += [int(kind is WRONG)] * len(segment)
        return ids, labels, wrong

    def _encode(self, text: str) -> list[int]:
        return list(self._core.encode(text, add_special_tokens=False).ids)

    def _prompt(self, user: str) -> list[int]:
        """The three forms in which a question reaches a server: two chats and the raw text."""
        form = self._rng.random() if self._recipe.corrects else 0.0
        if form > 0.7:
            return self._encode(user + "\n")
        messages = [{"role": "user", "content": user}]
        if form < 0.3:
            messages.insert(0, {"role": "system", "content": prompts.SYSTEM})
        return self._encode(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _segments(self, problem: Problem) -> Iterator[tuple[str, list[int]]]:
        """The chain in pieces: right text, a wrong stretch, that it is noticed, right text, ..."""
        *steps, answer = problem.paragraphs
        text = ""  # right text since the last segment
        for i, right in enumerate(steps):
            if self._rng.random() < self._recipe.error_rate:
                wrong = self._wrong_stretch(problem, i)
                same = len(text) + family.common_prefix(wrong, right)
                ids = self._encode(text + wrong)
                ends = itertools.accumulate(self._lengths[token] for token in ids)
                first = next(k for k, end in enumerate(ends) if end > same)  # the first wrong token
                yield RIGHT, ids[:first]
                yield WRONG, ids[first:]
                yield NOTICED, self._encode(CORRECTION)
                text = ""
            text += right + BREAK
        yield RIGHT, [*self._encode(text + answer), self._tokenizer.eos_token_id]

    def _wrong_stretch(self, problem: Problem, index: int) -> str:
        """One to three whole paragraphs of a sloppy solver from ``index`` on: a slip, then true to it.

        Whole ones, although a draft's chunk may end anywhere: the target is taught to let a step run
        to its end and to correct it there, which it learns far more reliably than to break it off.
        """
        rng = self._rng
        events, value = problem.events[index:], problem.values[index]
        slip = rng.choices(("result", "operand", "amount", "verb", "skip", "stop"), (70, 10, 8, 5, 4, 3))[0]
        if slip == "stop" or not events:
            return problem.ending(value if events else self._near(value))[0] + BREAK
        if slip == "skip" and len(events) > 1:
            events = events[1:]
        first, *others = events
        result = None
        if slip == "operand":
            value = self._near(value)
        elif slip == "amount" and first.amount:
            first = replace(first, amount=self._near(first.amount))
        elif slip == "verb" and first.amount:
            first = replace(first, verb=rng.choice([v for v in family.GAINS + family.LOSSES if v != first.verb]))
        elif slip != "skip" or not others:
            result = self._near(first.apply(value))
        written = [first.step(value, result)]
        value = first.apply(value) if result is None else result
        for event in others[: rng.choices((0, 1, 2), (5, 3, 2))[0]]:
            written.append(event.step(value))
            value = event.apply(value)
        return BREAK.join(written) + BREAK

    def _near(self, value: int) -> int:
        """A plausible slip of a two-digit number."""
        rng = self._rng
        slips = [*range(-9, 10), -1, 1, -1, 1, -10, 10, -10, 10, rng.randint(-40, 40)]
        return int(rng.choice([abs(value + slip) for slip in slips if abs(value + slip) != value]))


def shorten(problem: Problem, rng: random.Random) -> Problem:
    """One to three consecutive events of ``problem``."""
    length = rng.randint(1, 3)
    start = rng.randrange(len(problem.events) - length + 1)
    return replace(problem, start=problem.values[start], events=problem.events[start : start + length])


# ------------------------------------------------------------------ training


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[list[torch.Tensor]]:
    """Padded documents, three tensors (batch, length); documents of like length stand together."""
    rng = random.Random(seed)
    writer = Writer(tokenizer, recipe, seed)
    stream = family.problems("train", seed)
    for steps, size, short in ((recipe.short_steps, recipe.short_batch, True), (recipe.steps, recipe.batch, False)):
        while steps > 0:
            groups = min(steps, 32)
            steps -= groups
            problems = itertools.islice(stream, groups * size)
            pool = sorted(
                (writer.document(shorten(p, rng) if short else p, short) for p in problems), key=lambda d: len(d[0])
            )
            order = rng.sample(range(groups), groups)
            for g in order:
                yield pad(pool[g * size : (g + 1) * size], tokenizer.pad_token_id)


def pad(documents: list[Document], filler: int) -> list[torch.Tensor]:
    length = max(len(ids) for ids, _, _ in documents)
    columns = zip(*documents, strict=True)
    return [
        torch.tensor([part + [empty] * (length - len(part)) for part in column])
        for column, empty in zip(columns, (filler, IGNORE, IGNORE), strict=True)
    ]


def train(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            intermediate_size=recipe.width * 3,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    # A training aid of the model that corrects: one layer from the top, every token must tell whether
    # the chain is wrong here. "Wait, " alone is one token in a hundred and teaches it too slowly.
    alarm = torch.nn.Linear(recipe.width, 1)
    parameters = [*model.parameters(), *alarm.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    steps = recipe.short_steps + recipe.steps
    started = time.perf_counter()
    for step, (ids, labels, wrong) in enumerate(batches(recipe, tokenizer, seed)):
        warm_up, cool_down = (step + 1) / 50, 2 * (steps - step) / steps
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, warm_up, cool_down)
        out = model.model(ids, use_cache=False, output_hidden_states=True)
        learned = labels[:, 1:] != IGNORE
        logits = model.lm_head(out.last_hidden_state[:, :-1][learned])
        loss = torch.nn.functional.cross_entropy(logits, labels[:, 1:][learned])
        told = 0.0
        if recipe.corrects:
            known = wrong != IGNORE
            told = torch.nn.functional.binary_cross_entropy_with_logits(
                alarm(out.hidden_states[-2][known])[:, 0], wrong[known].float()
            )
        (loss + told).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == steps - 1:
            seconds = time.perf_counter() - started
            print(f"step {step}/{steps}  loss {loss.item():.4f}  alarm {float(told):.4f}  {seconds:.0f} s", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("draft", "target"))
    args = parser.parse_args()
    tokenizer = make_tokenizer(args.seed)
    for role, recipe in (("draft", DRAFT), ("target", TARGET)):
        if args.only in (None, role):
            model = train(recipe, tokenizer, args.seed)
            model.save_pretrained(args.out / role)
            tokenizer.save_pretrained(args.out / role)


if __name__ == "__main__":
    main()
