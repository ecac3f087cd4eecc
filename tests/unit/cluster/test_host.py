"""What a cluster leaves on the host is found and taken away, and nothing of anybody else's."""

from localkind import mounts, network

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-X - [0:0]
:DOCKER - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A KUBE-SERVICES -d 198.19.0.1/32 -j KUBE-SVC-X
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -m comment --comment "not -j KUBE-SERVICES at all" -j ACCEPT
COMMIT
"""


def test_removal_takes_jumps_and_chains_of_kube_proxy_and_no_others():
    assert network.removal_script(SAVED) == (
        "*nat\n"
        ":KUBE-SERVICES - [0:0]\n"
        ":KUBE-SVC-X - [0:0]\n"
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-X KUBE-SERVICES\n"
        "-X KUBE-SVC-X\n"
        "COMMIT\n"
    )


def test_removal_is_empty_where_kube_proxy_left_nothing():
    assert network.removal_script("*filter\n:INPUT DROP [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n") == ""


def test_mounts_are_found_below_a_folder_newest_first(tmp_path):
    mountinfo = "\n".join(
        f"{number} 1 0:1 / {point} rw - tmpfs tmpfs rw"
        for number, point in enumerate(["/", "/run", "/c/run", "/c/run/kubelet/a\\040b", "/c/running"])
    )
    found = mounts.mounted_below(mountinfo, mounts.Path("/c/run"))
    assert [str(point) for point in found] == ["/c/run/kubelet/a b", "/c/run"]
