"""How a gateway is started before several servers of one model."""

from collections.abc import Sequence


def command(python: str, host: str, port: int, prometheus_port: int, urls: Sequence[str]) -> list[str]:
    """smg by the Python that has it (third_party/gateway). A new chain goes to the server with the fewest requests and
    stays there by its routing key, also when that is full. (By the beginning of its prompt, as is smg's habit, one of
    two servers gets half as much again as the mean.) Requests are tried again by the client, which knows the chain; a
    server that fails twice is left out until it is healthy again. Nothing is loaded from a hub, nothing listens
    elsewhere."""
    words = [python, "-m", "smg.launch_router", "--host", host, "--port", str(port)]
    words += ["--policy", "cache_aware", "--routing-key-override", "--assignment-mode", "min_load"]
    words += ["--disable-retries"]
    words += ["--disable-worker-overload-protection", "--disable-tokenizer-autoload"]
    words += ["--cb-failure-threshold", "2", "--health-check-interval-secs", "5", "--health-failure-threshold", "2"]
    words += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(prometheus_port)]
    return [*words, "--worker-urls", *urls]
