"""Where the SGLang releases differ over HTTP, as measured on real servers of both."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """What an emulated server imitates. The defaults are those of the current release."""

    version: str
    returns_ids: bool = True  # `output_ids` in the replies of /generate
    has_server_info: bool = True  # /server_info and /model_info
    tells_context: bool = True  # the context length, in /v1/models; else only the longest prompt, in /get_server_info
    longest_prompt_less: int = 0  # tokens, than the context: a prompt of so many is refused, too
    aborts_by_number: bool = True  # /abort_request; else a request ends early only when its client leaves
    continues_always: bool = False  # chat: a final assistant message is continued without being asked to
    zero_writes_one: bool = False  # max_new_tokens 0 still writes a token
    scores_nothing: bool = True  # log-probabilities from the end of the prompt on: an empty list, else 400
    unknown_sampling: int = 400  # status for a sampling parameter that doesn't exist
    empty_input: int = 400  # for input_ids [] and for missing messages
    malformed: int = 400  # for a body of /generate that is no JSON object
    malformed_chat: int = 400  # and of chat
    checks_temperature: bool = True  # a negative one is refused


RELEASES = {
    release.version: release
    for release in (
        Release("0.5.23"),
        Release(
            "0.4.3.post4",
            returns_ids=False,
            has_server_info=False,
            tells_context=False,
            longest_prompt_less=6,
            aborts_by_number=False,
            continues_always=True,
            zero_writes_one=True,
            scores_nothing=False,
            unknown_sampling=500,
            empty_input=500,
            malformed=422,
            malformed_chat=500,
            checks_temperature=False,
        ),
    )
}
CURRENT = RELEASES["0.5.23"]
