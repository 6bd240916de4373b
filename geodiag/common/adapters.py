"""The place of a PEFT adapter: its folder, its configuration and its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geodiag.common.remote import names_in
from geodiag.errors import CheckpointError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The two files that PEFT writes."""
ADAPTER_PICKLE = "adapter_model.bin"
"""The weights as releases before safetensors wrote them."""


@dataclass(frozen=True)
class AdapterLocation:
    """The place of one adapter."""

    folder: Path
    """The folder with its two files."""

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / ADAPTER_CONFIG

    @property
    def weights(self) -> Path:
        """Its factors; not checked to be there."""
        return self.folder / ADAPTER_WEIGHTS


def find_adapter(path: Path) -> AdapterLocation | None:
    """Find the adapter at a path, which may be its folder, one of its two files, or the folder above.

    PEFT saves an adapter under another name than "default" in a sub-folder of that name. So a folder without
    whole weights whose only adapter lies one level down stands for that adapter.

    Args:
        path: a folder or a file, perhaps remote.

    Returns:
        Its place; None when there is no adapter.

    Raises:
        CheckpointError: several adapters lie one level down.
    """
    if path.is_file():
        return AdapterLocation(path.parent) if path.name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) else None
    if (path / ADAPTER_CONFIG).is_file():
        return AdapterLocation(path)
    names = names_in(path, among=()) if path.is_dir() else []
    if any(name.endswith(".safetensors") for name in names):
        return None
    below = [name for name in names if (path / name / ADAPTER_CONFIG).is_file()]
    if len(below) > 1:
        message = f"holds {len(below)} adapters: {', '.join(below[:6])}"
        raise CheckpointError(message, where=path, fix=f"name one of them, such as {path / below[0]}")
    return AdapterLocation(path / below[0]) if below else None
