"""What a pod says of itself, whatever happens to its worker."""

import msgspec
from leadline_runtime import messages
from leadline_runtime.supervisor.pod import Pod, Worker
from leadline_wire.exchange import Forward, Split, Trouble

TARGET = Forward(revision="digits-new", host="10.0.0.1", port=80)


def pod(**more):
    return Pod(uid="uid-1", revision="digits-1", **more)


def confirmed(demoted, *serials):
    demoted.workers = [Worker(pid=1 + place, accepts=True, serial=serial) for place, serial in enumerate(serials)]


def test_standby_counts_only_once_all_workers_have_confirmed_it():
    demoted = pod()
    assert demoted.take_role("standby", TARGET)
    assert not demoted.forwarding, "no worker has"
    confirmed(demoted, demoted.role_serial, demoted.role_serial - 1)
    assert not demoted.forwarding, "one of two has"
    confirmed(demoted, demoted.role_serial, demoted.role_serial)
    assert demoted.report("n").forwarding


def test_a_worker_that_is_gone_answers_nobody_and_need_not_confirm():
    demoted = pod()
    demoted.take_role("standby", TARGET)
    confirmed(demoted, demoted.role_serial, demoted.role_serial)
    demoted.worker_ended(demoted.workers[0])
    assert demoted.forwarding
    demoted.worker_ended(demoted.workers[1])
    assert not demoted.forwarding, "a new worker has not confirmed anything"


def test_another_target_must_be_confirmed_anew_and_the_same_one_need_not():
    demoted = pod()
    demoted.take_role("standby", TARGET)
    confirmed(demoted, demoted.role_serial)
    assert not demoted.take_role("standby", TARGET)
    assert demoted.forwarding
    assert demoted.take_role("standby", None)
    assert not demoted.forwarding


def test_candidate_and_serving_are_the_same_to_the_worker_and_forward_nowhere():
    changed = pod()
    assert not changed.take_role("candidate", TARGET)
    assert changed.role_message() == messages.SetRole(serial=0, standby=False, forward=None, splits=[])


def test_shares_of_a_canary_are_in_force_once_confirmed_and_only_while_serving():
    serving = pod()
    shares = [Split("m-2", "10.0.0.2", 80, 50_000)]
    assert serving.take_role("serving", None, shares)
    assert serving.split_share == 0
    confirmed(serving, serving.role_serial)
    assert serving.split_share == 50_000
    assert not serving.take_role("serving", None, shares)
    assert serving.take_role("serving", None, [msgspec.structs.replace(shares[0], share=100_000)])
    assert serving.take_role("standby", TARGET, shares)
    confirmed(serving, serving.role_serial)
    assert (serving.split_share, serving.role_message().splits) == (0, [])


def test_counts_add_up_over_workers_and_their_lives():
    trouble = Trouble("LedgerUnreachable", "gone", "surroundings")
    counted = pod(workers=[Worker(pid=1), Worker(pid=2)])
    first, second = counted.workers
    first.counts = messages.Counts(
        requests=3, failures=1, buckets=[1, 2], refusals={400: 1}, queue_rows=5, ledger_trouble=trouble
    )
    second.counts = messages.Counts(requests=10, buckets=[10, 0], outcomes={"Accepted": 1}, queue_rows=2, connections=4)
    assert counted.counts().ledger_trouble == trouble
    counted.worker_ended(first)
    first.counts = messages.Counts(requests=2, buckets=[1, 1], refusals={400: 1, 429: 2}, queue_rows=1)
    counts = counted.counts()
    assert (counts.requests, counts.failures, counts.buckets) == (15, 1, [12, 3])
    assert (counts.refusals, counts.outcomes) == ({400: 2, 429: 2}, {"Accepted": 1})
    assert (counts.queue_rows, counts.connections) == (3, 4), "what waits now is of the workers that run"
    assert counts.ledger_trouble is None


def test_a_report_counts_what_objectives_are_judged_by():
    counted = pod(workers=[Worker(pid=1)], started_ms=17)
    latency = [0] * (len(messages.BUCKETS) + 1)
    latency[2] = 7
    counted.workers[0].counts = messages.Counts(
        requests=7, failures=2, late=3, full=4, refusals={429: 9, 503: 3}, buckets=latency, seconds=0.014
    )
    service = counted.report("n").service
    assert (service.started_ms, service.requests, service.failures, service.refused) == (17, 7, 2, 7)
    assert (service.latency, service.seconds) == (latency, 0.014)
    assert len(service.bounds) + 1 == len(service.latency)


def test_the_readiness_probe_is_told_what_is_missing():
    assert pod(phase="Ready").unready() == ""
    assert pod(bytes_done=5, bytes_total=10).unready() == "Fetching: 5 of 10 bytes"
    assert pod(phase="Failed", trouble=Trouble("ModelNotFound", "gone", "surroundings")).unready() == (
        "Failed: ModelNotFound: gone"
    )
