"""Speed and memory of a model on a device, from their sizes: a roofline with constants measured by device.

A decode step reads the weights once and the keys and values of all running requests, and computes
two operations a parameter and request; the longer of the two counts. On top come the launches of
every layer's kernels, the exchanges between GPUs, and the sampler's work for every request:

    step = max(weights / bandwidth + kv * context / bandwidth, 2 * parameters * running / flops)
           + layers * (launch + 2 * EXCHANGE if several GPUs) + SAMPLE * running

Prefill computes two operations a parameter and token at the share MFU of the peak.
"""

from dataclasses import dataclass

from ATTS.emulator.timing import Timing
from ATTS.errors import UserError

# Launches by device, in seconds a layer. A100: set by the published logs, R1-Distill-Qwen-1.5B 196 tokens/s alone.
# H100: by what SGLang's documentation publishes for Llama-3.1-8B at batch 1, 158.34 tokens/s (speculative
# decoding, the row without it). H200: as the H100, the same chip with more memory; nothing published checks it.
# L4 and RTX 4090, the cards of 24 GB: as the A100, nothing published checks them either.
LAUNCH_A100, LAUNCH_H100 = 119e-6, 46e-6
# Set by the A100 logs, too: 1.5B 2,937 tokens/s at 16 (SAMPLE), QwQ-32B on two GPUs 39 alone (EXCHANGE), checked
# against its 78 and 115 at 2 and 3. Nothing published sets them for other devices, so they are the same there.
EXCHANGE = 14e-6  # seconds an all-reduce, two a layer
SAMPLE = 19e-6  # seconds a request
# Not in those logs, so assumed:
MFU = 0.45  # of the peak, in prefill
USABLE = 0.9  # of a device's memory (--mem-fraction-static), the rest for activations
BYTES = 2  # of a parameter and of a key or value: bfloat16


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model."""

    parameters: float
    layers: int
    kv_heads: int
    head: int = 128

    @property
    def kv_bytes(self) -> int:
        """Of one token."""
        return 2 * self.layers * self.kv_heads * self.head * BYTES

    @property
    def weights(self) -> float:
        """In bytes."""
        return self.parameters * BYTES

    def tokens(self, memory: float) -> int:
        """That fit ``memory`` bytes beside the weights."""
        return int((memory - self.weights) / self.kv_bytes)


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU: bytes, bytes a second, operations a second (dense bfloat16), seconds to launch a layer's kernels."""

    memory: float
    bandwidth: float
    flops: float
    launch: float


MODELS = {
    "1.5B": Shape(1.78e9, 28, 2),  # DeepSeek-R1-Distill-Qwen-1.5B
    "7B": Shape(7.6e9, 28, 4),  # Qwen2.5-7B-Instruct
    "8B": Shape(8.03e9, 32, 8),  # DeepSeek-R1-Distill-Llama-8B
    "14B": Shape(14.77e9, 48, 8),  # DeepSeek-R1-Distill-Qwen-14B
    "32B": Shape(32.8e9, 64, 8),  # QwQ-32B, s1.1-32B
    "70B": Shape(70.6e9, 80, 8),  # DeepSeek-R1-Distill-Llama-70B
}
DEVICES = {
    "L4": Device(24.1e9, 0.3e12, 121e12, LAUNCH_A100),
    "4090": Device(25.7e9, 1.008e12, 165e12, LAUNCH_A100),
    "A100": Device(80e9, 2.039e12, 312e12, LAUNCH_A100),
    "H100": Device(80e9, 3.35e12, 989e12, LAUNCH_H100),
    "H200": Device(141e9, 4.8e12, 989e12, LAUNCH_H100),
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model on a number of devices."""

    model: str
    device: str
    gpus: int

    @property
    def kv_tokens(self) -> int:
        """Tokens that fit its memory beside the weights."""
        return MODELS[self.model].tokens(USABLE * DEVICES[self.device].memory * self.gpus)

    def timing(self, max_running: int = 0) -> Timing:
        """Raises UserError if the model doesn't fit."""
        shape, device = MODELS[self.model], DEVICES[self.device]
        if self.kv_tokens < 10_000:
            raise UserError(f"{self.model} does not fit {self.gpus} {self.device}: give it more of them")
        bandwidth, flops = device.bandwidth * self.gpus, device.flops * self.gpus
        launches = shape.layers * (device.launch + (2 * EXCHANGE if self.gpus > 1 else 0.0))
        return Timing(
            step_seconds=launches + shape.weights / bandwidth,
            step_seconds_per_kilotoken=1000 * shape.kv_bytes / bandwidth,
            step_seconds_per_request=SAMPLE,
            compute_seconds=launches,
            compute_seconds_per_request=SAMPLE + 2 * shape.parameters / flops,
            prefill_tokens_per_second=MFU * flops / (2 * shape.parameters),
            max_running=max_running,
            kv_tokens=self.kv_tokens,
        )

    def __str__(self) -> str:
        return f"{self.model} on {self.gpus} {self.device}"

    @classmethod
    def parse(cls, text: str) -> "Deployment":
        """From ``32B:A100x2``. Raises UserError."""
        model, _, where = text.partition(":")
        device, _, gpus = where.partition("x")
        if model not in MODELS or device not in DEVICES or not (gpus or "1").isdigit() or gpus == "0":
            raise UserError(
                f"{text!r} is not MODEL:DEVICExGPUS; models: {', '.join(MODELS)}; devices: {', '.join(DEVICES)}"
            )
        return cls(model, device, int(gpus or 1))
