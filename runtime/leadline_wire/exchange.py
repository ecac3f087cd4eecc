"""The exchange: the operator's call to one pod, `POST /exchange` on the admin port.

The request says who the operator takes the pod for and what it should be (role, forward target, digest, test set);
the report says what the pod is. Both are JSON, each with an HMAC-SHA256 in the header `leadline-mac` (see `seal`).
A pod refuses an epoch older than the newest it has seen, so a stale operator changes nothing.

Fields are only ever added, with defaults: operator and runtime of neighbouring versions talk to each other.
"""

import hashlib
import hmac
from typing import Final, Literal

import msgspec

PATH: Final = "/exchange"
MAC_HEADER: Final = "leadline-mac"
REFUSED_STATUS: Final = 409
"""HTTP status of a pod that refuses: the body is a `Refusal`, sealed as a report is."""
BODY_LIMIT_BYTES: Final = 1 << 20
CELLS_MAX: Final = 400
"""Pairs of true and predicted class in a report of a test set: all pairs of 20 classes."""
CLASS_CHARACTERS_MAX: Final = 64
"""Longer names of classes are cut in a report."""
FORWARDED_HEADER: Final = "leadline-forwarded"
"""Between runtimes: a request that a demoted pod passes on to the own port; its answer is what a client gets."""
COPY_HEADER: Final = "leadline-copy"
"""Between runtimes: a copy of a request that another revision answers; only the prediction comes back, as words."""

LATENCY_BOUNDS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of `ServiceReport.latency`; one more bucket holds the rest. Only ever added to."""

LEDGER_SCHEME: Final = "ledger://blobs/"
"""Of a test set's URI: a blob of the pod's namespace in the ledger, by its digest."""

Role = Literal["candidate", "serving", "standby"]
"""candidate: verified dark. serving: answers on both ports. standby: demoted or kept warm; the public port forwards."""

Phase = Literal["Waiting", "Fetching", "Loading", "Ready", "Failed", "Draining"]
"""Waiting: has bytes, but no digest it may trust yet (needs an exchange). Failed: see `trouble`; may be retried."""

Signature = Literal["", "Verified", "Vouched"]
"""Of the model, where `spec.model.signature` asks for one. Verified: by its key. Vouched: the bytes have a digest that was
learned from a pod that had verified them. Empty: not checked yet, not asked for, or the runtime is too old to check."""

Blame = Literal["model", "surroundings"]
"""model: a finding about the bytes or answers (rejects the revision). surroundings: trouble around it (retried)."""


class Forward(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """Where a standby pod sends what still arrives on its public port."""

    revision: str
    host: str
    """IPv4 or IPv6 address (a Service's cluster IP), so that no DNS is needed."""
    port: int


class TestSetRequest(msgspec.Struct, frozen=True):
    """A test set that the pod should have answered, and how often."""

    uri: str
    truth: str
    """Column that holds the true answer."""
    run: str
    """Opaque id of this run: a pod that already reports it does not run again."""
    digest: str = ""
    """`sha256:<hex>` of the file; empty: any bytes, reported back."""
    output: str = ""
    """Model output that holds the predicted class; empty: from the model's metadata, else the only label-like output."""
    passes: int = 1
    """2 at admission: which answers differ between two passes shows nondeterminism."""
    task: Literal["", "classification", "regression"] = ""
    """What is measured: right and wrong (empty: the same), or errors. A regression is never measured unasked, for an
    operator that knows right and wrong only would take its answers for wrong ones."""
    pace_seconds: float = 0.0
    """How long the run may take while clients are served: the longer, the less they notice of it. 0: some seconds."""


class CaptureSettings(msgspec.Struct, frozen=True):
    """Whose inputs are captured, and for how long the ledger keeps them (`spec.outcomes.capture`)."""

    share: int = 100_000
    """Share of the predictions with a receipt, in millionths."""
    drop: list[str] = []
    """Inputs that never leave the pod."""
    keep_ms: int = 30 * 86_400_000
    max_bytes: int = 1 << 30
    """Of all files of the ModelDeployment; beyond it the oldest go."""
    gather_ms: int = 60_000
    """How long rows gather before they are brought, where there is no whole chunk of them earlier."""


class OutcomeSettings(msgspec.Struct, frozen=True):
    """How predictions get receipts, and what becomes of their answers (`spec.outcomes`)."""

    ledger: str = ""
    """URL of the ledger; empty: outcomes are not taken."""
    share: int = 1_000_000
    """Share of the answers that get a receipt, in millionths."""
    key_by: Literal["receipt", "id"] = "receipt"
    maturity_ms: int = 0
    max_age_ms: int = 30 * 86_400_000
    entity: str = ""
    """Request parameter that names the entity; empty: none."""
    rotation: int = 0
    """Which receipt key signs now (`receipts.key_of`); those before it are still believed."""
    output: str = ""
    """Model output that holds the prediction; empty: from the model's metadata, else the only label-like output."""
    positive: str = ""
    """Class whose score goes with each prediction; empty: none does."""
    scores: str = ""
    """Model output that holds it; empty: the only one that can be meant."""
    sources: Literal["", "Optional", "Required"] = ""
    """Whether who reports says who it is, by a token; empty: nobody is asked, and a token is not looked at."""
    per_hour: int = 0
    """New outcomes that are taken of one source in an hour; 0: any number."""
    capture: CaptureSettings | None = None
    """None: no inputs are captured."""


class Copy(msgspec.Struct, frozen=True):
    """Where a serving pod sends copies of the requests that it answers; only to a port that never forwards."""

    revision: str
    host: str
    port: int
    share: int = 1_000_000
    """Share of the requests that is copied, in millionths."""


class Split(msgspec.Struct, frozen=True):
    """A share of the requests to a serving pod's public port that another revision answers in its place (a canary)."""

    revision: str
    host: str
    port: int
    """Of a port that never forwards."""
    share: int
    """Of the requests for predictions, in millionths."""


class LabelsRequest(msgspec.Struct, frozen=True):
    """Labelled rows wait in the ledger, and who answers them beside the pod's own model."""

    other: Copy | None = None
    """The other revision, on a port that never forwards; None: there is none to be compared with."""


class ExchangeRequest(msgspec.Struct, frozen=True):
    """What the operator says to one pod."""

    nonce: str
    pod_uid: str
    revision: str
    epoch: int
    role: Role
    forward: Forward | None = None
    lease_seconds: float = 600.0
    """Role and forward target hold this long without renewal; after that the pod answers with its own model again."""
    digest: str = ""
    """Digest that the model's bytes must have; empty: not learned yet."""
    test_set: TestSetRequest | None = None
    outcomes: OutcomeSettings | None = None
    """None: predictions get no receipts."""
    copies: list[Copy] = []
    """To whom requests are copied while this role holds; renewed with it."""
    splits: list[Split] = []
    """Who answers a share of the requests while the role serving holds; renewed with it."""
    labels: LabelsRequest | None = None
    """This pod should answer the labelled rows that wait in the ledger, while the role serving holds; None: it should not."""


class Trouble(msgspec.Struct, frozen=True):
    """Why a pod or its test set is not where it should be."""

    reason: str
    """A stable UpperCamelCase reason, e.g. `ModelNotFound`."""
    message: str
    """What, where, and what was expected; no secrets; at most 1,024 characters."""
    blame: Blame


class TensorInfo(msgspec.Struct, frozen=True):
    """Name, OIP datatype and shape (-1: any) of a model's input or output."""

    name: str
    datatype: str
    shape: list[int]


class ModelInfo(msgspec.Struct, frozen=True):
    """What the runtime learned from the loaded model."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    task: str = ""
    """From the model's metadata: `classification`, `regression` or empty."""
    prediction: str = ""
    """Output taken as the prediction."""
    classes: int = 0
    providers: list[str] = []
    """onnxruntime's execution providers that run it; empty: an older runtime does not say."""


class ClassCount(msgspec.Struct, frozen=True):
    """How many rows of one class were answered with one class."""

    truth: str
    predicted: str | None
    """None: no usable answer."""
    rows: int


class TestSetReport(msgspec.Struct, frozen=True):
    """The newest run of a test set on this pod."""

    run: str
    state: Literal["Fetching", "Running", "Done", "Failed"]
    digest: str = ""
    rows: int = 0
    right: bytes = b""
    """Bitmap, row 0 in the highest bit of byte 0 (numpy.packbits): 1 where the answer of the first pass was right."""
    changed: int = 0
    """Rows whose answer differed between passes of this run: they are not deterministic. 0 where `passes` is 1."""
    invalid: int = 0
    """Rows with no usable answer (NaN, failed run); counted as wrong."""
    answers: str = ""
    """`sha256:<hex>` of the first pass's answers: equal digests mean equal answers. Values go in with five digits, so
    that rounding seldom makes another digest; where it does, the answers are still no new data."""
    trouble: Trouble | None = None
    task: Literal["", "classification", "regression"] = ""
    """What was measured; empty: not done, or by a runtime that knew classification only."""
    passes: int = 1
    unsteady: bytes = b""
    """Bitmap like `right`, 1 where an answer differed between passes; empty: none did."""
    confusion: list[ClassCount] = []
    """True against predicted class over the first pass, most frequent pairs first; at most `CELLS_MAX`."""
    confusion_rest: int = 0
    """Rows of all pairs that are not in `confusion`."""
    absolute_error: float = 0.0
    """Of a regression: sum over the rows with a usable answer, `rows - invalid` of them."""
    squared_error: float = 0.0


class OutcomesReport(msgspec.Struct, frozen=True):
    """What became of receipts, outcomes and copies on this pod since its start."""

    receipts: int = 0
    accepted: int = 0
    refused: int = 0
    copies: int = 0
    """Copies that were answered, usably or not."""
    dropped: int = 0
    """Copies that were not sent, for the target or the ledger was behind; never a request of a client."""
    trouble: Trouble | None = None
    """Why the ledger cannot be reached, if it cannot."""
    predicted: dict[str, int] = {}
    """A sample of the predictions with a receipt, by the word of their class; classes beyond the first 64 are missing."""
    reported: dict[str, int] = {}
    """Predictions of this revision whose outcome came for the first time, by the word of their class; not those that were
    asked for (`Outcome.wanted`)."""


class ServiceReport(msgspec.Struct, frozen=True):
    """How this pod's own model has answered since the supervisor's start: what `spec.objectives` is judged by.

    Counters, which begin anew where `started_ms` is another: a container may start again within its pod.
    """

    started_ms: int = 0
    """When the supervisor started, by its own clock; only to tell one start from another."""
    requests: int = 0
    """Requests that the model was asked to answer, those that failed included; test sets and copies are not."""
    failures: int = 0
    """Of these, answered 5xx because of the model."""
    refused: int = 0
    """Requests that were turned away because too many waited, or waited too long (429, 503); not in `requests`."""
    seconds: float = 0.0
    """Sum of the times from a request's arrival to its answer."""
    bounds: list[float] = []
    """Upper bounds of the buckets in seconds, each included; the last bucket has none."""
    latency: list[int] = []
    """Requests by bucket, not cumulative; one more than bounds."""


class ExchangeReport(msgspec.Struct, frozen=True):
    """What a pod says of itself."""

    nonce: str
    pod_uid: str
    revision: str
    epoch: int
    role: Role
    phase: Phase
    version: str = ""
    """Version of the runtime."""
    forwarding: bool = False
    """The role standby is in force: no answer of this pod's model leaves the public port any more."""
    bytes_done: int = 0
    bytes_total: int = 0
    """0: not known."""
    digest: str = ""
    """Digest of the model's bytes as fetched; empty: not fetched yet."""
    signature: Signature = ""
    resolved: str = ""
    """What the URI's name stood for when it was fetched, where it may move: a manifest's digest, a commit, a version."""
    model: ModelInfo | None = None
    test_set: TestSetReport | None = None
    trouble: Trouble | None = None
    uri_trouble: Trouble | None = None
    """Why the model's bytes came from the ledger and not from their URI; None: they came from there. The pod is well."""
    requests: int = 0
    """Requests answered with this pod's own model since its start, test sets not counted."""
    failures: int = 0
    """Of these, those answered 5xx because of the model."""
    forwarded: int = 0
    outcomes: OutcomesReport | None = None
    service: ServiceReport | None = None
    """None: an older runtime, which does not count this."""
    split_share: int = 0
    """Of the requests, in millionths, that others are in force to answer."""
    split: int = 0
    """Requests that others answered so."""
    unsplit: int = 0
    """Requests that were to be, and were answered with the own model, for the other one could not."""


class Refusal(msgspec.Struct, frozen=True):
    """A pod's answer to a request that it does not act on."""

    nonce: str
    reason: Literal["OldEpoch", "OtherPod", "OtherRevision"]
    epoch: int
    """Newest epoch that the pod has seen."""
    pod_uid: str
    revision: str


def seal(key: bytes, direction: Literal["request", "report"], nonce: str, body: bytes) -> str:
    """Return the hexadecimal HMAC-SHA256 of one message.

    Direction and nonce go in, so that a report can be neither reflected as a request nor replayed for another one.
    """
    return hmac.new(key, b"%b\0%b\0%b" % (direction.encode(), nonce.encode(), body), hashlib.sha256).hexdigest()


def is_sealed(key: bytes, direction: Literal["request", "report"], nonce: str, body: bytes, mac: str) -> bool:
    """Tell whether `mac` is the seal of this message, in constant time."""
    return hmac.compare_digest(seal(key, direction, nonce, body).encode(), mac.encode())
