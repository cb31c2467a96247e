"""A Slurm cluster for the tests: one that runs already, or one that is started and removed afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import ROOT

SCRIPT = Path(__file__).with_name("slurm-local.sh")
SITE = Path("/etc/slurm/slurm.conf")

# Nodes as big as the workflow's rules ask for; they are declared, not real. Two may train while the third one fails or is free.
NODES = {
    "SLURM_LOCAL_CPU_NODES": "3", "SLURM_LOCAL_CPU_CPUS": "32", "SLURM_LOCAL_CPU_MEM": "128000", "SLURM_LOCAL_GPU_CPUS": "32",
}  # fmt: skip


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of a user of the cluster, whose home has the profile where ``make slurm-profile`` puts it."""
    if os.geteuid() != 0:
        pytest.skip("starting Slurm needs root")
    if shutil.which("apt-get") is None:
        pytest.skip("Slurm is installed with apt-get, which this machine lacks")
    folder = Path(os.environ.get("SLURM_LOCAL_DIR") or Path(os.environ.get("TMPDIR") or "/tmp", "tokalign-slurm"))
    configuration = folder / "etc/slurm.conf"
    if SITE.exists() and SITE.resolve() != configuration.resolve():
        pytest.skip(f"{SITE} belongs to another cluster")

    running = subprocess.run([SCRIPT, "status", folder], capture_output=True).returncode == 0
    try:
        if not running:
            started = subprocess.run([SCRIPT, "start", folder], env=os.environ | NODES, text=True, stderr=subprocess.PIPE)
            assert started.returncode == 0, started.stderr
        home = tmp_path_factory.mktemp("home")
        environment = {key: value for key, value in os.environ.items() if key != "XDG_CONFIG_HOME"}
        environment |= {"HOME": str(home), "SLURM_CONF": str(configuration), "PYTHONPATH": ""}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        subprocess.run(["make", "-C", ROOT, "slurm-profile"], env=environment, check=True, stdout=subprocess.DEVNULL)
        yield environment
    finally:
        if not running:
            subprocess.run([SCRIPT, "purge", folder], check=True)
