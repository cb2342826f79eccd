"""The configurations of machines: what they start fits those, by the simulator's memory."""

import pytest
from machines import MODELS, SIMULATED, Plan, plans, variables

from ATTS.simulation import roofline

CHAIN = 8192  # tokens, the longest
SERVER = 1.0e9  # bytes that a server takes besides weights, cache and work: CUDA, its graphs; assumed
OWN = {"L4": 0.70, "A100": 0.83, "H100": 0.83}  # the share that SGLang 0.5.23 chooses (test_command_lines, docs/GPU.md)
# Configuration, the least card that it is for, how many of them, chains of full length at each server.
MACHINES = [
    ("gpu_1x24", "L4", 1, 3),
    ("gpu_1x80", "A100", 1, 16),
    ("gpu_1x80_8b", "A100", 1, 8),
    ("gpu_3x80", "A100", 3, 31),
    ("gpu_8x80", "A100", 8, 31),
]


def flag(plan: Plan, name: str, default: int) -> int:
    return int(plan.flags[plan.flags.index(name) + 1]) if name in plan.flags else default


def work(plan: Plan, rows: int) -> float:
    """Bytes for a batch of prompts: activations, and three matrices of float32 for the rows that are scored at once."""
    sizes, gpus = MODELS[plan.model], plan.devices[0].count(",") + 1
    activations = 2 * 2 * flag(plan, "--chunked-prefill-size", 8192) * 2 * sizes["intermediate_size"] / gpus
    return float(activations + 3 * 4 * rows * sizes["vocab_size"])


@pytest.mark.parametrize(("config", "card", "gpus", "chains"), MACHINES)
def test_weights_caches_and_work_fit_the_cards(config: str, card: str, gpus: int, chains: int) -> None:
    """Server after server, as they start: each takes its share of what is free then, on each of its devices."""
    rows = int(variables(config)["SGLANG_LOGPROB_CHUNK_SIZE"] or 2048)
    free = {str(n): roofline.DEVICES[card].memory for n in range(gpus)}
    needs = dict.fromkeys(free, 0.0)
    for plan in plans(config):
        shape = roofline.MODELS[SIMULATED[plan.model]]
        for replica in plan.devices:
            devices = replica.split(",")
            share = plan.share or OWN[card]
            room = sum(share * free[device] for device in devices)
            tokens = min(shape.tokens(room), flag(plan, "--max-total-tokens", 10**9))
            assert tokens >= chains * CHAIN, (plan.model, tokens)
            for device in devices:
                free[device] -= (shape.weights + tokens * shape.kv_bytes) / len(devices) + SERVER
                needs[device] += work(plan, rows if plan == plans(config)[1] else 0)  # the target scores
    assert {device: left for device, left in free.items() if left < needs[device]} == {}


@pytest.mark.parametrize(("config", "gpus"), [(config, gpus) for config, _, gpus, _ in MACHINES])
def test_devices_exist_and_split_the_models_heads(config: str, gpus: int) -> None:
    found = variables(config)
    used = []
    for plan, role in zip(plans(config), ("SMALL_MODEL", "EVAL_MODEL"), strict=True):
        assert len(plan.devices) == int(found[f"{role}_REPLICAS"] or 1)
        for replica in plan.devices:
            devices = replica.split(",")
            used += devices
            sizes = MODELS[plan.model]
            assert sizes["num_attention_heads"] % len(devices) == sizes["num_key_value_heads"] % len(devices) == 0
    assert set(used) == {str(n) for n in range(gpus)}
    assert len(used) == len(set(used)) or gpus == 1


@pytest.mark.parametrize("name", MODELS)
def test_the_simulators_sizes_are_those_of_the_models(name: str) -> None:
    """Parameters by the layers' matrices, to 1.5 %; bytes of a token exactly."""
    sizes, shape = MODELS[name], roofline.MODELS[SIMULATED[name]]
    hidden, head = sizes["hidden_size"], sizes["hidden_size"] // sizes["num_attention_heads"]
    attention = 2 * hidden * (hidden + head * sizes["num_key_value_heads"])
    layer = attention + 3 * hidden * sizes["intermediate_size"]
    parameters = sizes["num_hidden_layers"] * layer + 2 * hidden * sizes["vocab_size"]
    assert shape.parameters == pytest.approx(parameters, rel=0.015)
    assert shape.kv_bytes == 2 * sizes["num_hidden_layers"] * sizes["num_key_value_heads"] * head * 2
