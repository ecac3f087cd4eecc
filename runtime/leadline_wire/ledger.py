"""What runtimes and operator say to the ledger, and what it answers: JSON over HTTP, fields only ever added.

    POST /v1/namespaces/NAMESPACE/models/NAME/intake     runtime: Intake -> IntakeAnswer, once it is durable
    POST /v1/namespaces/NAMESPACE/models/NAME/decisions  operator: Decision -> Decided
    PUT  /v1/namespaces/NAMESPACE/models/NAME/checkpoint operator: Checkpoint -> 204; 409 where it is older than the one kept
    GET  /v1/resume                                      operator: Resume
    GET  /v1/log?after=SEQ&wait=SECONDS&limit=N          operator: Log, at once where there is news, else after the wait
    GET  /v1/namespaces/NAMESPACE/models/NAME/log?after= operator, people: the log of one ModelDeployment, no waiting
    GET  /v1/namespaces/NAMESPACE/models/NAME/outcomes?after=SEQ&limit=N&timeline=&format=parquet|ndjson&split=&test_percent=
                                                         people: outcomes as a table, see below
    GET  /v1/namespaces/NAMESPACE/models/NAME/wanted?limit=N&since=MILLISECONDS  runtime: Wanted, predictions since then
    POST /v1/namespaces/NAMESPACE/models/NAME/source     runtime: Reporter -> Source, whose a reporter's token is
    POST /v1/namespaces/NAMESPACE/models/NAME/labels?truth=COLUMN  people: lines of JSON -> LabelsAnswer, once it is durable
    GET  /v1/namespaces/NAMESPACE/models/NAME/labels     people: LabelsState
    GET  /v1/namespaces/NAMESPACE/models/NAME/labels/waiting?limit=N  runtime: LabelsWaiting
    PUT, GET, HEAD /v1/namespaces/NAMESPACE/blobs/DIGEST runtime: model bytes by `sha256:<hex>`; PUT needs content-length

Each call carries `authorization: Bearer TOKEN`, a projected service account token for the audience `AUDIENCE`. A
runtime's token is good for its own namespace, the operator's for all; on labels RBAC decides (`create` and `get` of
modeldeployments/labels). Errors are `{"error": "..."}`.

    400, 413, 422  the call cannot be meant, is too large, or its bytes have another digest: not to be tried again as it is
    401, 403       no token that the API server knows, or one that is not good for this
    404            no such path; blobs: the namespace put none of that digest
    409            a checkpoint older than the one kept, or beyond the log
    410            a cursor beyond the log or of another history, as after a backup was restored: begin with /v1/resume
    503            not now, with `retry-after`; 507: the volume or a limit is full. Nothing of the call was kept, or all of it:
                   told again it is the same

A table of outcomes is Parquet, or JSON lines of `outcome_rows.Row`. It ends with an outcome, or with the log; its headers
say where to go on (`CURSOR_HEADER`, `TIMELINE_HEADER`, which go back as `after` and `timeline`) and whether there may be
more by now (`MORE_HEADER`). A table that is cut off was not all of it, and is asked for again.

Both logs take `timeline=`, as the last `Log` or `Resume` had it: with it a restored backup is noticed even when the new
head is beyond the old cursor already.

One log for all, in the order in which things became durable: `seq` grows and is never used again. An answer that comes
in and is to be judged becomes an `OutcomeEntry`; where another revision's prediction for the same input is known, by
then or later, a `PairEntry` follows. What the operator decided stands in the same order. So all evidence is a function
of the log.
"""

from typing import Any, Final, Literal

import msgspec

AUDIENCE: Final = "leadline-ledger"
OUTCOMES_AUDIENCE: Final = "leadline-outcomes"
"""Of the tokens by which reporters of outcomes say who they are."""
SOURCE_CHARACTERS_MAX: Final = 320
"""NAMESPACE/NAME of a service account: 63 + 1 + 253, and what others call themselves."""
PORT: Final = 8080
INTAKE_BYTES_MAX: Final = 8 << 20
INTAKE_ITEMS_MAX: Final = 4_096
LOG_WAIT_SECONDS_MAX: Final = 60.0
LOG_LIMIT_MAX: Final = 10_000
STATE_BYTES_MAX: Final = 1 << 20
CURSOR_HEADER: Final = "leadline-cursor"
TIMELINE_HEADER: Final = "leadline-timeline"
MORE_HEADER: Final = "leadline-more"
"""`true` or `false`."""
OUTCOMES_LIMIT_MAX: Final = 100_000
"""Outcomes in one table; the rows of one prediction are never parted, so some more may come."""
WANTED_MAX: Final = 500
AGREEMENTS_MAX: Final = 1e6
"""Inputs that one answer stands for."""
LABELS_MAX: Final = 4_096
"""Labelled rows in one call."""
LABELS_WAITING_MAX: Final = 65_536
"""Of one ModelDeployment, not answered yet."""
LABELS_PAGE: Final = 64
"""Labelled rows that a runtime gets at once."""
LABELLED: Final = "Labelled"
"""Kind of the entry that says that labelled rows came: it wakes the operator, and is no decision."""
LABEL_TAG: Final = {"source": "label"}
"""Tags of an outcome that came from a labelled row."""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prediction's answer, as a runtime hands it on after it checked the receipt. Exactly one answer is set."""

    row: int
    id: str = ""
    """UUIDv7 of the prediction, 32 hexadecimal digits; empty: by `client_id`, which the ledger looks up."""
    client_id: str = ""
    """The client's own request id (`keyBy: id`)."""
    revision: str = ""
    prediction: str = ""
    """Word as in `predictions`."""
    share: int = 1_000_000
    """Probability with which the prediction could be reported, in millionths."""
    entity: str = ""
    tags: dict[str, str] = {}
    truth: str = ""
    """Word of the true class or value."""
    correct: bool | None = None
    score: float | None = None
    wanted: str = ""
    """Revision whose other prediction for the same input made this answer be asked for; empty: it came by itself. What is only
    asked for where two revisions differ says nothing of the share of right answers: it counts in their pairs alone."""
    agreements: float = 0.0
    """Inputs on which the two agreed, for each on which they did not: a wanted answer stands for so many of them, too."""
    maturity_ms: int = 0
    """It is judged so long after the prediction, with what had come by then; 0: as it comes."""
    max_age_ms: int = 30 * 86_400_000
    source: str = ""
    """Who reported it, as `Source` has it; empty: nobody said."""
    per_hour: int = 0
    """New answers that are taken of one source in an hour of the ledger's clock; 0: any number."""


class Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prediction that is kept under the client's own id, so that its answer can be reported by that id."""

    client_id: str
    id: str
    revision: str
    predictions: str
    share: int = 1_000_000
    entity: str = ""
    tags: dict[str, str] = {}
    max_age_ms: int = 30 * 86_400_000
    """It is kept so long after the prediction."""


class Copied(msgspec.Struct, frozen=True, omit_defaults=True):
    """What another revision answered to a copy of a request.

    Where `predictions` says that the serving revision itself had no usable answer, nobody got a receipt and no outcome
    will come: the pair is complete at once.
    """

    id: str
    """Of the prediction that the client got."""
    revision: str
    """That answered the client."""
    other: str
    """Revision that got the copy."""
    predictions: str
    """Of the revision that answered the client; all rows."""
    other_predictions: str
    """A single word that stands for no usable answer counts for all rows."""
    max_age_ms: int = 30 * 86_400_000
    """It waits so long after the prediction for the answer."""


class Labelled(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one labelled row; it counts only where the row still waited, so each row counts once."""

    id: str
    """Of the label."""
    outcome: Outcome | None = None
    """Of the serving revision's answer; None: the row was refused."""
    copied: Copied | None = None
    """The other revision's answer to it; None: there is no other one."""
    refused: str = ""
    """Why the row says nothing of any revision."""


class Intake(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a runtime brings at once; all of it is durable when it is answered."""

    outcomes: list[Outcome] = []
    predictions: list[Stored] = []
    copies: list[Copied] = []
    labelled: list[Labelled] = []


Fate = Literal["Accepted", "Duplicate", "Conflict", "UnknownId", "Expired", "TooLate", "OverQuota"]
"""Accepted: new. Duplicate: the same answer was there. Conflict: another answer was there, which stays; this one is
kept as a correction and never judged. UnknownId: no prediction is kept under that id. Expired: older than maxAge.
TooLate: kept and exported, but its maturity had passed before it came, so it is not judged. OverQuota: not kept, for its
source has had `per_hour` in this hour; it may be told again in the next."""


class IntakeAnswer(msgspec.Struct, frozen=True):
    """What became of the outcomes, in their order."""

    fates: list[Fate]


class OutcomeEntry(msgspec.Struct, frozen=True, omit_defaults=True, tag="outcome"):
    """An answer that counts."""

    seq: int
    model: str
    """`namespace/name`."""
    id: str
    row: int
    revision: str
    prediction: str
    came_at_ms: int
    truth: str = ""
    correct: bool | None = None
    score: float | None = None
    share: int = 1_000_000
    entity: str = ""
    tags: dict[str, str] = {}
    repeats: bool = False
    """An outcome of the same revision about the same entity, or other rows of the same prediction, are in the log already:
    this one is no evidence."""
    wanted: str = ""
    """As in `Outcome`: it counts in pairs alone."""
    agreements: float = 0.0
    more: int = 0
    """Rows of the same prediction that follow at once: together they are one outcome, the mean of all that count."""
    client_id: str = ""
    """The client's own request id, where the answer was reported by it."""
    source: str = ""
    """Who reported it first; empty: nobody said."""


class PairEntry(msgspec.Struct, frozen=True, omit_defaults=True, tag="pair"):
    """Two revisions' predictions for the same input, and the answer."""

    seq: int
    model: str
    id: str
    row: int
    revision: str
    """That answered the client."""
    prediction: str
    other: str
    other_prediction: str
    came_at_ms: int
    truth: str = ""
    correct: bool | None = None
    score: float | None = None
    share: int = 1_000_000
    entity: str = ""
    repeats: bool = False
    """A pair of the same two revisions about the same entity, or of other rows of the same prediction, is in the log already:
    this one is no evidence."""
    agreements: float = 0.0
    """Inputs on which the two agreed, beside this one, that the answer stands for; see `Outcome.wanted`."""
    more: int = 0
    """As in `OutcomeEntry`."""
    source: str = ""
    """As in `OutcomeEntry`."""


class DecisionEntry(msgspec.Struct, frozen=True, omit_defaults=True, tag="decision"):
    """What the operator decided, where it stands in the order."""

    seq: int
    model: str
    id: str
    kind: str
    revision: str
    at_ms: int
    other: str = ""
    data: dict[str, str] = {}


Entry = OutcomeEntry | PairEntry | DecisionEntry


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator decided: kept for ever, once per `id`."""

    id: str
    """The operator's own name for it: the same decision told again is the same."""
    kind: str
    """Gate, Promoted, Rejected, RolledBack, Withdrawn, Retried, ..."""
    revision: str
    at_ms: int
    other: str = ""
    data: dict[str, str] = {}


class Decided(msgspec.Struct, frozen=True):
    """Where a decision stands in the log."""

    seq: int
    new: bool


class Checkpoint(msgspec.Struct, frozen=True):
    """Evidence after all entries of a ModelDeployment up to `cursor`; kept with it, as one."""

    cursor: int
    state: str
    """JSON that only its maker reads."""


class ModelState(msgspec.Struct, frozen=True):
    """Where the evidence of one ModelDeployment stands."""

    model: str
    last_seq: int
    """Of its newest entry."""
    checkpoint: Checkpoint | None = None
    decisions: list[DecisionEntry] = []
    """All of them but for entries that were deleted for age, oldest first."""


class Resume(msgspec.Struct, frozen=True):
    """What an operator begins with."""

    head: int
    """Newest `seq` of all."""
    models: list[ModelState]
    timeline: str = ""
    labels: dict[str, int] = {}
    """As in `Log`."""


class Log(msgspec.Struct, frozen=True):
    """A stretch of the log."""

    head: int
    """Newest `seq` of all when this was read; where nothing came, the cursor to go on from."""
    entries: list[Entry]
    timeline: str = ""
    """Names the ledger's history up to here; goes back with the cursor."""
    labels: dict[str, int] | None = None
    """Labelled rows that wait to be answered, by `namespace/name`; None: it was not asked for, or the ledger is older."""


class Unanswered(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of one prediction whose answer would tell which of two revisions is right."""

    id: str
    row: int
    revision: str
    """That answered the client."""
    prediction: str
    other: str
    other_prediction: str
    client_id: str = ""
    """The client's own request id, where predictions are kept by it."""


class Wanted(msgspec.Struct, frozen=True):
    """Of the newest comparison: which answers are wanted, drawn at random from all that are."""

    items: list[Unanswered]
    agreements: float
    """Inputs on which both agreed, for each on which they did not; at most `AGREEMENTS_MAX`."""
    compared: int
    """Predictions that were looked at, those answered already left out."""
    other: str = ""
    """With whom the serving revision is compared; empty: with none, since then."""


class Reporter(msgspec.Struct, frozen=True):
    """Who reports outcomes, as it proves it."""

    token: str
    """For the audience `OUTCOMES_AUDIENCE`."""


class Source(msgspec.Struct, frozen=True):
    """Whose a reporter's token is."""

    source: str
    """`NAMESPACE/NAME` of a service account, or the user's name; empty: the API server does not know the token."""


Plain = bool | int | float | str


class Label(msgspec.Struct, frozen=True):
    """One labelled row that waits to be answered."""

    id: str
    """As of a prediction; the first 12 digits are the time at which the row was first kept."""
    inputs: dict[str, Any]
    """Columns in the order of the file: numbers, texts, booleans, null, or lists of them."""
    truth: Plain


class LabelsWaiting(msgspec.Struct, frozen=True):
    """The oldest labelled rows that wait."""

    rows: list[Label]


class LabelsAnswer(msgspec.Struct, frozen=True):
    """What became of labelled rows that were brought."""

    accepted: int
    duplicates: int
    """Were there already, with the same truth."""
    conflicts: list[int]
    """Rows, counted from 1, that were there already with another truth: the first one stays."""
    waiting: int
    """Rows of the ModelDeployment that are to be answered, these included."""


class LabelFate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a labelled row."""

    revision: str = ""
    """That answered as the serving one."""
    right: bool | None = None
    """None: nobody can tell, as of a value."""
    other: str = ""
    other_right: bool | None = None
    refused: str = ""
    """Why it says nothing of any revision; nothing else is set."""


class LabelCount(msgspec.Struct, frozen=True):
    """How many rows had one fate."""

    rows: int
    fate: LabelFate


class LabelsState(msgspec.Struct, frozen=True):
    """How far labelled rows are."""

    waiting: int
    counted: list[LabelCount]


class LedgerError(msgspec.Struct, frozen=True):
    """Why the ledger did not do it."""

    error: str
