"""How long a server's steps take."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Speed and memory of a server. A decode step gives every running request one token and takes

        step_seconds + step_seconds_per_request * running + step_seconds_per_kilotoken * context / 1000

    with ``context`` the tokens of all running requests; where computing is the bottleneck it takes

        compute_seconds + compute_seconds_per_request * running

    if that is longer. Prefill of new requests' uncached tokens
    stops the others meanwhile, as in SGLang without mixed chunks.
    """

    step_seconds: float = 0.0255  # QwQ-32B on two A100: 39 tokens/s alone, 78 at 2, 115 at 3
    step_seconds_per_request: float = 0.0
    step_seconds_per_kilotoken: float = 0.0
    compute_seconds: float = 0.0
    compute_seconds_per_request: float = 0.0
    prefill_tokens_per_second: float = 4000.0
    prefill_tokens: int = 8192  # most that are computed at once (--chunked-prefill-size)
    max_running: int = 0  # requests at a time; the others queue; 0 = no limit
    kv_tokens: int = 200_000  # memory, of running requests and radix cache together; 0 = endless, and no cache
    page: int = (
        1  # tokens that the radix cache keeps together: the end of a prompt that fills no page is computed again
    )
    reserve: float = 0.4  # share of what requests may still write for which there must be room to admit one
    speed: float = 1.0  # 10: everything takes a tenth; 0: no waiting at all

    def __post_init__(self) -> None:
        for name in ("step_seconds", "step_seconds_per_request", "step_seconds_per_kilotoken", "speed", "reserve"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.prefill_tokens_per_second <= 0 or self.prefill_tokens <= 0:
            raise ValueError("prefill_tokens_per_second and prefill_tokens must be positive")
        if self.page < 1:
            raise ValueError("page must be positive")
        if self.max_running < 0 or self.kv_tokens < 0:
            raise ValueError("max_running and kv_tokens must not be negative")

    def step(self, running: int, context: float) -> float:
        """Seconds of a decoding step of ``running`` requests with ``context`` tokens in all."""
        per_token = self.step_seconds_per_kilotoken * context / 1000
        memory = self.step_seconds + self.step_seconds_per_request * running + per_token
        return max(memory, self.compute_seconds + self.compute_seconds_per_request * running)

    def prefill(self, tokens: int) -> float:
        """One forward pass over ``tokens`` new ones: not faster than the weights can be read."""
        return max(self.step_seconds, tokens / self.prefill_tokens_per_second) if tokens else 0.0
