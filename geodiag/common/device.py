"""The device that tensors are computed on, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiag.errors import SettingsError

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> torch.device:
    """The torch device of `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:<n>`.

    Raises:
        SettingsError: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"unknown device {name!r}", where="--device", fix="one of auto, cpu, cuda, cuda:<n>"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device {name!r} is not there ({torch.cuda.device_count()} CUDA devices are)",
            where="--device",
            fix="use auto or cpu",
        )
    return device
