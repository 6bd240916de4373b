"""A CUDA device that is not there: its tensors lie in host memory, and mixing them with the host's is an error.

It shows where code for a device forgets to bring a tensor to it, or to take one back. It says nothing of CUDA's
kernels, streams or speed.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda:0")
_TAKE_HOST_INDICES = {"index.Tensor", "index_put_.default", "index_put.default", "_index_put_impl_.default"}
_CROSS = {"_to_copy.default", "copy_.default"}


class OnDevice(torch.Tensor):
    """A tensor that says it is on the device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner):
        shape = torch.empty_strided(inner.size(), inner.stride(), dtype=inner.dtype, device="meta")
        return torch.Tensor._make_subclass(cls, shape, False, dispatch_device=True, device_for_backend_keys=DEVICE)

    def __init__(self, inner):
        self.inner = inner

    def __getitem__(self, key):  # torch's own asks for CUDA's runtime; an index may lie on either side
        return OnDevice(self.inner[tree_map(_bare, key)])

    def __setitem__(self, key, value):
        chosen = [k for k in (key if isinstance(key, tuple) else (key,)) if isinstance(k, list | torch.Tensor)]
        if chosen and isinstance(value, torch.Tensor) and value.dim() and not isinstance(value, OnDevice):
            raise RuntimeError("Expected all tensors to be on the same device: a host tensor is put at indices")
        self.inner[tree_map(_bare, key)] = _bare(value)

    def __invert__(self):
        return OnDevice(~self.inner)

    def __bool__(self):
        return bool(self.inner)

    def __float__(self):
        return float(self.inner)

    def __int__(self):
        return int(self.inner)

    def item(self):
        return self.inner.item()

    def tolist(self):
        return self.inner.tolist()

    def contiguous(self):
        return OnDevice(self.inner.contiguous())

    def cpu(self):
        return self.inner.clone()

    def copy_(self, source, non_blocking=False):
        self.inner.copy_(_bare(source))
        return self

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return _run(function, arguments, options or {})


class Emulation(TorchDispatchMode):
    """Makes new tensors that are asked for on the device."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return _run(function, arguments, options or {})


def _run(function: Any, arguments: Any, options: dict[str, Any]) -> Any:
    if function is torch.ops.prim.device.default:
        return DEVICE
    name = function.__name__
    tensors = [x for x in tree_flatten((arguments, options))[0] if isinstance(x, torch.Tensor)]
    there = any(isinstance(x, OnDevice) for x in tensors)
    wanted = options.get("device")
    if wanted is not None:
        wanted = torch.device(wanted)
        there_after = wanted.type == "cuda"
        options = options | {"device": torch.device("cpu")}
    else:
        there_after = there
    if name not in _CROSS and there:
        strangers = (arguments[0], *arguments[2:]) if name in _TAKE_HOST_INDICES else (arguments, options)
        for x in tree_flatten(strangers)[0]:
            if isinstance(x, torch.Tensor) and not isinstance(x, OnDevice) and x.dim() > 0:
                raise RuntimeError(f"Expected all tensors to be on the same device: {name} got one of the host's")
    if name == "copy_.default":
        there_after = isinstance(arguments[0], OnDevice)
    options.pop("pin_memory", None)
    result = function(*tree_map(_bare, arguments), **tree_map(_bare, options))
    if not there_after:
        return result
    mine = {id(x.inner): x for x in tensors if isinstance(x, OnDevice)}  # an operation in place gives back its tensor

    def there_again(x):
        if not isinstance(x, torch.Tensor) or isinstance(x, OnDevice):
            return x
        return mine[id(x)] if id(x) in mine else OnDevice(x)

    return tree_map(there_again, result)


def _bare(x: Any) -> Any:
    return x.inner if isinstance(x, OnDevice) else x


@contextmanager
def emulated_cuda(monkeypatch):
    """One device called `cuda:0` while the block runs, in this thread and in those that read ahead."""
    from geodiag.extraction.measurements.geometry.threads import Prefetch

    torch._C._ensureCUDADeviceGuardSet()
    stream = SimpleNamespace(synchronize=lambda: None)
    for name, value in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda _device=None: (9, 0),
        "mem_get_info": lambda _device=None: (2**33, 2**34),
        "synchronize": lambda _device=None: None,
        "Stream": lambda _device=None: stream,
        "stream": lambda _stream: nullcontext(),
        "default_stream": lambda _device=None: stream,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, _stream: None)
    tensor = torch.tensor

    def tensor_there(data, *, device=None, **options):  # torch's own goes past the dispatcher
        made = tensor(data, **options)
        return made if device is None or torch.device(device).type == "cpu" else OnDevice(made)

    monkeypatch.setattr(torch, "tensor", tensor_there)
    run = Prefetch._run

    def run_there(self):
        with Emulation():
            run(self)

    monkeypatch.setattr(Prefetch, "_run", run_there)
    with Emulation():
        yield
