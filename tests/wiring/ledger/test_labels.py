"""Bringing labelled rows to the real ledger over HTTP: who may, what is said, and what runtimes get."""

import json

import msgspec
import pytest
from leadline_wire import ledger

from tests.wiring.ledger.parts import MODEL, OPERATOR, RUNTIME, here

PERSON = "jo@example.com"
RIGHTS = {(PERSON, verb, "modeldeployments/labels", "shop") for verb in ("create", "get")}


@pytest.fixture
async def running(tmp_path, api):
    async with here(tmp_path, api) as made:
        yield made


def lines(*rows):
    return b"\n".join(json.dumps(row).encode() for row in rows)


async def bring(running, *rows, query="?truth=label", token=PERSON, data=None):
    status, body, headers = await running.call(
        "POST", f"{MODEL}/labels{query}", token=token, data=lines(*rows) if data is None else data
    )
    return status, json.loads(body), headers


async def test_whom_rbac_allows_it_brings_rows_and_sees_how_far_they_are(running, api):
    api.allowed = RIGHTS
    status, told, _ = await bring(running, {"X": [1, 2], "label": 7}, {"label": 8, "X": [2, 2]})
    assert (status, told) == (200, {"accepted": 2, "duplicates": 0, "conflicts": [], "waiting": 2})
    asked = api.access_asked[0]
    assert asked["resourceAttributes"] | {"version": ""} == {
        "group": "leadline.dev",
        "version": "",
        "resource": "modeldeployments",
        "subresource": "labels",
        "verb": "create",
        "namespace": "shop",
        "name": "fraud",
    }
    status, body, _ = await running.call("GET", f"{MODEL}/labels", token=PERSON)
    assert (status, json.loads(body)) == (200, {"waiting": 2, "counted": []})
    status, body, _ = await running.call("GET", f"{MODEL}/labels/waiting?limit=1", token=RUNTIME)
    (row,) = msgspec.json.decode(body, type=ledger.LabelsWaiting).rows
    assert status == 200
    assert row.truth in (7, 8)
    log = await running.log()
    assert log.labels == {"shop/fraud": 2}
    assert log.entries[0].data == {"rows": "2", "user": PERSON}


async def test_whom_rbac_does_not_allow_it_is_told_which_right_is_missing(running, api):
    for token in (PERSON, RUNTIME, OPERATOR):
        status, told, _ = await bring(running, {"X": 1, "label": 7}, token=token)
        assert status == 403
        assert (
            f"{token} may not create modeldeployments/labels of group leadline.dev in namespace shop" in told["error"]
        )
    api.allowed = {(PERSON, "create", "modeldeployments/labels", "shop")}
    status, body, _ = await running.call("GET", f"{MODEL}/labels", token=PERSON)
    assert (status, b"may not get" in body) == (403, True)
    status, _, _ = await running.call("GET", f"{MODEL}/labels/waiting", token=PERSON)
    assert status == 403
    assert (await running.store.labels("shop/fraud")).waiting == 0


async def test_api_server_that_is_away_is_trouble_and_a_right_that_is_taken_back_is_gone_at_once(running, api):
    api.allowed = set(RIGHTS)
    assert (await bring(running, {"X": 1, "label": 7}))[0] == 200
    api.allowed = set()
    assert (await bring(running, {"X": 2, "label": 7}))[0] == 403
    api.status = 500
    status, told, headers = await bring(running, {"X": 3, "label": 7})
    assert (status, headers["retry-after"]) == (503, "1")
    assert "cannot be asked what jo@example.com may do" in told["error"]


@pytest.mark.parametrize(
    ("query", "data", "status", "said"),
    [
        ("", b"{}", 400, "truth: expected the name of the column"),
        ("?truth=label", b"", 400, "expected at least one row"),
        ("?truth=label", b'{"X": 1, "label": 1}\n{"X": 1', 400, "row 2: "),
        ("?truth=label", b'{"X": 1}', 400, 'row 1: column "label" not found'),
        ("?truth=label", b"\xff", 400, "row 1: "),
        ("?truth=label", b'{"X": 1, "label": 1}\n' * 4_097, 413, "more than 4096 rows"),
        ("?truth=label", b" " * (ledger.INTAKE_BYTES_MAX + 1), 413, "body is larger"),
    ],
)
async def test_what_is_no_batch_is_told_and_nothing_is_kept(running, api, query, data, status, said):  # noqa: PLR0917
    api.allowed = RIGHTS
    told = await bring(running, query=query, data=data)
    assert (told[0], said in told[1]["error"]) == (status, True), told
    assert (await running.store.labels("shop/fraud")).waiting == 0
