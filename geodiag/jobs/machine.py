"""This machine: the memory a job may take, and the read and product speed behind the time estimate of a dry run."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from geodiag.common.remote import RemotePath
from geodiag.errors import SettingsError
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.geometry.threads import Workers
from geodiag.geometry import changed_share, difference, frobenius_norm, product_dtype, right_spectrum, rounding_floor_sq
from geodiag.geometry.spectrum import KRYLOV_BLOCK

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
    values = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not values or values[2] not in _UNITS or float(values[1]) == 0:
        raise SettingsError(f"memory budget is {text!r}", where="settings", fix="write it as 4GiB or 500MB")
    return int(float(values[1]) * _UNITS[values[2]])


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
    values = [_available(root), *_left_in_groups(root), _slurm_limit(variables)]
    return min((value for value in values if value is not None), default=2**33)


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


PIECE = 2**22
"""Bytes of one read."""
MOST_READ = 2**26
"""Bytes read in all."""
DISK_SECONDS = 0.8
PRODUCT_SECONDS = 0.2
UPDATE_SECONDS = 0.6


@dataclass(frozen=True)
class DiskSpeed:
    """How quickly a run's own files were read."""

    rate: float
    """Bytes a second."""
    cached: float | None
    """The share that lay in the system's page cache, which a disk may be far slower than; None where nobody says."""
    remote: bool
    """Whether it came from elsewhere by ranges."""

    def __str__(self) -> str:
        speed = f"{self.rate / 1e6:,.0f} MB/s"
        if self.remote:
            return f"{speed} from its address"
        if self.cached is None:
            return f"{speed}, some of it perhaps from the page cache"
        if self.cached > 0.01:
            return f"{speed}, {100 * self.cached:.0f} % of it from the page cache: the disk itself may be slower"
        return f"{speed} from disk"


@dataclass(frozen=True)
class DeviceSpeed:
    """How quickly a device computes with updates of a run's shape."""

    products: float
    """FLOP/s of a product alone."""
    updates: float
    """FLOP of products a second, with all else that is done to an update."""
    what: str
    """Shape, type and device."""

    def __str__(self) -> str:
        return f"{self.products / 1e9:,.0f} GFLOP/s ({self.what}), {self.updates / 1e9:,.0f} with all else of an update"


def measure_disk(files: Sequence[Path], *, seed: int = 0) -> DiskSpeed | None:
    """Reads pieces at random places of files, of some tens of MB and at most a second; None where there are none.

    Args:
        files: where weights lie.
        seed: of the places.
    """
    places = _places(files, random.Random(seed))
    read, cached, cache_known = 0, 0, True
    start = time.perf_counter()
    for file, offset, count in places:
        if isinstance(file, RemotePath):
            file.read_range(offset, count)
        else:
            held = _read(file, offset, count)
            cache_known, cached = cache_known and held is not None, cached + (held or 0)
        read += count
        if time.perf_counter() - start > DISK_SECONDS:
            break
    elapsed = time.perf_counter() - start
    if not read:
        return None
    return DiskSpeed(
        read / max(elapsed, 1e-6), cached / read if cache_known else None, isinstance(files[0], RemotePath)
    )


def _places(files: Sequence[Path], chosen: random.Random) -> list[tuple[Path, int, int]]:
    """(file, offset, bytes) at random, a piece of the largest files first, no place twice."""
    sizes = {file: file.stat().st_size for file in files}
    pieces = [(file, at, min(PIECE, size - at)) for file, size in sizes.items() for at in range(0, size, PIECE)]
    return chosen.sample(pieces, k=min(len(pieces), MOST_READ // PIECE))


def _read(file: Path, offset: int, count: int) -> int | None:
    """Reads one piece; how much of it was in the page cache, where the system can say."""
    room = bytearray(count)
    handle = os.open(file, os.O_RDONLY)
    try:
        held = _from_cache(handle, room, offset)
        done = held or 0
        while done < count and (more := os.preadv(handle, [memoryview(room)[done:]], offset + done)):
            done += more
        return held
    finally:
        os.close(handle)


def _from_cache(handle: int, room: bytearray, offset: int) -> int | None:
    """Reads what is there without waiting for the disk."""
    try:
        return os.preadv(handle, [room], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return 0
    except (OSError, AttributeError):  # a file system or a system that cannot tell
        return None


def measure_products(
    shape: tuple[int, int], columns: float, settings: GeometrySettings, device: torch.device, *, workers: int
) -> DeviceSpeed:
    """Times a product of the iteration, then whole updates of as many rows as half a second allows.

    Args:
        shape: (d_out, d_in) of the layers that take most.
        columns: an update's products, as columns that it is multiplied with.
        settings: what is computed.
        device: where.
        workers: how many updates are computed at once.
    """
    d_out, d_in = shape
    dtype = torch.float32 if settings.spectrum == "krylov" else torch.float64
    rough = product_dtype(shape, device) if settings.spectrum == "krylov" else dtype
    old = torch.randn(shape, dtype=dtype, device=device)
    new = old + 0.01 * torch.randn(shape, dtype=dtype, device=device)
    X = torch.randn(d_in, KRYLOV_BLOCK, device=device).to(rough)
    D = (new - old).to(rough)
    with Workers(workers) as threads:
        seconds = _seconds(lambda: _product(D, X), threads, device, budget=PRODUCT_SECONDS)
        products = workers * 4 * d_out * d_in * KRYLOV_BLOCK / seconds
        rows = int(UPDATE_SECONDS * products / workers / (2 * d_in * columns))
        rows = min(d_out, max(256, rows))
        update = partial(_update, old[:rows], new[:rows], settings, rough)
        seconds = _seconds(update, threads, device, budget=0)
    message = f"{d_out}x{d_in} by {KRYLOV_BLOCK} in {str(rough).removeprefix('torch.')} on {device}"
    return DeviceSpeed(products, workers * 2 * rows * d_in * columns / seconds, message)


def _product(D: Tensor, X: Tensor) -> None:
    D.mT @ (D @ X)


def _update(old: Tensor, new: Tensor, settings: GeometrySettings, rough: torch.dtype) -> None:
    """What is done to an update of two whole weights."""
    D = difference(new, old, torch.empty_like(old))
    norm = frobenius_norm(D)
    changed_share(D)
    rounding_floor_sq(new)
    right_spectrum(
        D[None],
        norm.reshape(1).double(),
        rank=settings.rank,
        energy=settings.energy,
        lam=settings.lam,
        energy_of=settings.energy_of,
        method=settings.spectrum,
        rough=D.to(rough)[None],
    )


def _seconds(call: Callable[[], None], threads: Workers, device: torch.device, *, budget: float) -> float:
    """A call's time when every worker does it at once, after one to warm up."""
    if budget:
        _all_at_once(call, threads, device)
    start, times = time.perf_counter(), 0
    while not times or time.perf_counter() - start < budget:
        _all_at_once(call, threads, device)
        times += 1
    return (time.perf_counter() - start) / times


def _all_at_once(call: Callable[[], None], threads: Workers, device: torch.device) -> None:
    threads.map(lambda _: call(), range(threads.count))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
