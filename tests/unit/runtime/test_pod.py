"""What a pod says of itself, whatever happens to its worker."""

from leadline_runtime import messages
from leadline_runtime.supervisor.pod import Pod
from leadline_wire.exchange import Forward, Trouble

TARGET = Forward(revision="digits-new", host="10.0.0.1", port=80)


def pod(**more):
    return Pod(uid="uid-1", revision="digits-1", **more)


def test_standby_counts_only_once_the_worker_has_confirmed_it():
    demoted = pod()
    assert demoted.take_role("standby", TARGET)
    assert not demoted.forwarding
    demoted.role_serial_in_force = demoted.role_serial
    assert demoted.report("n").forwarding
    demoted.worker_ended()
    assert not demoted.forwarding, "a new worker has not confirmed anything"


def test_another_target_must_be_confirmed_anew_and_the_same_one_need_not():
    demoted = pod()
    demoted.take_role("standby", TARGET)
    demoted.role_serial_in_force = demoted.role_serial
    assert not demoted.take_role("standby", TARGET)
    assert demoted.forwarding
    assert demoted.take_role("standby", None)
    assert not demoted.forwarding


def test_candidate_and_serving_are_the_same_to_the_worker_and_forward_nowhere():
    changed = pod()
    assert not changed.take_role("candidate", TARGET)
    assert changed.role_message() == messages.SetRole(serial=0, standby=False, forward=None)


def test_counts_add_up_over_workers():
    counted = pod()
    counted.current = messages.Counts(requests=3, failures=1, buckets=[1, 2], refusals={400: 1}, queue_rows=5)
    counted.worker_ended()
    counted.current = messages.Counts(requests=2, buckets=[1, 1], refusals={400: 1, 429: 2}, queue_rows=1)
    counts = counted.counts()
    assert (counts.requests, counts.failures, counts.buckets) == (5, 1, [2, 3])
    assert counts.refusals == {400: 2, 429: 2}
    assert counts.queue_rows == 1, "what waits now is of the worker that runs"


def test_the_readiness_probe_is_told_what_is_missing():
    assert pod(phase="Ready").unready() == ""
    assert pod(bytes_done=5, bytes_total=10).unready() == "Fetching: 5 of 10 bytes"
    assert pod(phase="Failed", trouble=Trouble("ModelNotFound", "gone", "surroundings")).unready() == (
        "Failed: ModelNotFound: gone"
    )
