"""The batch script for SLURM, with a scontrol and an srun that only write down what they are asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "thawline.sbatch"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is absent")


def test_the_script_is_valid() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_every_node_has_a_process_of_ray_and_the_command_runs_beside_the_head(tmp_path: Path) -> None:
    asked = run(tmp_path, nodes=3)
    assert [line for line in asked if "hostname" in line] == ["n1 hostname --ip-address"]
    ray = sorted(line for line in asked if " ray start " in line)
    assert ray == [
        "n1 ray start --head --port=20042 --include-dashboard=false --num-cpus=8 --num-gpus=0 --block",
        "n2 ray start --address=10.0.0.1:20042 --num-cpus=8 --num-gpus=0 --block",
        "n3 ray start --address=10.0.0.1:20042 --num-cpus=8 --num-gpus=0 --block",
    ]
    assert "n1 thawline compare photos --out run --ray 10.0.0.1:20042" in asked


def test_the_exit_code_is_that_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(tmp_path, nodes=1, exit_code=2)
    assert failed.value.returncode == 2


def run(folder: Path, nodes: int, exit_code: int = 0) -> list[str]:
    """What srun was asked, in order: the node, and the command."""
    programs, log = folder / "bin", folder / "log"
    programs.mkdir()
    names = "\n".join(f"echo n{number}" for number in range(1, nodes + 1))
    fakes = {
        "scontrol": f'[ "$*" = "show hostnames n[1-{nodes}]" ] || exit 9\n{names}\n',
        "srun": f"""
node=
while [[ "$1" == --* ]]; do
    [[ "$1" == --nodelist=* ]] && node="${{1#--nodelist=}}"
    shift
done
echo "$node $*" >> {log}
[ "$1" = hostname ] && echo "10.0.0.${{node#n}} fe80::1"
[ "$1" = thawline ] && exit {exit_code}
exit 0
""",
    }
    for name, text in fakes.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}", encoding="utf-8")
        (programs / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": f"n[1-{nodes}]", "SLURM_CPUS_PER_TASK": "8"}
    own = {**os.environ, **slurm, "PATH": f"{programs}:{os.environ['PATH']}", "THAWLINE_HEAD_SECONDS": "0.2"}
    command = ["bash", str(SCRIPT), "compare", "photos", "--out", "run"]
    subprocess.run(command, env=own, check=True, capture_output=True, timeout=30)
    return log.read_text(encoding="utf-8").splitlines()
