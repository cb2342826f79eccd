"""A model's chat template, also one that knows no system message or wants the roles to alternate; and whether the model
thinks before it answers, where the template has a switch for that."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal

from ATTS.errors import UserError
from ATTS.serving.model_folder import ModelFolder

Messages = Sequence[Mapping[str, str]]
Thinking = Literal["default", "on", "off"]
JOINT = "\n\n"
SWITCHES = ("enable_thinking", "thinking")  # Qwen3, SmolLM3, GLM; Granite, DeepSeek V3.1


class ChatTemplate:
    """Writes messages as the text that the model was trained on."""

    def __init__(self, folder: ModelFolder, thinking: Thinking = "default") -> None:
        self._source = folder.source
        self._variables: dict[str, object] = dict(folder.names)
        self._templates = folder.templates()
        if thinking != "default":
            self._switch(thinking == "on")

    def render(self, messages: Messages, answer: bool) -> str:
        """The text of ``messages`` and, if ``answer``, the beginning of an answer to them. Raises UserError.

        Where the template refuses or drops a system message, its text opens the first user turn; where
        the roles must alternate, neighbours of one role become one message.
        """
        template = self._template()
        reason = "it leaves out the messages' text"
        for form in _forms(messages):
            try:
                text = self._write(template, form, answer)
            except Exception as error:  # a template is a program of its own: it can fail in every way
                reason = str(error) or type(error).__name__
                continue
            if all(message["content"].strip() in text for message in form if message["role"] != "assistant"):
                return text
        raise UserError(
            f"the chat template of {self._source!r} can't write {_roles(messages)}: {' '.join(reason.split())};"
            " use a model whose template takes a user turn, or mend its chat_template"
        )

    def _switch(self, on: bool) -> None:
        """Raises UserError if the template writes the same either way."""
        texts = []
        for value in (not on, on):
            self._variables |= dict.fromkeys(SWITCHES, value)
            texts.append(self.render([{"role": "user", "content": "1 + 1?"}], answer=True))
        if texts[0] == texts[1]:
            raise UserError(
                f"the chat template of {self._source!r} has no switch for thinking ({' or '.join(SWITCHES)}): use"
                " --thinking default"
            )

    def _write(self, template: str, messages: Messages, answer: bool) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        conversation = [dict(message) for message in messages]
        texts, _ = render_jinja_template(
            [conversation], chat_template=template, add_generation_prompt=answer, **self._variables
        )
        return str(texts[0])

    def _template(self) -> str:
        if not self._templates:
            raise UserError(
                f"{self._source!r} has no chat template (neither a file chat_template.jinja nor chat_template in"
                " tokenizer_config.json), as base models do: use the model's instruct version, or put a template there"
            )
        if "default" in self._templates:
            return self._templates["default"]
        if len(self._templates) > 1:
            raise UserError(
                f"{self._source!r} has chat templates named {', '.join(sorted(self._templates))} and none named"
                " default: give one of them this name in tokenizer_config.json"
            )
        (only,) = self._templates.values()
        return only


def _forms(messages: Messages) -> Iterator[Messages]:
    """The messages as they are, and what says the same with fewer roles."""
    yield messages
    merged = _without_system(messages)
    if merged != list(messages):
        yield merged
    yield _alternating(merged)


def _without_system(messages: Messages) -> Messages:
    system = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if not system:
        return others
    if others and others[0]["role"] == "user":
        system.append(others.pop(0)["content"])
    return [{"role": "user", "content": JOINT.join(system)}, *others]


def _alternating(messages: Messages) -> Messages:
    groups = groupby(messages, key=lambda message: message["role"])
    return [{"role": role, "content": JOINT.join(one["content"] for one in group)} for role, group in groups]


def _roles(messages: Messages) -> str:
    return "a conversation of " + ", ".join(message["role"] for message in messages)
