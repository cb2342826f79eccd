"""Lets SGLang 0.4.3.post4 start without a GPU: stands in for vLLM and for its kernels, of which it imports names only.

Two of these it uses: off CUDA, its layers for activations and norms are vLLM's. Its own compute the same in torch.
"""

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

OWN = {f"vllm.model_executor.layers.{name}": f"sglang.srt.layers.{name}" for name in ("activation", "layernorm")}


class _Anything(type):
    """Classes that have every attribute: another such class."""

    def __getattr__(cls, name: str) -> type:
        return _inert(name)


def _inert(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Anything(name, (), {"__init__": _takes_anything})


def _takes_anything(self: object, *args: object, **kwargs: object) -> None:
    """As a logger's level."""


class _Module(ModuleType):
    """A module that has every name."""

    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> type:
        own = sys.modules.get(OWN.get(self.__name__, ""))
        made: type = getattr(own, name, None) or _inert(name)
        setattr(self, name, made)
        return made


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, _path: object = None, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] in ("vllm", "sgl_kernel"):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


sys.meta_path.append(_StandIn())
