"""Which process I am, from variables as torchrun and a real Slurm set them."""

from __future__ import annotations

import pytest

from tvrkit.distributed.place import Place, first_host, place
from tvrkit.errors import ConfigError

# Of task 5 of `srun` in a job on two nodes; sbatch's own shell has the first five and no step.
SHELL = {
    "SLURM_JOB_ID": "81",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
TASK = SHELL | {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu01", "MASTER_PORT": "29500"}


def test_places():
    assert place({}) == place(SHELL) == Place()
    assert place(TORCHRUN) == Place(3, 4, 1, "env://", "torchrun")
    # A step on one node of its own launcher's workers: they are what RANK says.
    assert place(TASK | TORCHRUN) == place(TORCHRUN)
    assert place(TASK) == Place(5, 8, 1, f"tcp://gpu07:{15_000 + 31 * 81 + 2}", "slurm")
    assert place(TASK | {"SLURM_STEP_NUM_NODES": "1"}).meeting.startswith("tcp://127.0.0.1:")
    given = place(TASK | {"MASTER_ADDR": "ib-gpu07", "MASTER_PORT": "4000"})
    assert given.meeting == "tcp://ib-gpu07:4000"


def test_every_port_is_one_that_a_user_may_take():
    ports = {int(place(TASK | {"SLURM_JOB_ID": str(job)}).meeting.rpartition(":")[2]) for job in range(1, 10**7, 9973)}
    assert min(ports) >= 15_000 and max(ports) < 30_000 and len(ports) > 900


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("vm", "vm"),
        ("gpu[03-05,9],login", "gpu03"),
        ("login,gpu[03-05]", "login"),
        ("gpu-a[1,3]", "gpu-a1"),
        ("rack[2-4]n[01-16]", "rack2n01"),
        ("gpu[7].cluster.example", "gpu7.cluster.example"),
    ],
)
def test_first_host(nodes, first):
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    "variables",
    [
        TORCHRUN | {"RANK": "4"},
        TORCHRUN | {"RANK": "one"},
        {name: value for name, value in TORCHRUN.items() if name != "MASTER_PORT"},
        {name: value for name, value in TASK.items() if name != "SLURM_JOB_ID"},
    ],
)
def test_variables_that_are_not_whole(variables):
    with pytest.raises(ConfigError, match="start it with torchrun or srun"):
        place(variables)
