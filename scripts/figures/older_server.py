"""Which commands work against two running servers of the demo pair, tried one after the other (docs/GPU.md).

python scripts/figures/older_server.py --draft http://127.0.0.1:40000 --target http://127.0.0.1:40001

Each is run as a person would, on a few questions of the demo; its output goes into a file of ``--out``. Prints a line a
command: whether it worked and how many samples failed, or its last message.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import runpy
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from ATTS import demo
from ATTS.analysis.tables import markdown
from ATTS.api import serve  # noqa: F401  what the commands import, once for all of them
from ATTS.baselines import compare_methods  # noqa: F401
from ATTS.diagnosis import doctor  # noqa: F401
from ATTS.launch.supervisor import free_ports
from ATTS.runs import evaluate  # noqa: F401
from ATTS.tasks import datasets

FORK = multiprocessing.get_context("fork")
SCRIPTS = Path(__file__).parent
CHUNK = ["--small_model_max_tokens", "24", "--evalator_max_tokens", "24"]
SIZE = ["--dataset_name", "demo", "--max_problems", "4", "--repeats", "2", "--turns", "4"]


class Trial:
    """Runs commands against the servers, in a folder."""

    def __init__(self, draft: str, target: str, out: Path) -> None:
        self.out, self.rows = out, list[tuple[str, str]]()
        self.urls = ["--small_model_url", draft, "--eval_model_url", target]
        self.draft, self.target = draft, target
        self.pair = [*self.urls, "--small_model_name", "demo-draft", "--eval_model_name", "demo-target"]
        out.mkdir(parents=True, exist_ok=True)

    def start(self, label: str, command: str, *flags: str, folder: str = "", **environment: str) -> Callable[[], None]:
        """One command; ``folder``: where its samples are. Returns what waits for its end and keeps its row."""
        began = time.monotonic()
        told = [command, *flags, *(["--output_dir", str(self.out / folder)] if folder else [])]
        log = self.out / f"{re.sub('[^a-z_]+', '_', label).strip('_')}.log"
        child = FORK.Process(target=_run, args=(told, log, environment))
        child.start()

        def finish() -> None:
            child.join()
            text = log.read_text()
            lines = [line for line in text.splitlines() if line.strip()]
            if "Traceback" in text:
                verdict = f"**traceback**: {lines[-1]}"
            elif child.exitcode:
                verdict = next((line for line in lines if line.startswith("error: ")), f"status {child.exitcode}")
            else:
                verdict = "works" + (self._samples(folder) if folder else "")
            self.say(label, verdict, time.monotonic() - began)

        return finish

    def _samples(self, folder: str) -> str:
        path = self.out / folder / "summary.json"
        if not path.is_file():
            return ""
        summary: dict[str, Any] = json.loads(path.read_bytes())
        return f", {summary['samples']} samples: {json.dumps(summary['by_status'])}"

    def say(self, label: str, verdict: str, seconds: float = 0) -> None:
        """Keeps a row."""
        self.rows.append((label, verdict))
        print(f"{label}: {verdict} ({seconds:.0f} s)", file=sys.stderr, flush=True)

    def serve(self, array: str) -> None:
        """The server of ATTS in front of the pair: a chat, one with a seed, one that is streamed."""
        (port,) = free_ports(1)
        flags = [*self.pair, *CHUNK, "--port", str(port), "--ppl_array_path", array, "--use_chat_template"]
        child = FORK.Process(target=_run, args=(["serve", *flags], self.out / "serve.log", {}))
        child.start()
        question = datasets.load("demo", None)[0].problem
        body = {"model": "atts", "messages": [{"role": "user", "content": question}], "max_tokens": 96}
        url = f"http://127.0.0.1:{port}/v1"
        try:
            while child.is_alive():
                with contextlib.suppress(httpx.ConnectError):
                    httpx.get(f"{url}/models", timeout=60)
                    break
                time.sleep(1)
            for label, more in (("", {}), (", with a seed", {"seed": 3}), (", streamed", {"stream": True})):
                reply = httpx.post(f"{url}/chat/completions", json=body | more, timeout=600)
                works = reply.status_code == 200 and "finish_reason" in reply.text
                self.say(f"`serve`{label}", "works" if works else f"status {reply.status_code}: {reply.text[:200]}")
        except httpx.HTTPError as error:
            self.say("`serve`", f"{type(error).__name__}: {error}")
        finally:
            child.terminate()
            child.join()


def _run(told: list[str], log: Path, environment: dict[str, str]) -> None:
    """A command in a process that has everything imported already."""
    os.environ.update(environment)
    with log.open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.argv = told
    known = (SCRIPTS / f"{told[0]}.py").is_file()
    sys.path.insert(0, str(SCRIPTS))
    runpy.run_module(told[0] if known else f"ATTS.{told[0]}", run_name="__main__", alter_sys=True)


def write_models(folder: Path) -> None:
    """The demo pair with a tokenizer's class and template where transformers 4.48 looks for them."""
    for role, source in demo.MODELS.items():
        shutil.copytree(source, folder / role, dirs_exist_ok=True)
        path = folder / role / "tokenizer_config.json"
        told = json.loads(path.read_bytes()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
        told["chat_template"] = (folder / role / "chat_template.jinja").read_text()
        path.write_text(json.dumps({key: value for key, value in told.items() if key != "backend"}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draft", default="http://127.0.0.1:40000")
    parser.add_argument("--target", default="http://127.0.0.1:40001")
    parser.add_argument("--out", type=Path, default=Path("results/older_server"))
    parser.add_argument("--only", nargs="*", default=[], help="words of the commands to try; default: all")
    parser.add_argument("--at_once", type=int, default=1, help="commands; those that need another's output come later")
    parser.add_argument(
        "--models", type=Path, help="only write the demo pair there, as the older transformers reads it"
    )
    args = parser.parse_args()
    if args.models:
        write_models(args.models)
        return
    t = Trial(args.draft, args.target, args.out)
    array, run = str(args.out / "array.npy"), [*t.pair, *CHUNK, *SIZE, "--use_chat_template"]
    scores = [*run, "--ppl_array_path", array]
    trials: list[tuple[Any, ...]] = [
        ("`doctor`", "doctor", *t.pair),
        ("`ref_conformal`", "ref_conformal", *t.pair, *CHUNK[:2], *SIZE[:2], "--max_problems", "24", "--sample_size",
         "1", "--use_chat_template", "--ppl_array_path", array),
        ("`ref_async`", "ref_async", *scores, "atts"),
        ("`ref_async --on_rejection resample`", "ref_async", *run, "--on_rejection", "resample", "--calibration",
         "online", "resample"),
        *((f"`ref_async --score {score}`", "ref_async", *run, "--score", score, "--calibration", "online", score)
          for score in ("worst_window", "regret")),
        ("`ref_async --stop beta`", "ref_async", *scores, "--stop", "beta", "stop"),
        ("`ref_async --confidence both`", "ref_async", *scores, "--confidence", "both", "confidence"),
        ("`ref_conformal --compat published`", "ref_conformal", *t.pair, *CHUNK[:2], *SIZE[:2], "--max_problems", "8",
         "--sample_size", "1", "--compat", "published", "--ppl_array_path", str(args.out / "published.npy")),
        ("`ref_async --compat published`", "ref_async", *scores, "--compat", "published", "--force", "published"),
        ("`ref_async_fix_budget`", "ref_async_fix_budget", *run[:-1], "async_budget"),
        ("`ref_sync_fix_budget`", "ref_sync_fix_budget", *run, "sync_budget"),
        ("`baseline`", "baseline", "--small_model_name", "demo-draft", "--small_model_url", args.draft, *CHUNK[:2],
         *SIZE, "baseline"),
        ("`spec_reason`", "spec_reason", *t.pair, *SIZE[:6], "--token_budget", "300", "spec_reason"),
        ("`spec_reason --backend openai`", "spec_reason", *t.pair, *SIZE[:6], "--token_budget", "300", "--backend",
         "openai", "spec_reason_openai"),
        ("`speculative_thinking`", "speculative_thinking", *t.urls, "--spe_config",
         "configs/speculative_thinking/demo.yml", "--evals", "demo", "--n", "1", "--end", "4", "--max_tokens", "200",
         "--result_dir", str(args.out / "speculative_thinking"), ""),
        ("`compare_methods`", "compare_methods", *t.pair, *CHUNK, *SIZE[:6], "--blocks", "1", "--token_budget", "200",
         "--methods", "target,draft,atts,random", "--calibration_problems", "24", "--sample_size", "1", "compare"),
        ("`re_extract --extract_mode llm`", "re_extract", "--input_dir", str(args.out / "atts"), "--dataset_name",
         "demo", "--extract_mode", "llm", ""),
        ("log-probabilities and decisions against transformers", "gpu_agreement", "--target", args.target, "--run",
         str(args.out / "atts"), "--array", array, "--json", str(args.out / "agreement.json"), ""),
    ]  # fmt: skip
    reader = {"OPENAI_BASE_URL": f"{args.target}/v1", "OPENAI_API_KEY": "none", "OPENAI_MODEL": "demo-target"}
    started: list[Callable[[], None]] = []
    for label, command, *flags in trials:
        if args.only and not any(word in label for word in args.only):
            continue
        folder = flags.pop() if command not in ("doctor", "ref_conformal") else ""
        started.append(t.start(label, command, *flags, folder=folder, **(reader if command == "re_extract" else {})))
        if len(started) == args.at_once:
            for finish in started:
                finish()
            started.clear()
    for finish in started:
        finish()
    if not args.only or any("serve" in word for word in args.only):
        t.serve(array)
    print(markdown(("command", "against these servers"), t.rows))


if __name__ == "__main__":
    main()
