"""A real Slurm on this machine, of its own: one node, its own ports, keys and folders, gone when the tests are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")
CONF = """
ClusterName=geodiag
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1,requeue_delay=1
MinJobAge=300
KillWait=3
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def missing():
    """What keeps a Slurm from running here; empty when nothing does."""
    if os.getuid() != 0:
        return "only root can run a Slurm of its own"
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if not lacking:
        return ""
    return f"not installed: {', '.join(lacking)}; `make system` installs them on Debian, as root"


def _path():
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def running(folder: Path):
    """Starts munge and Slurm below `folder` and yields the environment to reach them; stops them at the end."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    values = {"host": host, "folder": folder, "cpus": os.cpu_count(), "ctld": _free_port(), "slurmd": _free_port()}
    (folder / "slurm.conf").write_text(CONF.format(**values))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    started = []
    try:
        for command in (_munged(folder), ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", host]):
            with (folder / f"{command[0]}.out").open("w") as log:
                kept = {"stdout": log, "stderr": log, "start_new_session": True}
                started.append(subprocess.Popen(command, env=environment, **kept))
            if command[0] == "munged":
                _until(lambda: (folder / "munge.socket").exists(), "munged does not come up", folder)
        _until(lambda: _idle(environment), "the node does not come up", folder)
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _munged(folder):
    files = {
        "socket": "munge.socket",
        "key-file": "munge.key",
        "pid-file": "munged.pid",
        "log-file": "munged.log",
        "seed-file": "munged.seed",
    }
    return ["munged", "--foreground", "--force", *(f"--{name}={folder / file}" for name, file in files.items())]


def _idle(environment):
    told = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False)
    return told.stdout.strip() in ("idle", "mixed")


def _until(holds, problem, folder, *, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            logs = "".join(path.read_text()[-1500:] for path in (*folder.glob("*.log"), *folder.glob("*.out")))
            raise AssertionError(f"{problem}:\n{logs}")
        time.sleep(0.2)


def wait_for(jobs, environment, *, seconds=120):
    """Waits until none of these jobs is in the queue any more."""
    deadline = time.monotonic() + seconds
    while True:
        told = subprocess.run(
            ["squeue", "-h", "-o", "%i %T %r"], env=environment, capture_output=True, text=True, check=True
        )
        left = [line for line in told.stdout.splitlines() if line.split("_")[0].split()[0] in jobs]
        if not left:
            return
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.2)
