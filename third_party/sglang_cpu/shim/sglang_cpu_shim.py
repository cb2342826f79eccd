"""Lets PyPI's torchvision, a CUDA build, be imported beside a CPU build of torch.

torchvision registers meta kernels for two operators that its CUDA library would have defined. With
no such library the import fails ("operator torchvision::nms does not exist"), and SGLang and
transformers fail with it although neither calls them. Defining the two schemas first is enough.

And lets a bfloat16 model write faster: torch's attention kernel for CPUs takes 4 to 7 times as long for one query in
bfloat16 as in float32 (torch 2.13.0, 200 to 1000 keys), and SGLang's torch_native backend asks it once for every
sequence, layer and token. So single queries are answered in float32 and rounded. Nothing else is touched.

Installed as a .pth line by scripts/setup.sh; costs nothing until torchvision is imported.
"""

import functools
import importlib.abc
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Defines the schemas the first time torchvision is looked for, then steps aside."""

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                torch.library.define(f"torchvision::{operator}", SCHEMA)
            torch.nn.functional.scaled_dot_product_attention = _single_queries_in_float32(
                torch.nn.functional.scaled_dot_product_attention
            )
        return None


def _single_queries_in_float32(attention: Callable[..., Any]) -> Callable[..., Any]:
    """``scaled_dot_product_attention`` that computes one bfloat16 query on a CPU in float32."""

    @functools.wraps(attention)
    def answer(query: Any, key: Any, value: Any, *args: Any, **more: Any) -> Any:
        import torch

        if query.shape[-2] != 1 or query.dtype != torch.bfloat16 or query.device.type != "cpu":
            return attention(query, key, value, *args, **more)
        return attention(query.float(), key.float(), value.float(), *args, **more).to(query.dtype)

    return answer


sys.meta_path.insert(0, _BeforeTorchvision())
