"""Lets PyPI's torchvision, a CUDA build, be imported beside a CPU build of torch.

torchvision registers meta kernels for two operators that its CUDA library would have defined. With
no such library the import fails ("operator torchvision::nms does not exist"), and SGLang and
transformers fail with it although neither calls them. Defining the two schemas first is enough.
Installed as a .pth line by scripts/setup.sh; costs nothing until torchvision is imported.
"""

import importlib.abc
import sys
from importlib.machinery import ModuleSpec

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Defines the schemas the first time torchvision is looked for, then steps aside."""

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                torch.library.define(f"torchvision::{operator}", SCHEMA)
        return None


sys.meta_path.insert(0, _BeforeTorchvision())
