"""Train the demo pair from a seed: ``python scripts/demo_pair/train.py --out DIR`` (2 cores, no GPU).

Both models learn the chains of :mod:`ATTS.demo.family` in exactly the form the servers see them:
prompt, chunk boundaries anywhere, and chains with wrong stretches followed by a correction. A wrong
token is never a training target, so neither model is taught to err; to carry a wrong step to its end
is, because a chunk can end inside one. The target also learns to write ``Wait, `` at the end of that
step and both to complete a correction, because a chunk can end inside one, and to go on behind it.
"""

import argparse
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from documents import IGNORE, Document, Writer, make_tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ATTS.demo import family
from ATTS.demo.family import Problem

CONTEXT = 2048
RECITED = 0.02  # nats a token: the diary is known by heart, which comes suddenly, and not always at the same time
RARE = 10.0  # weight of a yes, against a no, in what the model has to tell


@dataclass(frozen=True)
class Recipe:
    """Shape and training of one model."""

    width: int
    layers: int
    heads: int
    learning_rate: float
    threads: int  # another number sums in another order and trains another model
    recitals: int  # at most this number of batches of the diary's lines in any order, which teach to look up
    drills: int  # then, at most, of single steps, which teach to reckon
    drilled: float  # nats a token below which they end, which sets how well a draft reckons
    drill_size: int  # documents a batch of either
    plain: int  # then batches of right chains, which teach to put steps together
    chains: int  # then batches of chains with wrong stretches
    chain_size: int
    error_rate: float  # of wrong stretches in the chains it learns from
    corrects: bool  # learns to begin a correction; else only to complete one and to go on behind it


DRAFT = Recipe(
    width=64,
    layers=4,
    heads=4,
    learning_rate=3e-3,
    threads=1,
    recitals=3000,
    drills=3000,
    drilled=0.14,
    drill_size=16,
    plain=220,
    chains=290,
    chain_size=8,
    error_rate=0.3,
    corrects=False,
)
TARGET = Recipe(
    width=96,
    layers=6,
    heads=6,
    learning_rate=2e-3,
    threads=2,
    recitals=0,
    drills=800,
    drilled=0.0,
    drill_size=16,
    plain=800,
    chains=7000,
    chain_size=8,
    error_rate=0.25,
    corrects=True,
)


@dataclass(frozen=True)
class Lesson:
    """One kind of documents, in batches: each a tensor (batch, length) for each list of a Document."""

    name: str
    batches: Iterator[list[Tensor]]
    length: int  # batches
    enough: float = 0.0  # ends early once the token loss, in nats, is below


def lessons(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> list[Lesson]:
    """What a model learns, in order."""
    rng = random.Random(seed)
    flawless, writer = (Writer(tokenizer, rate, recipe.corrects, seed) for rate in (0.0, recipe.error_rate))
    stream = family.problems("train", seed)

    def batches(left: int, size: int, write: Callable[[Problem], Document]) -> Iterator[list[Tensor]]:
        while left > 0:  # documents of like length stand together
            groups = min(left, 32)
            left -= groups
            problems = itertools.islice(stream, groups * size)
            pool = sorted((write(problem) for problem in problems), key=lambda document: len(document.ids))
            for g in rng.sample(range(groups), groups):
                yield pad(pool[g * size : (g + 1) * size], tokenizer.pad_token_id)

    return [
        Lesson(name, batches(length, size, write), length, enough)
        for name, length, size, write, enough in (
            ("recitals", recipe.recitals, recipe.drill_size, writer.recital, RECITED),
            ("drills", recipe.drills, recipe.drill_size, writer.drill, recipe.drilled),
            ("plain", recipe.plain, recipe.chain_size, flawless.document, 0.0),
            ("chains", recipe.chains, recipe.chain_size, writer.document, 0.0),
        )
    ]


def pad(documents: list[Document], filler: int) -> list[torch.Tensor]:
    length = max(len(document.ids) for document in documents)
    columns = zip(*((d.ids, d.labels, d.slips, d.astray) for d in documents), strict=True)
    return [
        torch.tensor([part + [empty] * (length - len(part)) for part in column])
        for column, empty in zip(columns, (filler, IGNORE, IGNORE, IGNORE), strict=True)
    ]


class Aids(torch.nn.Module):  # type: ignore[misc]
    """What a model has to tell on the way up, so that each layer can build on the last.

    Two layers from the bottom: of which month this line is. To look up an amount by its month is the
    first thing to learn, and without this it comes late, or with some seeds and processors never. One
    that corrects: half-way up, the next token; two layers from the top, whether this step contradicts
    what stands before it; one from the top, whether the chain has gone astray. "Wait, " alone is one
    token in a hundred and teaches all this too slowly. Dropped after the training.
    """

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self._corrects = recipe.corrects
        self.month = torch.nn.Linear(recipe.width, len(tokenizer))
        self.slip, self.astray = torch.nn.Linear(recipe.width, 1), torch.nn.Linear(recipe.width, 1)
        texts = [tokenizer.decode([i]) for i in range(len(tokenizer))]
        self._months = torch.tensor([text.strip() in family.MONTHS for text in texts])
        self._breaks = torch.tensor(["\n" in text for text in texts])

    def forward(
        self, model: LlamaForCausalLM, layers: Sequence[Tensor], parts: Sequence[Tensor], tell: bool
    ) -> dict[str, Tensor]:
        """The losses; those of slips only once the model can reckon (``tell``): they hold that up."""
        ids, labels, slips, astray = parts
        months = line_months(ids, self._months[ids], self._breaks[ids])
        losses = {"month": torch.nn.functional.cross_entropy(self.month(layers[2]).mT, months, ignore_index=IGNORE)}
        if self._corrects:
            losses["early"] = token_loss(model, model.model.norm(layers[len(layers) // 2]), labels)
            if tell:
                losses["slip"] = yes_or_no(self.slip, layers[-3], slips)
                losses["astray"] = yes_or_no(self.astray, layers[-2], astray)
        return losses


def line_months(ids: Tensor, is_month: Tensor, is_break: Tensor) -> Tensor:
    """The month that stands in each token's line up to it, as a token; IGNORE where none does. All (batch, length)."""
    places = torch.arange(ids.shape[1]).expand_as(ids)
    month, line = (places.where(marked, -1).cummax(1).values for marked in (is_month, is_break))
    return ids.gather(1, month.clamp(min=0)).where(month > line, IGNORE)


def token_loss(model: LlamaForCausalLM, hidden: Tensor, labels: Tensor) -> Tensor:
    learned = labels[:, 1:] != IGNORE
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[:, :-1][learned]), labels[:, 1:][learned])


def yes_or_no(head: torch.nn.Linear, hidden: Tensor, labels: Tensor) -> Tensor:
    known = labels != IGNORE
    told, wanted = head(hidden[known])[:, 0], labels[known].float()
    return torch.nn.functional.binary_cross_entropy_with_logits(told, wanted, pos_weight=torch.tensor(RARE))


def train(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    torch.set_num_threads(recipe.threads)
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
            initializer_range=recipe.width**-0.5,  # with the usual 0.02 a model this narrow never learns to look up
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    aids = Aids(recipe, tokenizer)
    parameters = [*model.parameters(), *aids.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    step, left = 0, recipe.plain + recipe.chains
    cool_down = 0.6 * left
    recent: list[dict[str, float]] = []
    started = time.perf_counter()
    for lesson in lessons(recipe, tokenizer, seed):
        for k, parts in enumerate(lesson.batches, start=1):
            step += 1
            left -= lesson.name in ("plain", "chains")
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * min(1.0, step / 50, (left + 1) / cool_down)
            out = model.model(parts[0], use_cache=False, output_hidden_states=True)
            losses = {"token": token_loss(model, out.last_hidden_state, parts[1])}
            losses |= aids(model, out.hidden_states, parts, tell=lesson.name == "chains")
            torch.stack([*losses.values()]).sum().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            recent.append({name: loss.item() for name, loss in losses.items()})
            if k % 100 == 0 or k == lesson.length:
                means = {name: sum(r[name] for r in recent) / len(recent) for name in losses}
                told = "  ".join(f"{name} {mean:.4f}" for name, mean in means.items())
                print(f"{lesson.name} {k}/{lesson.length}  {told}  {time.perf_counter() - started:.0f} s", flush=True)
                recent.clear()
                if means["token"] < lesson.enough:
                    break
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
            (args.out / role / "model.safetensors").chmod(0o644)  # written for its owner only


if __name__ == "__main__":
    main()
