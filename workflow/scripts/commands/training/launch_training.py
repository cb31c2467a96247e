"""Start train_stage.py: in this process, by torchrun on one node, or by srun on several.

    launch_training.py --nodes N --processes P --threads T -- OPTIONS OF train_stage.py

Each process gets its share of the threads of its node.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tokalign.common import cli
from tokalign.common.errors import ConfigurationError

TRAINER = Path(__file__).with_name("train_stage.py")


def command(nodes: int, processes: int, threads: int, options: list[str], *, allocated: bool) -> list[str]:
    """Return the command that starts the processes.

    Args:
        nodes: number of nodes.
        processes: processes per node.
        threads: threads per node.
        options: options of train_stage.py.
        allocated: whether this is a Slurm job.

    Raises:
        ConfigurationError: several nodes are requested outside of a Slurm job.
    """
    share = max(1, threads // processes)
    trainer = [str(TRAINER), "--threads", str(share), *options]
    if nodes > 1:
        if not allocated:
            raise ConfigurationError(
                "nodes",
                found=f"{nodes}, and no Slurm allocation",
                expected="a job of a Slurm cluster",
                mend="run with --profile slurm, or set nodes: 1 in the stage",
            )
        step = ["srun", "--kill-on-bad-exit=1", f"--nodes={nodes}", f"--ntasks={nodes * processes}"]
        return [*step, f"--ntasks-per-node={processes}", f"--cpus-per-task={share}", sys.executable, *trainer]
    if processes > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return [*torchrun, *trainer]
    return [sys.executable, *trainer]


def main() -> None:
    """Replace this process with the command."""
    if "--" not in sys.argv:
        sys.exit("launch_training.py: error: no -- before the options of train_stage.py")
    split = sys.argv.index("--")
    parser = cli.parser(__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True, help="on each node")
    parser.add_argument("--threads", type=int, required=True, help="of each node")
    args = parser.parse_args(sys.argv[1:split])
    try:
        words = command(args.nodes, args.processes, args.threads, sys.argv[split + 1 :], allocated="SLURM_JOB_ID" in os.environ)
    except ConfigurationError as error:
        sys.exit(f"launch_training.py: error: {error}")
    os.environ["OMP_NUM_THREADS"] = str(max(1, args.threads // args.processes))  # Snakemake sets it to all threads of the job
    os.execvp(words[0], words)


if __name__ == "__main__":
    main()
