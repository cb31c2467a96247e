"""Checks before the first job, as a table, and the plan of trainings with GPU hours."""

from __future__ import annotations

import difflib
import getpass
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokalign.cluster import gpus
from tokalign.cluster.slurm import SINFO, JobRequest, parse_sinfo, slurm
from tokalign.common.errors import InputError
from tokalign.common.files import read_json
from tokalign.models.safetensors_file import read_safetensors_header
from tokalign.preflight import estimates
from tokalign.preflight.dry_run import DryRun, parse_dry_run, without_room
from tokalign.preflight.estimates import ModelSize, Stage

log = logging.getLogger(__name__)

GB = 10**9
PAUSE = 30
"""Seconds to wait for the network."""


@dataclass(frozen=True)
class Check:
    """A line of the table of checks.

    Attributes:
        name: what is checked.
        found: what is there.
        expected: what is needed.
        ok: ``None`` if it could not be checked.
        mend: what to do if the check fails.
    """

    name: str
    found: str
    expected: str
    ok: bool | None
    mend: str = ""


# ---- profile ----


def check_profile(site: Mapping[str, Any]) -> list[Check]:
    """Look for misspelled rules in the profile's resources, which Snakemake ignores.

    Args:
        site: ``rules``, the workflow's rules, and ``unknown_rules``, other names in the profile.
    """
    checks = []
    for name in site["unknown_rules"]:
        close = difflib.get_close_matches(name, site["rules"], n=1, cutoff=0.8)
        if close:
            checks.append(
                Check(f"rule {name} of the profile", "no rule of this name", close[0], False, f"write {close[0]} in the profile")
            )
    return checks


# ---- network ----


def reach_hub(kind: str, repository: str, revision: str) -> str:
    """Ask the Hugging Face hub for a repository's commit and for access to its files; download nothing.

    Args:
        kind: ``model`` or ``dataset``.
        repository: ``owner/name``.
        revision: commit, branch or tag.

    Returns:
        The commit.

    Raises:
        InputError: there is no such repository or revision, no access, or no network.
    """
    import huggingface_hub
    from huggingface_hub import errors

    api = huggingface_hub.HfApi()
    try:
        info = api.repo_info(repository, repo_type=kind, revision=revision, timeout=PAUSE)
        api.auth_check(repository, repo_type=kind)
    except errors.GatedRepoError as error:
        page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
        raise InputError("access has to be granted", mend=f"accept the terms on {page} and set HF_TOKEN") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise InputError(
            "no such repository or revision", mend="check owner, name and revision; a private one needs HF_TOKEN"
        ) from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise InputError(
            f"the hub cannot be reached ({type(error).__name__})",
            mend="run this where there is a network, or skip it with: HF_HUB_OFFLINE=1 snakemake ... preflight",
        ) from error
    return str(info.sha)


def reach_wheel(requirement: str) -> str:
    """Check that pip's index has the version of a wheel.

    Raises:
        InputError: the index lacks it or cannot be reached.
    """
    name, version = requirement.split("==")
    command = [sys.executable, "-m", "pip", "index", "versions", "--disable-pip-version-check", "--timeout", str(PAUSE), name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError("pip's index does not have it or cannot be reached", mend="check the network and `pip config list`")
    if version not in done.stdout.replace(",", " ").split():
        raise InputError(f"the index has no version {version}", mend="write a version that it has")
    return version


def check_sources(sources: Iterable[Mapping[str, str]], *, offline: bool) -> list[Check]:
    """Check access to everything that is still to be fetched, once per repository.

    Args:
        sources: ``path`` of the result, ``kind`` (``wheel``, ``model`` or ``dataset``), ``name``, ``revision``.
        offline: do not use the network.
    """
    wanted = [dict(source) for source in sources if not Path(source["path"]).exists()]
    distinct = {(source["kind"], source["name"], source.get("revision", "")) for source in wanted}
    if not distinct:
        return [Check("sources on the network", "nothing left to fetch", "access to what is left to fetch", True)]
    if offline:
        names = sorted({name for _, name, _ in distinct})
        return [
            Check(
                "sources on the network",
                "skipped: no network (HF_HUB_OFFLINE)",
                f"access to {len(names)}: {', '.join(names)}",
                None,
            )
        ]
    checks = []
    for kind, name, revision in sorted(distinct):
        log.info("asking for %s %s", kind, name)
        expected = f"access to {revision}" if revision else "on the index"
        try:
            found = reach_wheel(name) if kind == "wheel" else f"commit {reach_hub(kind, name, revision)[:12]}"
            checks.append(Check(f"{kind} {name}", found, expected, True))
        except InputError as error:
            checks.append(Check(f"{kind} {name}", error.where, expected, False, str(error).partition("to mend:  ")[2]))
    return checks


# ---- sizes ----


def size_of_config(config: Mapping[str, Any], parameters: int | None) -> ModelSize | None:
    """Return the model size that a config.json describes, or ``None`` if it names no width.

    Args:
        config: content of config.json; for a model of text and images, the text part counts.
        parameters: number of parameters, if known.
    """
    own = config.get("text_config", config)
    width = next((own[key] for key in ("hidden_size", "n_embd", "d_model") if key in own), None)
    if width is None or "vocab_size" not in own or parameters is None:
        return None
    return ModelSize(parameters, own["vocab_size"], width, own.get("tie_word_embeddings", True))


def model_size(source: Mapping[str, Any], info: Path, *, offline: bool) -> tuple[ModelSize | None, str]:
    """Return the size of a model and its source.

    The first available of: info.json, the files of a local folder, the hub's description, the number in its name.
    """
    if info.exists():
        return ModelSize.of(read_json(info)), ""
    if "folder" in source:
        folder = Path(source["folder"])
        tensors = [tensor for path in sorted(folder.glob("*.safetensors")) for tensor in read_safetensors_header(path).values()]
        parameters = sum(_product(tensor.shape) for tensor in tensors)
        return size_of_config(read_json(folder / "config.json"), parameters), ""
    named = next((str(source[key]) for key in ("hub", "wheel", "gguf") if key in source), "")
    guess = estimates.parameters_in_name(Path(named.split("==")[0]).name)
    if "hub" in source and not offline:
        found = _described(source["hub"], source["revision"], guess)
        if found is not None:
            return found, ""
    return (ModelSize.typical(guess), "size from its name") if guess else (None, "size not known before it is fetched")


def vocabulary_size(block: Mapping[str, Any], *, offline: bool) -> int | None:
    """Return the number of ids of a tokenizer, or ``None`` if unknown.

    Args:
        block: ``rows`` if the workflow knows it, else ``source``, whose config.json may state it.
        offline: do not use the network.
    """
    if block["rows"] is not None:
        return block["rows"]
    source = block["source"]
    path = Path(source.get("folder", ""), "config.json")
    if "folder" in source and path.exists():
        return read_json(path).get("vocab_size")
    found = None if offline or "hub" not in source else _described(source["hub"], source["revision"], 1)
    return found and found.rows


def _product(shape: Sequence[int]) -> int:
    result = 1
    for length in shape:
        result *= length
    return result


def _described(repository: str, revision: str, guess: int | None) -> ModelSize | None:
    """Return the size from config.json of a hub repository (a few hundred bytes), or ``None``."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().repo_info(repository, repo_type="model", revision=revision, timeout=PAUSE)
        path = huggingface_hub.hf_hub_download(repository, "config.json", revision=revision, etag_timeout=PAUSE)
    except (errors.HTTPError, errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError):
        return None  # the check of the sources says why
    weights = getattr(info, "safetensors", None)
    return size_of_config(json.loads(Path(path).read_text(encoding="utf-8")), weights.total if weights else guess)


# ---- disk ----


@dataclass(frozen=True)
class Sizes:
    """Known sizes of models and tokenizers.

    Attributes:
        models: by name; ``None`` if unknown.
        vocabularies: number of ids by tokenizer; ``None`` if unknown.
    """

    models: Mapping[str, ModelSize | None]
    vocabularies: Mapping[str, int | None]

    def adapted(self, model: str, tokenizer: str | None) -> ModelSize | None:
        """Return a model's size with another vocabulary, or with its own if the other is ``None`` or unknown."""
        size = self.models[model]
        rows = self.vocabularies.get(tokenizer) if tokenizer else None
        return size.with_rows(rows) if size and rows else size


def file_bytes(item: Mapping[str, Any], sizes: Sizes) -> int | None:
    """Return the bytes of a planned file or folder, or ``None`` if its model's size is unknown.

    Args:
        item: ``path`` and either ``bytes``, or ``model``, ``tokenizer`` (``None``: its own), and for saved states of a training
            ``stage`` and ``block``.
        sizes: sizes of models and vocabularies.
    """
    if "bytes" in item:
        return item["bytes"]
    size = sizes.adapted(item["model"], item["tokenizer"])
    if size is None:
        return None
    if "stage" in item:
        return 3 * estimates.state_bytes(size, Stage.of(item["stage"], item["block"]))
    return estimates.checkpoint_bytes(size)


def check_disk(items: Iterable[Mapping[str, Any]], sizes: Sizes, quota: str = "") -> list[Check]:
    """Check the free space for what is still to be written, by file system.

    Args:
        items: planned files; existing ones are not counted.
        sizes: sizes of models and vocabularies.
        quota: advice if there is a limit other than free space.
    """
    needed: dict[int, int] = {}
    folders: dict[int, set[str]] = {}
    unknown = set()
    for item in items:
        path = Path(item["path"])
        if path.exists():
            continue
        size = file_bytes(item, sizes)
        if size is None:
            unknown.add(item["model"])
            continue
        parent = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        device = parent.stat().st_dev
        needed[device] = needed.get(device, 0) + size
        folders.setdefault(device, set()).add(path.parts[0])
    checks = []
    for device, size in needed.items():
        names = " and ".join(f"{name}/" for name in sorted(folders[device]))
        where = next(Path(name) if Path(name).exists() else Path.cwd() for name in sorted(folders[device]))
        free = shutil.disk_usage(where).free
        without = f", without {', '.join(sorted(unknown))}, whose size is not known" if unknown else ""
        checks.append(
            Check(
                f"disk space of {names}", f"{free / GB:.1f} GB free", f"about {size / GB:.1f} GB{without}", free >= size,
                f"free some space, or move the working folder to a larger file system{quota}",
            )
        )  # fmt: skip
    return checks or [Check("disk space", "nothing left to write", "room for what is left to write", True)]


# ---- trainings ----


@dataclass(frozen=True)
class Training:
    """A training in the plan: one stage of an experiment.

    Attributes:
        labels: experiment, model, tokenizer, recipe, seed, stage.
        stage: what its cost depends on.
        size: size of the trained model, if known.
        done: whether it has been trained.
    """

    labels: Mapping[str, str]
    stage: Stage
    size: ModelSize | None
    done: bool


def trainings(items: Iterable[Mapping[str, Any]], sizes: Sizes) -> list[Training]:
    """Return the trainings of all experiments without duplicates."""
    found = {}
    for item in items:
        size = sizes.adapted(item["labels"]["model"], item["labels"]["tokenizer"])
        found[item["path"]] = Training(item["labels"], Stage.of(item["stage"], item["block"]), size, Path(item["path"]).exists())
    return list(found.values())


def check_gpu_memory(plan: Iterable[Training], gpu: str | None) -> list[Check]:
    """Check that each training fits into GPU memory, once per recipe, model and vocabulary."""
    checks = {}
    for training in plan:
        if training.done or not training.stage.gpus or training.size is None:
            continue
        name = gpus.known_gpu(gpu) if gpu else None
        needed = estimates.device_bytes(training.size, training.stage) / GB
        where = f"{training.labels['recipe']}.{training.labels['stage']} of {training.labels['model']}, {training.labels['tokenizer']}"
        if name is None:
            checks[where] = Check(
                f"GPU memory: {where}", f"GPU {gpu or 'of the profile'} not known here", f"about {needed:.0f} GB", None
            )
            continue
        room = gpus.GPU_GB[name]
        checks[where] = Check(
            f"GPU memory: {where}", f"{name} with {room} GB", f"about {needed:.0f} GB", needed <= room,
            "lower device_sequences, or spread the model over several GPUs with zero: 3",
        )  # fmt: skip
    return list(checks.values())


def training_memory_mb(plan: Iterable[Training], stated: int | None) -> int | None:
    """Return the largest main memory request of an unfinished training per node, in MB.

    Args:
        plan: all trainings.
        stated: memory that the configuration states instead.

    Returns:
        ``None`` if there is no such training, or no size is known.
    """
    open_ones = [training for training in plan if not training.done and training.size is not None]
    if stated is not None or not open_ones:
        return stated if open_ones else None
    return max(estimates.asked_memory_mb(estimates.training_memory_mb(one.size, one.stage)) for one in open_ones)


# ---- cluster ----


def check_slurm(requests: Iterable[JobRequest], training_mb: int | None, settings: Mapping[str, Any]) -> list[Check]:
    """Check partitions, requests of jobs, and the account.

    Args:
        requests: requests of the jobs to submit.
        training_mb: main memory of a training, if known better than in the requests [MB].
        settings: ``slurm`` (whether the profile submits to it), ``partitions`` (by name, the ``max_gpu`` of the
            profile), ``account``.
    """
    if not settings["slurm"]:
        return check_machine(training_mb)
    if shutil.which("sinfo") is None:
        mend = "run this where jobs are submitted, or use --profile profiles/local"
        return [Check("Slurm", "no sinfo: Slurm is not on this machine", "the profile submits to Slurm", False, mend)]
    try:
        nodes = parse_sinfo(slurm("sinfo", "--noheader", "--format", SINFO))
    except InputError as error:
        return [Check("Slurm", error.where, "sinfo lists the partitions", False, f"wait until the cluster answers ({error})")]
    known = {kind.partition: kind.up for kind in nodes}
    limits = settings["partitions"] or dict.fromkeys(sorted(known))
    checks = []
    for name in limits:
        found = "not there" if name not in known else "up" if known[name] else "not up"
        there = ", ".join(sorted(known))
        checks.append(Check(f"partition {name}", found, "up", found == "up", f"name in partitions.yaml one of: {there}"))
    usable = [replace(kind, max_gpu=limits[kind.partition]) for kind in nodes if kind.partition in limits]
    if training_mb is not None:
        requests = [replace(request, mem_mb=training_mb) if request.rule == "train_stage" else request for request in requests]
    reasons = without_room(requests, usable)
    for request, reason in reasons.items():
        advice = f"lower `set-resources: {request.rule}` or group-components in the profile; or add a partition"
        if "max_gpu" in reason:
            advice = "raise max_gpu in partitions.yaml of the profile, if the site allows it; or lower gpus or nodes of the stage"
        checks.append(Check(f"room for {request.rule}", reason, describe(request), False, advice))
    if not reasons:
        checks.append(Check("room for all jobs", f"on {', '.join(limits)}", "memory, threads, time and GPUs of each job", True))
    if settings["account"]:
        checks.append(check_account(settings["account"]))
    return checks


def describe(request: JobRequest) -> str:
    """Describe the request of a job."""
    gpus = f", {request.gpus} GPUs" if request.gpus else ""
    return f"{request.mem_mb} MB, {request.threads} threads, {request.minutes} minutes{gpus}"


def check_account(account: str) -> Check:
    """Check that Slurm's accounting lets this user charge an account."""
    user = getpass.getuser()
    try:
        text = slurm("sacctmgr", "--noheader", "--parsable2", "list", "associations", f"user={user}", "format=account")
    except InputError as error:
        return Check(f"account {account}", str(error).splitlines()[0], f"an account of {user}", None)
    known = sorted({line.strip() for line in text.splitlines() if line.strip()})
    mend = "write one of these as slurm_account into the profile"
    return Check(f"account {account}", ", ".join(known) or "no accounts", f"an account of {user}", account in known, mend)


def check_machine(training_mb: int | None) -> list[Check]:
    """Check that the largest training fits into this machine's main memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // estimates.MB
    checks = [Check("Slurm", "not used by this profile", "", None)]
    if training_mb is not None:
        mend = "lower device_sequences, or run it on a larger machine"
        checks.append(Check("memory of this machine", f"{memory} MB", f"{training_mb} MB to train", memory >= training_mb, mend))
    return checks


def dry_run(command: Sequence[str], folder: Path) -> DryRun:
    """Plan the run with a dry run of Snakemake.

    Raises:
        InputError: the run cannot be planned.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise InputError(f"the run cannot be planned: {' '.join(command)}", found=done.stdout.strip()[-2000:])
    return parse_dry_run(done.stdout)
