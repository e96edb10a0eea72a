"""Free memory as systems and containers tell it."""

import sys

import pytest

from birefnet.device import free_memory as machine
from birefnet.device.free_memory import free_memory, parse_vm_stat, read_linux

GIB = 1 << 30


@pytest.fixture
def system(tmp_path):
    """A root with 8 GiB available; call it with more files."""

    def write(**files):
        for name, text in {"proc/meminfo": f"MemTotal: {16 << 20} kB\nMemAvailable: {8 << 20} kB\n",
                           **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text))
        return tmp_path

    return write


def test_without_a_limit_it_is_what_the_kernel_calls_available(system):
    root = system(**{"proc/self/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.max": "max\n"})
    assert read_linux(root) == 8 * GIB


def test_a_container_of_today(system):
    root = system(**{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": 4 * GIB,
                     "sys/fs/cgroup/memory.current": 3 * GIB,
                     "sys/fs/cgroup/memory.stat": f"anon {GIB}\ninactive_file {GIB}\n"})
    assert read_linux(root) == 2 * GIB


def test_the_tightest_group_counts_not_only_the_innermost(system):
    root = system(**{"proc/self/cgroup": "0::/outer/inner\n", "sys/fs/cgroup/outer/memory.max": 2 * GIB,
                     "sys/fs/cgroup/outer/memory.current": GIB, "sys/fs/cgroup/outer/memory.stat": "",
                     "sys/fs/cgroup/outer/inner/memory.max": 6 * GIB,
                     "sys/fs/cgroup/outer/inner/memory.current": 0,
                     "sys/fs/cgroup/outer/inner/memory.stat": ""})
    assert read_linux(root) == GIB


def test_a_container_of_old(system):
    top = "sys/fs/cgroup/memory"
    root = system(**{"proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/abc\n",
                     f"{top}/memory.limit_in_bytes": 2 * GIB,
                     f"{top}/memory.usage_in_bytes": GIB, f"{top}/memory.stat": "total_inactive_file "
                                                                                f"{GIB // 2}\n"})
    assert read_linux(root) == 3 * GIB // 2


def test_a_group_over_its_limit_leaves_nothing(system):
    root = system(**{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": GIB,
                     "sys/fs/cgroup/memory.current": 2 * GIB, "sys/fs/cgroup/memory.stat": ""})
    assert read_linux(root) == 0


def test_a_mac():
    told = ("Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:      1000.\nPages "
            "active:   5000.\nPages inactive:  2000.\nPages speculative: 24.\n\"Translation faults\":  "
            "123.\n")
    assert parse_vm_stat(told) == 16384 * 3024


def test_a_system_that_does_not_tell_gives_none(monkeypatch):
    def unreadable(root):
        raise OSError("no /proc")

    monkeypatch.setattr(machine, "read_linux", unreadable)
    monkeypatch.setattr(sys, "platform", "linux")
    assert free_memory() is None
    monkeypatch.setattr(sys, "platform", "plan9")
    assert free_memory() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's own figure")
def test_a_device_of_an_unknown_kind_does_not_tell():
    assert free_memory("xpu") is None


def test_this_machine():
    assert 1 << 20 < free_memory("cpu") < 1 << 50
