# Shared by all rules: the valid configuration, look-ups in it (workflow/scripts/plan/), wildcard names, the environment.

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The repository, also if another workflow uses this one as a module.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
LIBRARY = str(ROOT / "workflow/scripts")
if not Path(LIBRARY).is_dir():
    raise WorkflowError(
        f"{LIBRARY}: no such folder; the workflow needs its library beside its rules.\n"
        "  to mend:  clone the repository, and name the clone's workflow/Snakefile in the module"
    )
sys.path.insert(0, LIBRARY)

from plan import paths, preflight
from plan.evaluations import Evaluations
from plan.resources import Profile, Jobs, memory, runtime
from plan.settings import Settings, handed_over, labels, options
from plan.study import Study, one_of
from tokalign.common.digests import DigestCache
from tokalign.common.errors import TokalignError
from tokalign.common.versions import VERSIONS
from tokalign.config.validation import check_files, validate

try:
    validated = validate(config)
    check_files(validated)
except TokalignError as error:
    raise WorkflowError(f"the configuration cannot be used:\n{error}")
config.clear()
config.update(validated)

study = Study(config)
evaluations = Evaluations(study)
settings = Settings(study, evaluations, DigestCache(".snakemake/tokalign-digests.json"))
# A module may be used with a prefix: then rules have other names in the running workflow.
rule_name = workflow.modifier.modify_rulename
jobs = Jobs(study, evaluations, Profile(workflow.resource_settings, rule_name))

# For the commands of all rules: their folder; the programs of Snakemake's own environment (conda environments, if used, come
# first); no hub access, which only the fetch rules switch on; and threads that sleep while they wait for each other, as
# spinning makes a job ten times slower on shared cores.
OFFLINE = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
os.environ.update(
    SCRIPTS=os.path.relpath(Path(LIBRARY, "commands")),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    OMP_WAIT_POLICY="PASSIVE",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="true",
)

# A job uses the threads it requests, never all threads of the node. Snakemake tells BLAS, OpenMP and Arrow; tokenizers and numba
# would otherwise look at the node. (The prefix replaces Snakemake's own, which is its first command.)
# The library's path is set here, as Snakemake removes PYTHONPATH from a job's environment with `--sdm conda`.
shell.prefix(
    "set -euo pipefail;"
    ' export RAYON_NUM_THREADS="$OMP_NUM_THREADS" NUMBA_NUM_THREADS="$OMP_NUM_THREADS"'
    f" PYTHONPATH={shlex.quote(LIBRARY)}"
    '"${{PYTHONPATH:+:$PYTHONPATH}}"; '
)


wildcard_constraints:
    **study.constraints(),


def names_pattern(section, chosen):
    """Return a wildcard constraint: the names of the blocks of a section that a function selects, or nothing."""
    return one_of(study.names_with(section, chosen))
