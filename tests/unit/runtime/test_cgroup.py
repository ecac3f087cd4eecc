"""The limits of CPU and memory on hosts of all three kinds."""

import math
import os

import pytest
from leadline_runtime import cgroup

UNIFIED = "30 1 0:26 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
LEGACY = (
    "31 1 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
HYBRID = LEGACY + "33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


def host(root, listing, mounts, files):
    for name, text in {"proc/self/cgroup": listing, "proc/self/mountinfo": mounts, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


CASES = {
    "unified": ("0::/a/b\n", UNIFIED.format(root="/"), {"sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
    "unified, of the parent": (
        "0::/a/b\n",
        UNIFIED.format(root="/"),
        {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"},
        0.5,
    ),
    "unified, none": ("0::/a\n", UNIFIED.format(root="/"), {"sys/fs/cgroup/a/cpu.max": "max 100000\n"}, math.inf),
    "unified, own namespace": ("0::/\n", UNIFIED.format(root="/"), {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
    "legacy": (
        "4:memory:/m\n3:cpu,cpuacct:/pod/c\n",
        LEGACY.format(root="/"),
        {
            "sys/fs/cgroup/cpu,cpuacct/pod/c/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/pod/c/cpu.cfs_period_us": "100000\n",
        },
        3.0,
    ),
    "legacy, the container's part is mounted": (
        "3:cpu,cpuacct:/pod/c\n",
        LEGACY.format(root="/pod/c"),
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        1.0,
    ),
    "legacy, none": (
        "3:cpu,cpuacct:/\n",
        LEGACY.format(root="/"),
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        math.inf,
    ),
    "hybrid: the unified hierarchy is there, and has no CPU controller": (
        "3:cpu,cpuacct:/c\n0::/c\n",
        HYBRID.format(root="/"),
        {
            "sys/fs/cgroup/unified/cgroup.controllers": "",
            "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us": "100000\n",
        },
        1.5,
    ),
    "rubbish": (
        "0::/../../x\nwhat\n",
        UNIFIED.format(root="/") + "what\n",
        {"sys/fs/cgroup/cpu.max": "a b\n"},
        math.inf,
    ),
    "nothing": ("", "", {}, math.inf),
}


@pytest.mark.parametrize("case", CASES)
def test_the_quota_is_found_on(case, tmp_path):
    listing, mounts, files, expected = CASES[case]
    assert cgroup.quota_cpus(host(tmp_path, listing, mounts, files)) == expected


MEMORY = {
    "unified": ("0::/a/b\n", UNIFIED.format(root="/"), {"sys/fs/cgroup/a/memory.max": "536870912\n"}, 512 << 20),
    "unified, none": ("0::/\n", UNIFIED.format(root="/"), {"sys/fs/cgroup/memory.max": "max\n"}, math.inf),
    "hybrid, memory the old way": (
        "4:memory:/m\n3:cpu,cpuacct:/c\n0::/m\n",
        HYBRID.format(root="/"),
        {"sys/fs/cgroup/memory/m/memory.limit_in_bytes": "268435456\n"},
        256 << 20,
    ),
    "legacy, none": (
        "4:memory:/\n",
        LEGACY.format(root="/"),
        {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
        math.inf,
    ),
    "nothing": ("", "", {}, math.inf),
}


@pytest.mark.parametrize("case", MEMORY)
def test_the_memory_limit_is_found_on(case, tmp_path):
    listing, mounts, files, expected = MEMORY[case]
    assert cgroup.memory_bytes(host(tmp_path, listing, mounts, files)) == expected


def test_cpus_are_at_least_one_and_never_more_than_the_quota(tmp_path):
    root = host(tmp_path, "0::/\n", UNIFIED.format(root="/"), {"sys/fs/cgroup/cpu.max": "50000 100000\n"})
    assert cgroup.cpus(root) == 1
    assert cgroup.is_limited(root)
    (root / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    assert cgroup.cpus(root) == len(os.sched_getaffinity(0))
    assert cgroup.is_limited(root) is (len(os.sched_getaffinity(0)) < os.cpu_count())


def test_what_this_machine_says_can_be_read():
    assert cgroup.quota_cpus() > 0
    assert cgroup.memory_bytes() > 0
