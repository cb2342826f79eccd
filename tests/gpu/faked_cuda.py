"""SGLang's own reading of command lines, on cards that are only told of: python faked_cuda.py <commands.json

The input is a list of [[name, MiB, major, minor], [[word, ...], ...]]: a card, and commands by the words that follow
sglang.launch_server. What SGLang makes of each is written as JSON: its resolved arguments, or its error. Nothing is
loaded or run; torch.cuda answers what is told here.
"""

import functools
import gc
import importlib.abc
import importlib.machinery
import json
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import torch


class Anything(type):
    """Whatever is asked of it: a class, a function, a decorator."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Thing


class Thing(metaclass=Anything):
    """Something in a package of kernels."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes anything."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self


class Kernels(ModuleType):
    """A package of GPU kernels that is imported and never called."""

    __path__: ClassVar[list[str]] = []
    __version__ = "99"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Thing


class Installed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the packages of kernels that only the GPU set has."""

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in ("sgl_kernel", "flashinfer"):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Kernels(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


sys.meta_path.insert(0, Installed())

smi = SimpleNamespace(returncode=0, stdout="", stderr="")
run = subprocess.run
subprocess.run = lambda command, *rest, **more: smi if "nvidia-smi" in str(command) else run(command, *rest, **more)


def insert(name: str, mib: int, major: int, minor: int) -> None:
    """From now on torch and nvidia-smi tell of this card, and nobody remembers another one."""
    torch.version.cuda = "13.0"
    card = {"name": name, "major": major, "minor": minor, "total_memory": mib << 20, "multi_processor_count": 132}
    answers = {
        "is_available": True,
        "device_count": 8,
        "current_device": 0,
        "get_device_capability": (major, minor),
        "get_device_name": name,
        "get_device_properties": SimpleNamespace(**card),
        "mem_get_info": (mib << 20, mib << 20),
    }
    for function, answer in answers.items():
        setattr(torch.cuda, function, lambda *_, answer=answer: answer)
    smi.stdout = f"{mib}\n"
    for one in gc.get_objects():
        if isinstance(one, functools._lru_cache_wrapper):
            one.cache_clear()


cards = json.load(sys.stdin)
insert(*cards[0][0])

from sglang.srt.arg_groups.overrides import resolving_view  # noqa: E402 - after torch tells of a card
from sglang.srt.server_args import prepare_server_args  # noqa: E402

FIELDS = (
    *("attention_backend", "page_size", "mem_fraction_static", "chunked_prefill_size", "tp_size", "max_total_tokens"),
    *("speculative_algorithm", "speculative_num_draft_tokens", "max_running_requests", "load_format", "context_length"),
)
told = []
for card, commands in cards:
    insert(*card)
    for words in commands:
        try:
            arguments = prepare_server_args(words)
            arguments.resolve_once()
            view = resolving_view(arguments)
            told.append({field: getattr(view, field) for field in FIELDS})
        except BaseException as error:
            told.append({"error": f"{type(error).__name__}: {error}"})
sys.stdout.write(f"\n{json.dumps(told)}\n")
