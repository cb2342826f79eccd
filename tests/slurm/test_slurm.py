"""The scripts for clusters on a real Slurm of one node: daemons of its own, in a folder and at ports of their own."""

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, free_ports

from ATTS.store.result_folder import read_summary, samples

PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=PATH) is None]
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"no Slurm here (apt-get install slurmctld slurmd munge): {MISSING}"),
]

CONF = """
ClusterName=atts
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
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
SchedulerParameters=bf_interval=1,sched_min_interval=0,batch_sched_delay=0,requeue_delay=0
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
RUN = [
    *("ref_async", "--small_model_name", "demo-draft", "--eval_model_name", "demo-target", "--dataset_name", "demo"),
    *("--max_problems", "8", "--repeats", "4", "--turns", "6", "--takeover", "random"),
    *("--small_model_max_tokens", "24", "--evalator_max_tokens", "24", "--samples_in_flight", "3"),
]


class Slurm:
    """A running one. ``folder``: everything of it."""

    def __init__(self, folder: Path) -> None:
        controller, node = free_ports(2)
        self.folder = folder
        host, user = socket.gethostname().partition(".")[0], getpass.getuser()
        for name in ("munge", "state", "spool", "jobs"):
            (folder / name).mkdir(mode=0o700)
        (folder / "munge/key").write_bytes(os.urandom(1024))
        (folder / "munge/key").chmod(0o600)
        conf = folder / "slurm.conf"
        conf.write_text(CONF.format(host=host, user=user, controller=controller, node=node, folder=folder))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))},
            "PATH": PATH,
            "SLURM_CONF": str(conf),
            "PYTHON": sys.executable,
            "TMPDIR": str(folder / "jobs"),
            "DEVICE": "cpu",
            "SMALL_MODEL": "demo-draft",
            "EVAL_MODEL": "demo-target",
        }
        self._daemons: list[subprocess.Popen[bytes]] = []
        files = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "seed", "pid", "log")]
        self._start("munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *files)
        self.until(lambda: (folder / "munge/socket").exists())
        self._start("slurmctld", "-D", "-i")
        self._start("slurmd", "-D")
        self.until(lambda: "idle" in self("sinfo", "--noheader", "--format=%T"))

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as log:
            daemon = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        self._daemons.append(daemon)

    def stop(self) -> None:
        """Ends all jobs, then the daemons, the controller last but munge."""
        self("scancel", "--me")
        self.until(lambda: not self("squeue", "--noheader"))
        for daemon in (self._daemons[2], self._daemons[1], self._daemons[0]):
            daemon.terminate()
            daemon.wait()

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits; the test's own time limit is the only one."""
        while not holds():
            for daemon in self._daemons:
                assert daemon.poll() is None, f"{daemon.args} ended"
            time.sleep(0.1)

    def __call__(self, *command: str) -> str:
        """What a Slurm command prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def submit(self, out: Path, shards: int, speed: float) -> dict[str, str]:
        """The numbers of the jobs, by what they do."""
        more = {"SHARDS": str(shards), "OUT": str(out), "EMULATE": f"--speed {speed}"}
        command = ["bash", str(ROOT / "scripts/slurm/submit.sh"), *RUN]
        done = subprocess.run(command, env=self.environment | more, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = (line.partition(": job ") for line in done.stdout.splitlines() if ": job " in line)
        return {what: number.partition(",")[0] for what, _, number in lines}

    def state(self, job: str) -> str:
        """Of a job, such as RUNNING; "" when Slurm has forgotten it."""
        return self("squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job).strip()

    def begun_again(self, job: str) -> bool:
        """Whether a job that was requeued runs, which Slurm would let it do after two minutes."""
        self("scontrol", "update", f"JobId={job}", "StartTime=now")
        return "Restarts=1" in self("scontrol", "show", "job", job) and self.state(job) in ("RUNNING", "COMPLETED")

    def why(self, job: str) -> str:
        """It waits."""
        return self("squeue", "--noheader", "--format=%r", "--jobs", job).strip()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    folder = tmp_path_factory.mktemp("slurm")
    running = Slurm(folder)
    try:
        yield running
    finally:
        running.stop()


def finished(out: Path) -> dict[str, int]:
    """The samples that ended by themselves, by file, and when they were written."""
    found = {}
    for path in out.glob("problem_*.json"):
        sample = json.loads(path.read_text())
        if sample["exit_status"] != "cancelled":
            found[path.name] = path.stat().st_mtime_ns
    return found


def process(words: str) -> int:
    """The number of the process whose command holds these words."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in path.read_text().replace("\0", " ") and path.read_text().split("\0")[1:2] == ["-m"]:
                return int(path.parent.name)
    raise AssertionError(words)


def test_shards_that_are_requeued_killed_and_cancelled_end_as_one_run(slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "run"
    jobs = slurm.submit(out, shards=3, speed=0.5)
    array = jobs["run"]
    slurm.until(lambda: len(finished(out)) >= 6)

    slurm("scontrol", "requeue", f"{array}_1")
    os.kill(process(f"--output_dir {out} --shard 2/3"), signal.SIGKILL)
    slurm("scancel", f"{array}_3")
    slurm.until(lambda: [slurm.state(f"{array}_{number}") for number in (2, 3)] == ["FAILED", "CANCELLED"])
    slurm.until(lambda: slurm.why(jobs["merge"]) == "DependencyNeverSatisfied")
    assert not (out / "summary.json").exists()
    slurm.until(lambda: slurm.begun_again(f"{array}_1"))
    slurm.until(lambda: slurm.state(f"{array}_1") == "COMPLETED")
    assert "samples are already in" in (tmp_path / f"run.slurm/shard-{array}-1.log").read_text()
    before = finished(out)
    assert 0 < len(before) < 32
    slurm("scancel", jobs["merge"])

    again = slurm.submit(out, shards=3, speed=100)
    slurm.until(lambda: slurm.state(again["merge"]) == "COMPLETED")
    assert before.items() <= finished(out).items()  # nothing twice
    assert [sample["problem_index"] for sample in samples(out)] == list(range(32))
    summary = read_summary(out)
    assert (summary["samples"], summary["owed"]) == (32, 0)
    assert "3 shards, 32 samples" in (tmp_path / f"run.slurm/merge-{again['merge']}-1.log").read_text()


def test_one_job_is_a_run_and_leaves_no_server_behind(slurm: Slurm, tmp_path: Path) -> None:
    out = tmp_path / "run"
    jobs = slurm.submit(out, shards=1, speed=0)
    assert "merge" not in jobs
    slurm.until(lambda: slurm.state(jobs["run"]) == "COMPLETED")
    assert read_summary(out)["samples"] == 32
    slurm.until(lambda: not (slurm.folder / f"jobs/atts-{jobs['run']}-0").exists())
