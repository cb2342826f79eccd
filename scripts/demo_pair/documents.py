"""What the demo pair is trained on: its tokenizer, and documents in the form that the servers see."""

import itertools
import random
from dataclasses import dataclass, replace

import solutions
from solutions import BREAK, CORRECTION
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ATTS.baselines.prompts import (
    SPEC_REASON_JUDGE,
    SPEC_REASON_SCORE,
    THINK,
    spec_reason_maths,
    speculative_thinking_maths,
)
from ATTS.demo import family
from ATTS.demo.family import Problem
from ATTS.method import prompts

END, PAD = "<|end|>", "<|pad|>"
SPECIAL = [END, PAD, "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if not (loop.last and continue_final_message) %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
VOCABULARY = 640
# A digit, a paragraph break, a word or a run of signs with the spaces around it. No look-ahead: a text
# cut between two tokens encodes to the same ones, so both models see the same chain wherever a chunk ends.
WORDS = r"\d|\n\n| ?[A-Za-z]+ ?| ?[^\sA-Za-z\d]+ ?|\s+"
FORMS = ("system", "chat", "raw", "spec_reason", "speculative_thinking")  # of a prompt, and their weights
FORMS_CORRECTING, FORMS_DRAFTING = (26, 32, 26, 8, 8), (70, 0, 0, 15, 15)
IGNORE = -100  # a label where there is nothing to learn


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 640 tokens in which digits and paragraph breaks stand alone."""
    rng = random.Random(seed)
    corpus = []
    for problem in itertools.islice(family.problems("train", seed), 3000):
        corpus += [prompts.SYSTEM, prompts.maths(problem.question), solutions.solution(problem)]
        corpus.append(rng.choice(solutions.corrections(problem)))
        corpus += [spec_reason_maths(""), speculative_thinking_maths(""), THINK]
        corpus += [SPEC_REASON_JUDGE, SPEC_REASON_SCORE, RECAP]
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


SLIPS = {"result": 70, "operand": 10, "amount": 8, "verb": 4, "skip": 4, "stop": 4}  # and their weights
DRILLED_SLIPS = {"result": 70, "amount": 15, "verb": 15}
# A draft often errs again right behind a correction, and in the same way: without such chains the target
# names the wrong result, which then stands twice, as the place to go on from.
AGAIN = 0.4  # probability of one more wrong stretch behind a correction
DIFFERENTLY = 0.5  # and that it is another one
# What the baselines need of the pair: a sentence that Speculative Thinking puts in, and SpecReason's scores.
RECAP = "Let me check whether there are some wrong steps:"
RECAPPED = 0.03  # probability before a paragraph
JUDGED = 0.15  # share of the chains of the one who corrects that end in a score
GOOD, BAD = "9", "1"
# A chunk's end tears many a correction, and the draft, which can't tell where the chain went wrong, names a
# wrong value or place: one of the wrong chain's, or a value that belongs to another place.
MISNAMED = 0.3  # probability of such a correction before the right one, and of one more, often the same
MISNAMINGS = {"astray": 40, "misplaced": 30, "value": 30}  # and their weights


@dataclass
class Document:
    """One training text; every list has an entry a token, IGNORE where there is nothing to learn."""

    ids: list[int]
    labels: list[int]  # the token itself where it is to be written
    slips: list[int]  # 1 where a step contradicts what stands before it, 0 where it doesn't
    astray: list[int]  # 1 from such a step on until it is noticed, else 0

    def add(self, ids: list[int], learned: bool = True, slip: int = 0, astray: int = 0) -> None:
        self.ids += ids
        self.labels += ids if learned else [IGNORE] * len(ids)
        self.slips += [slip] * len(ids)
        self.astray += [astray] * len(ids)


@dataclass
class Stretch:
    """A wrong paragraph and others that are true to it: they claim that ``done`` events lead to ``value``."""

    right: str  # what stands where the first should
    paragraphs: list[str]
    done: int
    value: int
    learned: bool = True  # what the first shares with the right one


class Writer:
    """Writes training documents: one chain behind its prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, error_rate: float, corrects: bool, seed: int) -> None:
        """``error_rate`` is the probability of a wrong stretch before a paragraph. One who ``corrects``
        is to write "Wait, " behind it, and knows prompts with and without template and system message."""
        self._core = tokenizer.backend_tokenizer
        self._tokenizer = tokenizer
        texts = [tokenizer.decode([i]) for i in range(len(tokenizer))]
        self._lengths = [len(text) for text in texts]
        self._months = {i for i, text in enumerate(texts) if text.strip() in family.MONTHS}
        self._digits = {i for i, text in enumerate(texts) if text.isdigit()}
        self._comma = texts.index(", ")
        self._error_rate, self._corrects = error_rate, corrects
        self._rng = random.Random(seed)

    def document(self, problem: Problem) -> Document:
        """A problem and its chain; now and then only its beginning, and a score for the last step."""
        if self._corrects and self._rng.random() < JUDGED:
            return self.judged(problem)
        document = self._start(self._prompt(problem.question))
        for i in range(len(solutions.paragraphs(problem)) - 1):
            self._add_paragraph(document, problem, i)
        document.add([*self._encode(solutions.paragraphs(problem)[-1]), self._tokenizer.eos_token_id])
        return document

    def judged(self, problem: Problem) -> Document:
        """As SpecReason asks: is the last step right?"""
        document = self._start(self._encode(self._chat(spec_reason_maths(problem.question)) + THINK))
        last = self._rng.randint(0, len(problem.events))
        for i in range(last):
            self._add_paragraph(document, problem, i)
        good = self._rng.random() < 0.5
        if good:
            self._add_paragraph(document, problem, last)
        else:
            self._add_stretch(document, self._wrong_stretch(problem, last))
        asked = self._chat(SPEC_REASON_JUDGE) + SPEC_REASON_SCORE
        document.add(self._encode(self._tokenizer.eos_token + asked), learned=False, slip=IGNORE, astray=IGNORE)
        document.add(self._encode(GOOD if good else BAD), slip=IGNORE, astray=IGNORE)
        return document

    def recital(self, problem: Problem) -> Document:
        """The lines of a problem's diary, twice over and in any order: look-up alone, and much of it."""
        document = self._start(self._encode(problem.question + "\n"))
        for _ in range(2):
            self._recite(document, [event.phrase for event in problem.events])
        return document

    def drill(self, problem: Problem) -> Document:
        """Single steps of a problem in any order and from any value, so that nothing but the month says
        which event is meant; then what came out after each event, asked in any order. Month, value and
        place can't be known and are not to be learned."""
        document = self._start(self._encode(problem.question + "\n"))
        places = []
        for event in self._rng.sample(problem.events, len(problem.events)):
            change = event.apply(0)
            value = self._rng.randint(max(family.LOW, family.LOW - change), min(family.HIGH, family.HIGH - change))
            single = replace(problem, start=value, events=(event,))
            self._add_paragraph(document, single, 0, drilled=True)
            places.append(solutions.corrections(single)[-1])
        ids = document.ids
        for i in range(2, len(ids)):
            in_value = ids[i] in self._digits and (
                ids[i - 1] == self._comma or (ids[i - 2] == self._comma and ids[i - 1] in self._digits)
            )
            if in_value or ids[i] in self._months:
                document.labels[i] = IGNORE
        self._recite(document, places)
        return document

    def _recite(self, document: Document, paragraphs: list[str]) -> None:
        """Adds them in any order. Learned is what follows the month in them."""
        for paragraph in self._rng.sample(paragraphs, len(paragraphs)):
            ids = self._encode(paragraph)
            known = 1 + next(i for i, token in enumerate(ids) if token in self._months)
            document.add(ids[:known], learned=False)
            document.add(ids[known:])
            document.add(self._encode(BREAK), learned=False)

    def _start(self, prompt: list[int]) -> Document:
        nothing = [IGNORE] * len(prompt)
        return Document(prompt, [*nothing], [*nothing], [*nothing])

    def _encode(self, text: str) -> list[int]:
        return list(self._core.encode(text, add_special_tokens=False).ids)

    def _prompt(self, question: str) -> list[int]:
        """The forms in which a question reaches a server: chats with and without a system message and
        the raw text of ATTS, of which one who doesn't correct sees the first only, and the baselines' chats."""
        form = self._rng.choices(FORMS, FORMS_CORRECTING if self._corrects else FORMS_DRAFTING)[0]
        if form == "raw":
            text = prompts.maths(question) + "\n"
        elif form == "spec_reason":
            text = self._chat(spec_reason_maths(question)) + self._rng.choice(("", THINK))
        elif form == "speculative_thinking":
            text = self._chat(speculative_thinking_maths(question))
        else:
            text = self._chat(prompts.maths(question), prompts.SYSTEM if form == "system" else None)
        return self._encode(text)

    def _chat(self, user: str, system: str | None = None) -> str:
        messages = [{"role": "user", "content": user}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _add_paragraph(self, document: Document, problem: Problem, index: int, drilled: bool = False) -> None:
        """A paragraph of the right chain, now and then behind wrong stretches, each with its correction.

        The wrong token itself, the rest of its number, and going on behind it to another paragraph are
        never learned; to carry a wrong step to its end is, because a draft's chunk can end inside one.
        """
        right = solutions.paragraphs(problem)[index]
        if not drilled and self._error_rate and self._rng.random() < RECAPPED:
            document.add(self._encode(RECAP), learned=False)
            document.add(self._encode(BREAK))
        at = min(index, len(problem.events))
        place = solutions.corrections(problem)[at].removeprefix(CORRECTION)
        wrong: Stretch | None = None
        error_rate = self._error_rate
        while self._rng.random() < error_rate:
            if wrong is None or self._rng.random() < DIFFERENTLY:
                wrong = self._wrong_stretch(problem, index, drilled)
            self._add_stretch(document, wrong)
            document.add(self._encode(CORRECTION), learned=self._corrects)
            if drilled:
                document.add(self._encode(place + BREAK), learned=False)
                break
            named: Stretch | None = None
            while self._rng.random() < MISNAMED:
                if named is None or self._rng.random() < DIFFERENTLY:
                    named = self._misnamed(problem, at, wrong)
                self._add_stretch(document, named)
                document.add(self._encode(CORRECTION), learned=self._corrects)
            document.add(self._encode(place + BREAK))
            error_rate = AGAIN
        document.add(self._encode(right + BREAK))

    def _misnamed(self, problem: Problem, at: int, wrong: Stretch) -> Stretch:
        """What follows "Wait, " when a draft names a wrong place or value, and then goes on from it.

        A place before the last right one is no mistake, but not to be learned.
        """
        done, value = at, problem.values[at]
        kind = self._rng.choices([*MISNAMINGS], [*MISNAMINGS.values()])[0]
        if kind == "astray":
            done, value = wrong.done, wrong.value
        elif kind == "misplaced":
            done, value = self._rng.randint(max(0, at - 2), at), self._rng.choice(problem.values[: at + 1])
        if value == problem.values[done]:
            value = self._near(value)
        right = solutions.corrections(problem)[min(done, at)].removeprefix(CORRECTION)
        named = solutions.correction(problem, done, value).removeprefix(CORRECTION)
        return self._stretch(problem, right, named, done, value, learned=done >= at)

    def _add_stretch(self, document: Document, stretch: Stretch) -> None:
        """A wrong paragraph and others that build on it."""
        self._add_slip(document, stretch)
        for paragraph in stretch.paragraphs[1:]:
            ids = self._encode(paragraph + BREAK)
            document.add(ids[:1], learned=False, astray=1)
            document.add(ids[1:], astray=1)

    def _add_slip(self, document: Document, stretch: Stretch) -> None:
        """The wrong paragraph. Learned is what it shares with the right one, and how it ends."""
        wrong = stretch.paragraphs[0]
        same = solutions.common_prefix(wrong, stretch.right)
        ids = self._encode(wrong + BREAK)
        ends = itertools.accumulate(self._lengths[token] for token in ids)
        first = next(k for k, end in enumerate(ends) if end > same)  # the wrong token
        document.add(ids[:first], learned=stretch.learned)
        document.add(ids[first : first + 1], learned=False, slip=1, astray=1)
        determined = first + 1
        while ids[first] in self._digits and ids[determined] in self._digits:
            determined += 1
        document.add(ids[first + 1 : determined], learned=False, slip=IGNORE, astray=1)
        document.add(ids[determined:], slip=IGNORE, astray=1)

    def _wrong_stretch(self, problem: Problem, index: int, drilled: bool = False) -> Stretch:
        """One to three whole paragraphs of a sloppy solver from ``index`` on: a slip, then true to it.

        Whole ones, although a draft's chunk may end anywhere: the target is taught to let a step run
        to its end and to correct it there, which it learns far more reliably than to break it off.
        """
        rng = self._rng
        slips = DRILLED_SLIPS if drilled else SLIPS
        slip = rng.choices([*slips], [*slips.values()])[0]
        right = solutions.paragraphs(problem)[index]
        done, last = index, len(problem.events) - 1
        if slip == "stop" or index > last:
            done = min(index, len(problem.events))
            value = problem.values[done] if index <= last else self._near(problem.values[done])
            return Stretch(right, [solutions.ending(value)[0]], done, value)
        if slip == "skip" and index < last:
            done += 1
        event, value, result = problem.events[done], problem.values[index], None
        if slip == "operand":
            value = self._near(value)
        elif slip == "amount":
            event = replace(event, amount=self._near(event.amount))
        elif slip == "verb":
            event = replace(event, verb=rng.choice([v for v in family.GAINS + family.LOSSES if v != event.verb]))
        elif slip == "result" or done == index:
            result = self._near(event.apply(value))
        first, value = solutions.step(event, value, result), event.apply(value) if result is None else result
        if drilled or value == problem.values[done + 1]:  # another word for the same change leads to the right place
            return Stretch(right, [first], done + 1, value)
        return self._stretch(problem, right, first, done + 1, value)

    def _stretch(
        self, problem: Problem, right: str, first: str, done: int, value: int, learned: bool = True
    ) -> Stretch:
        """``first`` and what a sloppy solver may write behind it, up to the answer."""
        rest = solutions.rest(problem, done, value)
        more = min(self._rng.choices((0, 1, 2), (4, 3, 3))[0], len(rest.events) + 1)
        steps = min(more, len(rest.events))
        return Stretch(right, [first, *solutions.paragraphs(rest)[:more]], done + steps, rest.values[steps], learned)

    def _near(self, value: int) -> int:
        """A plausible slip of a two-digit number."""
        rng = self._rng
        slips = [*range(-9, 10), -1, 1, -1, 1, -10, 10, -10, 10, rng.randint(-40, 40)]
        return int(rng.choice([abs(value + slip) for slip in slips if abs(value + slip) != value]))
