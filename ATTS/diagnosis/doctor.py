"""Whether a run can succeed here: each thing that it needs is tried, and what is wrong is told with what to do."""

import asyncio
import importlib.metadata
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ATTS import demo
from ATTS.console import show
from ATTS.errors import SampleError, UserError
from ATTS.flags import Part
from ATTS.method.prompts import SYSTEM, maths
from ATTS.runs import addresses, parts
from ATTS.runs.models import connect
from ATTS.serving.client import SGLangModel
from ATTS.serving.server_info import new_session, served_name
from ATTS.serving.tokenizer import ModelTokenizer
from ATTS.store import lock
from ATTS.tasks import datasets

PYTHON = SpecifierSet(">=3.11,<3.13")
LEAST_FREE = 2**30  # bytes: 100,000 samples of 10 kB
FEW_CHAINS = 8  # fewer in a server's memory leave it idle between requests


class DoctorSettings(Part):
    """What is to be examined; what isn't named is found out or left out."""

    small_model_name: str | None = None
    """Draft model; default: whatever its server serves."""

    draft: addresses.DraftAddress = addresses.DraftAddress()

    eval_model_name: str | None = None
    """Target model; default: whatever its server serves."""

    target: addresses.TargetAddress = addresses.TargetAddress()

    dataset_name: str | None = None
    """Data set to load, too."""

    data_dir: Path | None = None
    """Folder with local copies of the data sets; else $ATTS_DATA_DIR; else the hub."""

    output_dir: Path = Path("results")
    """Where results will go."""

    chain_tokens: int = 8192
    """Tokens that a chain may come to, prompt included: --turns times both chunk lengths at most."""

    requests: parts.Requests = parts.Requests()


class Finding(NamedTuple):
    """One thing that was looked at. ``advice``: what to do; empty if it is well."""

    what: str
    advice: str = ""
    fatal: bool = True  # no run succeeds without it

    def __str__(self) -> str:
        verdict = "ok     " if not self.advice else "PROBLEM" if self.fatal else "note   "
        return f"{verdict}  {self.what}" + (f"\n         -> {self.advice}" if self.advice else "")


async def examine(settings: DoctorSettings) -> str:
    """The findings, a line or two each. Raises UserError if any thwarts a run."""
    findings = [*installation(), *gpus(), *disk(settings.output_dir), *data(settings)]
    async with new_session(settings.requests.request_timeout) as session:
        s = settings
        places = [("draft", url, s.small_model_name) for url in s.draft.urls]
        places += [("target", url, s.eval_model_name) for url in s.target.urls]
        for found in await asyncio.gather(*(server(session, settings, *place) for place in places)):
            findings += found
    text = "\n".join(map(str, findings))
    wrong = sum(bool(one.advice) and one.fatal for one in findings)
    if wrong:
        show(text)
        raise UserError(f"{wrong} of {len(findings)} things need to be put right before a run (see PROBLEM above)")
    return f"{text}\nall that a run needs is there"


def installation() -> Iterator[Finding]:
    """Python and the libraries, by the versions that this package asks for."""
    version = platform.python_version()
    yield Finding(f"Python {version}", "" if version in PYTHON else f"use Python {PYTHON}, e.g. PYTHON=python3.11")
    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("ATTS") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("this package is not installed", "run bash scripts/setup.sh, or pip install .", fatal=False)
        return
    wrong = []
    for one in wanted:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found == "missing" or not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name}{one.specifier} ({found})")
    yield Finding(
        f"{len(wanted)} libraries" if not wrong else f"libraries: {', '.join(wrong)}",
        "run bash scripts/setup.sh, or pip install -r requirements.lock" if wrong else "",
    )


def gpus() -> Iterator[Finding]:
    """What nvidia-smi tells; no GPU is no problem for a client whose servers are elsewhere."""
    program = shutil.which("nvidia-smi")
    query = "--query-gpu=name,memory.total,memory.free"
    told = ""
    if program:
        try:
            told = subprocess.run(  # noqa: S603
                [program, query, "--format=csv,noheader"], capture_output=True, text=True, timeout=30
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            told = ""
    for line in filter(None, told.splitlines()):
        yield Finding(f"GPU: {line.strip()}")
    if not told.strip():
        yield Finding(
            "no GPU that nvidia-smi shows",
            "servers here can run small models on the CPU only (DEVICE=cpu); others are named with --small_model_url"
            " and --eval_model_url",
            fatal=False,
        )


def disk(folder: Path) -> Iterator[Finding]:
    """Room, permission and locks where results will go."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        yield Finding(f"{there} is no folder", "name another --output_dir")
        return
    try:
        free = shutil.disk_usage(there).free
        with tempfile.NamedTemporaryFile(dir=there) as file:
            locks = lock.flock(file.fileno())
    except OSError as error:
        what = f"{there} can't be written to ({error.strerror})"
        yield Finding(what, "make it writable, or name another --output_dir")
        return
    if not locks:
        yield Finding(
            f"{there} has no file locks that other machines see",
            "runs claim their folder by a file instead; after a machine's crash the next one waits a minute",
            fatal=False,
        )
    room = f"{free / 2**30:.1f} GiB free in {there}"
    yield Finding(room, "" if free >= LEAST_FREE else "make room: a sample takes about 10 kB, a long one 100 kB")


def data(settings: DoctorSettings) -> Iterator[Finding]:
    """The data set, loaded."""
    if settings.dataset_name is None:
        return
    name = settings.dataset_name
    try:
        found = datasets.load(datasets.canonical(name), settings.data_dir or datasets.default_data_dir())
    except (UserError, ValueError) as error:
        yield Finding(f"data set {name}", str(error))
    else:
        yield Finding(f"data set {name}: {len(found)} questions")


async def server(
    session: aiohttp.ClientSession, settings: DoctorSettings, role: str, url: str, name: str | None
) -> list[Finding]:
    """One server: whether it is there, serves the model, reads tokens as the files here, writes and scores."""
    where = f"{role} server at {url}"
    try:
        name = name or await served_name(session, url, role)
        model, tokenizer = await connect(session, settings.requests, role, [url], name, 1)
    except UserError as error:
        return [Finding(where, str(error)), *weights(role, name)]
    info = model.info
    findings = [
        Finding(f"{where}: {name}, SGLang {info.version or 'of unknown version'}, same tokens as the files here")
    ]
    findings += room(settings, role, model)
    findings.append(await works(role, model, tokenizer))
    if await model.load() is None:
        note = "start it with --enable-metrics (launch_sglang_servers.sh does): limits adapt better with it"
        findings.append(Finding(f"the {role} server has no page of metrics", note, fatal=False))
    return findings


def room(settings: DoctorSettings, role: str, model: SGLangModel) -> Iterator[Finding]:
    """Whether a chain fits its context, and enough of them its memory."""
    info, tokens = model.info, settings.chain_tokens
    if info.context_length is not None:
        short = info.context_length < tokens
        advice = f"start it with --context-length {tokens}, or use fewer turns or smaller chunks (--chain_tokens)"
        yield Finding(f"context of the {role}: {info.context_length} tokens", advice if short else "")
    if info.kv_tokens:
        chains = info.kv_tokens // tokens
        what = f"memory of the {role}: {info.kv_tokens} tokens, {chains} chains of {tokens}"
        advice = "give it more memory (a higher memory fraction, more devices) or use shorter chains"
        yield Finding(what, advice if chains < FEW_CHAINS else "", fatal=chains == 0)


async def works(role: str, model: SGLangModel, tokenizer: ModelTokenizer) -> Finding:
    """Whether it writes a token and scores one."""
    try:
        prompt = tokenizer.prompt(maths("What is 1 + 1?"), SYSTEM)
        await model.generate(prompt, 1, 0.0)
        await model.logprobs(prompt, len(prompt) - 1)
    except (SampleError, UserError) as error:
        advice = f"{error}; see its log, and third_party/README.md for the versions that work together"
        return Finding(f"the {role} server writes and scores", advice)
    return Finding(f"the {role} server writes and scores")


def weights(role: str, name: str | None) -> Iterator[Finding]:
    """How much memory a model that isn't served yet will take, where its files are here."""
    folder = Path(demo.resolve(name)) if name else None
    if folder is None or not folder.is_dir():
        return
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    yield Finding(f"the {role}'s weights take {size / 2**30:.2f} GiB, and chains as much again as you give them")
