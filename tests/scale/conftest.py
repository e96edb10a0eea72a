"""Two machines in one (Ray's own cluster utility) and an object store: a server of S3's protocol on
loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from birefnet.__main__ import main

sys.path.append(str(Path(__file__).parents[1] / "host"))  # host


class Result(NamedTuple):
    status: int
    messages: list[str]  # lines on stderr


@pytest.fixture
def cut(capsys):
    """A function that runs `cut ... ` with the included checkpoint at 64 × 64 and returns its status and
    messages."""
    def run(*arguments: object, size: str = "64") -> Result:
        status = main(["cut", *map(str, arguments), "--model", "birefnet-nano", "--size", size])
        return Result(status, [line for line in capsys.readouterr().err.splitlines() if line.strip()])

    return run


@pytest.fixture
def photos(tmp_path):
    """A function (folder, count, size=(60, 40)) that fills a folder below tmp_path with pictures of different
    sizes."""
    def make(name: str, count: int, size: tuple[int, int] = (60, 40)) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            blobs = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
            sides = (size[0] + number % 5, size[1] + number % 3)
            Image.fromarray(blobs).resize(sides, Image.Resampling.BICUBIC).save(folder / f"{number:04}.jpg")
        return folder

    return make


@pytest.fixture(scope="module")
def own_environment():
    """What is set here, and what Ray sets, is gone for the tests after these: its threads would change their
    numbers."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def store(own_environment):
    """The environment's S3 is moto's server, a process of its own, with an empty bucket: its URL and file
    system."""
    import s3fs
    from host import free_port

    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ.update(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="me",
                      AWS_SECRET_ACCESS_KEY="mine",
                      AWS_DEFAULT_REGION="us-east-1")
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        files = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
        files.mkdir("shop")
        yield files
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def cluster(store):
    """A Ray cluster of two machines of two cores, to which this process is connected; it knows the object
    store."""
    # On a machine that is busy with more, threads that wait for each other and processes that let all others
    # go first (Ray's workers do) are slow beyond measure.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal", OMP_NUM_THREADS="1",
                      RAY_worker_niceness="0")
    import ray
    from ray.cluster_utils import Cluster

    # A machine that a test kills is found dead in seconds, not in the usual half minute. Idle processes are
    # kept for the next test, also more than one per core: a new one spends seconds importing PyTorch.
    quick = {"health_check_period_ms": 500, "health_check_timeout_ms": 500,
             "health_check_failure_threshold": 4,
             "health_check_initial_delay_ms": 0, "num_workers_soft_limit": 6}
    machines = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 2, "object_store_memory": 200 << 20, "include_dashboard": False, "_system_config": quick})
    machines.add_node(num_cpus=2, object_store_memory=200 << 20)
    ray.init(address=machines.address, log_to_driver=False, logging_level="ERROR")
    yield machines
    ray.shutdown()
    machines.shutdown()
