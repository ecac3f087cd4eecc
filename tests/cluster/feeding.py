"""A client in a pod that asks rows of the example one after the other, reports what is true, and says what it saw.

An outcome that is refused with 503 is reported again, as a client that must not lose any would do.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.support import STORE_NAMESPACE, Cluster, Place

FEED = """
import http.client, json, sys, time
told = json.loads(sys.stdin.read())
connection = http.client.HTTPConnection(told["host"], 80, timeout=15)
def post(path, body):
    global connection
    for left in (1, 0):
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException) as error:
            connection = http.client.HTTPConnection(told["host"], 80, timeout=15)
            if not left:
                return 0, {"error": str(error)}
base, seen, failed, fates, receipts, waited = "/v2/models/" + told["name"], [], [], [], [], 0
end = time.monotonic() + told["limit"]
for row, truth in told["rows"]:
    inputs = [{"name": told["input"], "shape": [1, len(row)], "datatype": "FP32", "data": row}]
    status, answer = post(base + "/infer", {"inputs": inputs})
    if status != 200:
        failed.append([status, answer.get("error", "")])
        continue
    seen.append(answer["model_version"])
    receipt = (answer.get("parameters") or {}).get("receipt")
    if told["keeps"] and receipt is not None:
        receipts.append(receipt)
    if not told["reports"] or receipt is None:
        continue
    while True:
        status, answer = post(base + "/outcomes", {"receipt": receipt, "truth": truth})
        if status not in (0, 503) or not told["patient"] or time.monotonic() > end:
            break
        waited += 1
        time.sleep(0.5)
    fates.append([status, answer.get("error", "")])
    receipts.append(receipt)
print(json.dumps({"seen": seen, "failed": failed, "fates": fates, "receipts": receipts, "waited": waited}))
"""


@dataclass
class Fed:
    """What the client saw."""

    seen: list[str] = field(default_factory=list)
    """Revision of each answer."""
    failed: list[list[Any]] = field(default_factory=list)
    fates: list[list[Any]] = field(default_factory=list)
    """Status and error of each report."""
    receipts: list[str] = field(default_factory=list)
    waited: int = 0
    """Reports that were tried again."""

    @property
    def acknowledged(self) -> list[str]:
        """Ids of the predictions whose answer was acknowledged."""
        return [
            receipt.split(".")[-3]
            for receipt, (status, _) in zip(self.receipts, self.fates, strict=True)
            if status == 200
        ]


def feed(
    place: Place,
    digits: Any,
    rows: range,
    *,
    name: str = "digits",
    input_name: str = "image",
    reports: bool = True,
    keeps: bool = False,
    patient: bool = True,
) -> Fed:
    """Ask some rows of the unseen ones, report their truths or keep their receipts, and return what came of it."""
    size = len(digits.rows)
    asked = [[digits.rows[row % size], digits.truths[row % size]] for row in rows]
    host = f"{name}.{place.namespace}.svc"
    told = {
        "host": host,
        "name": name,
        "input": input_name,
        "rows": asked,
        "reports": reports,
        "keeps": keeps,
        "patient": patient,
        "limit": 90,
    }
    done = place.cluster.kubectl(
        "exec", "-i", "-n", STORE_NAMESPACE, "client", "--", "python3", "-c", FEED, input=json.dumps(told)
    )
    return Fed(**json.loads(done.stdout))


def operator_token(cluster: Cluster, system: str) -> str:
    """Return a token with which the ledger takes us for the operator."""
    made = cluster.kubectl("create", "token", "leadline", "-n", system, "--audience", "leadline-ledger")
    return made.stdout.strip()
