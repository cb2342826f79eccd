"""A model's confidence in an answer that is finished: P(Yes), by one token behind the chain (Self-Calibration, arXiv
2503.00031). What was written is in the model's prefix cache, so it costs a prompt of a few tokens."""

import logging
import math
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ATTS.errors import ContextFull, ExitStatus, SampleError, UserError
from ATTS.method.chain import ModelView
from ATTS.method.types import Event, Stage, Transcript, Usage
from ATTS.runs.models import ChunkModel
from ATTS.serving.replies import Body
from ATTS.serving.retry import BadScore
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.tasks.answers import END_OF_THINKING, THINK
from ATTS.tasks.datasets import Question

log = logging.getLogger(__name__)

ASKED = "Is the answer above correct? Reply with Yes or No only."
SAYS = {"yes": ("Yes", " Yes", "yes", "YES"), "no": ("No", " No", "no", "NO")}
PLACE = "the-answer-stands-here"  # of the chain, while the template's text behind it is looked for


@dataclass(frozen=True)
class Confidence:
    """Asks one model of a run. ``by``: "draft" (also of a run of one model) or "target", in samples. ``said``: the
    tokens that a Yes and a No begin with."""

    model: ChunkModel
    by: str
    said: dict[str, list[int]]

    @classmethod
    def of(cls, model: ChunkModel, by: str) -> "Confidence":
        """Raises UserError for a tokenizer that can't tell a Yes from a No by one token, and for a template that
        leaves the answer out."""
        first = {name: {model.tokenizer.encode(word)[0] for word in words} for name, words in SAYS.items()}
        shared = first["yes"] & first["no"]
        said = {name: sorted(ids - shared) for name, ids in first.items()}
        if not all(said.values()):
            raise UserError(
                f"the {model.model.role}'s tokenizer begins Yes and No with the same token: --confidence can't ask it"
            )
        behind(model.tokenizer, model.system, "")
        return cls(model, by, said)

    async def ask(self, view: ModelView, question: Question) -> tuple[dict[str, float], Usage]:
        """The probabilities of a Yes and of a No behind the chain of ``view``. Raises SampleError."""
        client, tokenizer = self.model.model, self.model.tokenizer
        asked = tokenizer.begin(behind(tokenizer, self.model.system, question.prompt))
        ids = [*view.prompt, *view.ids, *asked]
        if client.info.context_length is not None and len(ids) + 1 >= client.info.context_length:
            raise ContextFull(f"the {client.role} has no room for the question whether its answer is right")
        body = {
            "input_ids": ids,
            # At another temperature the server scales the log-probabilities by it.
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
            "token_ids_logprob": [token for tokens in self.said.values() for token in tokens],
        }
        return await client.post("/generate", body, self._read)

    def _read(self, reply: Body) -> dict[str, float]:
        """Raises KeyError, IndexError, TypeError, BadScore."""
        likely = {int(entry[1]): float(entry[0]) for entry in reply["meta_info"]["output_token_ids_logprobs"][0]}
        found = {name: sum(math.exp(likely[token]) for token in ids) for name, ids in self.said.items()}
        if not 0 < found["yes"] + found["no"] < math.inf:
            raise BadScore("it gives neither Yes nor No any probability")
        return found


def behind(tokenizer: ModelTokenizer, system: str | None, user: str) -> str:
    """The template's text between an answer and the word that says whether it is right. Raises UserError."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": "user", "content": user},
        {"role": "assistant", "content": PLACE},
        {"role": "user", "content": ASKED},
    ]
    _, there, rest = tokenizer.render(messages).rpartition(PLACE)
    if not there:
        raise UserError(f"the chat template of {tokenizer.source!r} leaves answers out: --confidence needs them in")
    # A model that opens its thinking at once would think next, and not say Yes or No.
    return f"{rest}\n{END_OF_THINKING}\n\n" if rest.rstrip().endswith(THINK) else rest


async def asked(
    chain: Transcript,
    ending: Coroutine[Any, Any, ExitStatus],
    question: Question,
    views: Sequence[tuple[Confidence, ModelView]],
) -> ExitStatus:
    """The work on a sample, with the question whether its answer is right at its end, if it has one. A question that
    fails leaves the sample without a confidence, and as it is."""
    status = await ending
    for confidence, view in views if chain.answer is not None else ():
        turn = chain.history[-1].turn
        try:
            found, usage = await confidence.ask(view, question)
        except SampleError as error:
            log.warning("no confidence: %s", error)
            continue
        chain.history.append(Event(turn, Stage.CONFIDENCE, usage, details={"by": confidence.by, **found}))
    return status
