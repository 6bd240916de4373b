"""How much memory a job may take where nobody says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from geodiag.errors import SettingsError

SHARE = 0.5
"""Of what is free: the rest is for the weights being read, for the system's page cache, and for other people."""
LEAST_MEMORY = 2**28
"""Bytes to work with even where nothing seems free; less would only mean reading the same weights over and over."""

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_bytes(text: str) -> int:
    """`4GiB`, `500 MB` or `1000000` as bytes.

    Raises:
        SettingsError: it is none of these, or nothing.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not found or found[2] not in _UNITS or float(found[1]) == 0:
        raise SettingsError(f"memory budget is {text!r}", where="settings", fix="write it as 4GiB or 500MB")
    return int(float(found[1]) * _UNITS[found[2]])


def default_budget(device: torch.device) -> int:
    """Half of what is free on a device now, or on this machine where the device is the CPU."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_host_memory()
    return max(LEAST_MEMORY, int(SHARE * free))


def free_host_memory(*, root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> int:
    """Bytes that this process can still get: the system's, its control group's, or its Slurm job's, whichever is less.

    Args:
        root: where /proc and /sys lie.
        environment: variables; None is this process's.
    """
    variables = os.environ if environment is None else environment
    found = [_available(root), *_left_in_groups(root), _slurm_limit(variables)]
    return min((value for value in found if value is not None), default=2**33)


def _available(root: Path) -> int | None:
    with suppress(OSError):
        line = re.search(r"^MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text(encoding="ascii"), re.M)
        if line:
            return int(line[1]) * 1024
    with suppress(ValueError, OSError, AttributeError):  # not Linux: the system does not say what is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _left_in_groups(root: Path) -> list[int]:
    """What the limits of the control groups around this process leave, version 2 and 1."""
    left = []
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                top = root / "sys/fs/cgroup" / controllers
                place = top / path.lstrip("/")
                for folder in (place, *place.parents):
                    if folder.is_relative_to(top):
                        left += _left(folder)
    return left


def _left(group: Path) -> list[int]:
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        with suppress(OSError, ValueError):
            most = int((group / limit).read_text(encoding="ascii"))  # `max` is no number: no limit
            # Pages of files count as used, and are given up when a process needs them.
            stat = (group / "memory.stat").read_text(encoding="ascii")
            files = re.search(r"^(?:total_)?inactive_file (\d+)", stat, re.M)
            return [max(0, most - int((group / used).read_text(encoding="ascii")) + (int(files[1]) if files else 0))]
    return []


def _slurm_limit(variables: Mapping[str, str]) -> int | None:
    """Slurm may count what a job uses and end it without any limit that the system knows of."""
    with suppress(KeyError, ValueError):
        return int(variables["SLURM_MEM_PER_NODE"]) * 2**20 or None
    with suppress(KeyError, ValueError):
        cores = int(variables.get("SLURM_CPUS_ON_NODE", "1"))
        return int(variables["SLURM_MEM_PER_CPU"]) * cores * 2**20 or None
    return None
