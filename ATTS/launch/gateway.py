"""How a gateway is started before several servers of one model."""

from collections.abc import Sequence


def command(python: str, host: str, port: int, prometheus_port: int, urls: Sequence[str]) -> list[str]:
    """smg by the Python that has it (third_party/gateway). A chain stays with one server by its routing key, and is
    not sent elsewhere when that is full; requests are tried again by the client, which knows the chain; a server that
    fails twice is left out until it is healthy again. Nothing is loaded from a hub, nothing listens elsewhere."""
    words = [python, "-m", "smg.launch_router", "--host", host, "--port", str(port)]
    words += ["--policy", "cache_aware", "--routing-key-override", "--disable-retries"]
    words += ["--disable-worker-overload-protection", "--disable-tokenizer-autoload"]
    words += ["--cb-failure-threshold", "2", "--health-check-interval-secs", "5", "--health-failure-threshold", "2"]
    words += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(prometheus_port)]
    return [*words, "--worker-urls", *urls]
