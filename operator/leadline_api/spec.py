"""What a user asks for: the spec of a ModelDeployment.

The CRD is generated from these models (`leadline_api.crd`), docstrings included, so the API server has already refused
what is malformed; parsing here tolerates fields of a newer CRD. Decimals arrive as strings and durations as in
Kubernetes (`90s`, `24h`, `7d`); `leadline_api.quantities` turns them into numbers.

Must not have a field that does not work yet.
"""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from leadline_api import quantities, uris
from leadline_api.fields import Part, name_of
from leadline_api.pods import REPLICAS_OR_AUTOSCALING, SHARES_NEED_REQUESTS, Runtime
from leadline_api.rules import VALIDATIONS, Rule, decimal, matches


def _duration(text: str) -> str:
    quantities.seconds(text)
    return text


def _is_amount(amount: str | int) -> bool:
    if isinstance(amount, int):
        return 0 <= amount <= 1000
    return re.fullmatch(r"Same|(100|[0-9]{1,2})%|1000|[0-9]{1,3}", amount) is not None


Duration = Annotated[str, AfterValidator(_duration), Field(max_length=32, json_schema_extra={"format": "duration"})]
_AtLeastOneSecond = Rule(
    cel="self >= duration('1s') && self <= duration('87600h')",
    message="must be from 1s to 3650d, such as 90s, 10m or 24h",
    holds=lambda text: quantities.seconds(text) >= 1,
)
_NotNegative = Rule(
    cel="self >= duration('0s') && self <= duration('87600h')",
    message="must be from 0s to 3650d, such as 90s, 24h or 7d",
    holds=lambda text: quantities.seconds(text) >= 0,
)
_AtMostOneDay = Rule(
    cel="self <= duration('24h')",
    message="must be at most 24h",
    holds=lambda text: quantities.seconds(text) <= 86_400,
)
Digest = Annotated[
    str,
    Field(max_length=71),
    matches(r"sha256:[0-9a-f]{64}", "must be sha256: and the 64 lower-case hexadecimal digits that sha256sum prints"),
]
Uri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    matches(
        r"((file|pvc|https?|s3|gs|az|oci|hf)://\S+|models:/\S+)",
        "must begin with file://, pvc://, http://, https://, s3://, gs://, az://, oci://, hf:// or models:/ (MLflow) "
        "and hold no blanks",
    ),
    *uris.RULES,
]
"""Where a model is; docs/models.md has each scheme."""
FileUri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    matches(
        r"(file|pvc|https?|s3|gs|az|hf)://\S+",
        "must begin with file://, pvc://, http://, https://, s3://, gs://, az:// or hf:// and hold no blanks",
    ),
    *uris.RULES,
]
"""Where a single file is."""


class Credentials(Part):
    """Where the runtime finds credentials for the model's and the test set's store."""

    secret_name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "s3-reader")]
    """Secret in the same namespace; its keys become environment variables of the runtime (AWS_ACCESS_KEY_ID,
    GOOGLE_SERVICE_ACCOUNT_KEY, AZURE_STORAGE_ACCOUNT_KEY, OCI_USERNAME, HF_TOKEN, MLFLOW_TRACKING_URI,
    HTTP_AUTHORIZATION and so on: docs/models.md)."""


class Prediction(Part):
    """Which output of the model is the prediction."""

    output: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the output that holds the predicted class."""


class PublicKey(Part):
    """Where a public key is: a key of a ConfigMap or of a Secret."""

    config_map_name: Annotated[str, Field(min_length=1, max_length=253), name_of("ConfigMap", "model-key")] | None = (
        None
    )
    """ConfigMap in the same namespace."""
    secret_name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "model-key")] | None = None
    """Secret in the same namespace."""
    key: Annotated[
        str,
        Field(min_length=1, max_length=253),
        matches(r"[-._a-zA-Z0-9]+", "must be a key of it: letters, digits, -, _ and ., such as key.pub"),
    ]
    """Its key that holds the public key, PEM."""


_OneKey = Rule(
    cel="has(self.configMapName) != has(self.secretName)",
    message="spec.model.signature.publicKey needs either configMapName or secretName",
    holds=lambda key: (key.config_map_name is None) != (key.secret_name is None),
    shows_value=False,
)


class Signature(Part):
    """Who must have signed the model, with OpenSSF model signing (`model_signing sign key`)."""

    public_key: Annotated[PublicKey, _OneKey]
    """The key that the signature is verified with."""


class Fetch(Part):
    """Limits of fetching the model."""

    max_size: Annotated[
        str,
        Field(max_length=8),
        matches(r"[1-9][0-9]{0,4}(Mi|Gi|Ti)", "must be a size such as 500Mi, 20Gi or 1Ti"),
    ] = "2Gi"
    """Most bytes, of all files together."""
    timeout: Annotated[Duration, _AtLeastOneSecond, _AtMostOneDay] = "1h"
    """Longest single try; the next one goes on where it ended."""
    ledger_after: Annotated[Duration, _AtLeastOneSecond, _AtMostOneDay] = "60s"
    """A URI that needs longer has the ledger asked beside it for its copy of the bytes."""


class Model(Part):
    """The model to serve."""

    uri: Uri
    """Where it is: an ONNX file, or a folder (docs/models.md). file://, pvc://CLAIM/path, http(s)://, s3://bucket/key,
    gs://, az://, oci://registry/repository:tag, hf://organisation/name@revision/path, models:/name@alias (MLflow)."""
    digest: Digest | None = None
    """`sha256:` and 64 hexadecimal digits of the bytes, or of a folder's manifest. Left out: learned at first load and
    held from then on."""
    signature: Signature | None = None
    """Who must have signed it. Left out: nobody."""
    fetch: Fetch | None = None
    """Limits of fetching it. Left out: 2Gi, 1h, 60s."""
    predictions: Annotated[list[Prediction], Field(max_length=1)] = []
    """Needed only where the model's metadata does not say which output is the prediction."""
    credentials: Credentials | None = None
    """Credentials for the model's and the test set's store. Left out: none."""


class LastGood(Part):
    """What is kept of the last good revision after a switch."""

    replicas: Annotated[
        str | int,
        Field(json_schema_extra={"x-kubernetes-int-or-string": True, "maxLength": 16}),
        Rule(
            cel="type(self) == int ? self >= 0 && self <= 1000 : "
            "self.matches(r'^(Same|(100|[0-9]{1,2})%|1000|[0-9]{1,3})$')",
            message="must be Same, a percentage from 0% to 100% or a number of pods from 0 to 1000",
            holds=_is_amount,
        ),
    ] = "Same"
    """A number, a percentage such as `50%`, or `Same` (as many as the serving revision)."""
    for_: Annotated[Duration, _NotNegative, Field(alias="for")] = "24h"
    """How long it is kept warm after a switch; then it is scaled to 0."""


class Shadow(Part):
    """Copies of requests to a candidate before it gets traffic, so that both are judged on the same inputs."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the requests that is copied."""
    for_: Annotated[Duration, _AtLeastOneSecond, Field(alias="for")] = "30m"
    """How long a candidate is compared before it takes over; evidence against it ends this sooner, and so does a
    minute in which no outcome came."""


class Rollout(Part):
    """How a new revision takes over."""

    strategy: Literal["BlueGreen", "RollingUpdate"] = "BlueGreen"
    """BlueGreen verifies a candidate dark, then switches. RollingUpdate switches first and watches while it serves."""
    shadow: Shadow | None = None
    """BlueGreen: compare the candidate on copies of requests before the switch. Left out: not before it."""
    progress_deadline: Annotated[Duration, _AtLeastOneSecond] = "10m"
    """Time for fetching, starting and testing; after that the rollout is Stalled (and still retried)."""
    last_good: LastGood = LastGood()
    """What is kept of the last good revision after a switch."""
    on_undecided: Literal["Promote", "Hold"] = "Promote"
    """What becomes of a candidate whose comparison on copies ends without a verdict. Promote: it gets the traffic, and is watched.
    Hold: it waits for more outcomes, or for the command promote."""
    paused: bool = False
    """Whether the traffic stays where it is: a candidate is fetched, started and tested, and waits for the switch. A rollback
    waits for nothing."""


class Metric(Part):
    """One measure of quality and what is tolerated."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=63),
        matches(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "must hold only a-z, 0-9 and -, such as accuracy"),
    ]
    """What the metric is called in status and messages."""
    metric: Literal["accuracy", "precision", "recall", "f1", "score", "mae", "rmse", "r2"]
    """What is measured: accuracy, the share of right answers; precision, recall or f1 of the class `positive`; score, the mean of
    what outcomes say in `score`; of numbers mae (mean absolute error), rmse (root mean squared error) or r2 (explained share)."""
    positive: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """The class that precision, recall or f1 is of, as the model names or numbers it."""
    margin: (
        Annotated[
            str,
            Field(max_length=11),
            decimal(
                low=0.0,
                high=1.0,
                message='must be a number from 0 to 1 in quotes, such as "0.02": how much accuracy a revision may lose '
                "against the last good one and still count as good",
            ),
        ]
        | None
    ) = None
    """How much worse than the last good revision a revision may be and still count as good. Left out: 0.02."""
    relative_margin: (
        Annotated[
            str,
            Field(max_length=8),
            matches(
                r"(100|[0-9]{1,2})(\.[0-9]{1,3})?%",
                'must be a percentage in quotes, such as "10%": how much larger than the last good revision\'s a '
                "revision's error may be",
            ),
        ]
        | None
    ) = None
    """The same of mae and rmse: by what share they may grow. Left out: 10%."""
    floor: (
        Annotated[
            str,
            Field(max_length=11),
            decimal(
                above=0.0,
                high=0.9999,
                message='must be a number above 0 and at most 0.9999 in quotes, such as "0.90": the lowest accuracy '
                "on the test set with which a revision is admitted; leave it out for no floor",
            ),
        ]
        | None
    ) = None
    """Lowest accuracy on the test set with which a revision is admitted."""

    @property
    def is_of_errors(self) -> bool:
        """Tell whether errors are measured, which may grow by a share of what they are."""
        return self.metric in ("mae", "rmse")

    @property
    def tolerance(self) -> str:
        """The margin as it was written, or as it is where it was left out."""
        return (self.relative_margin or "10%") if self.is_of_errors else (self.margin or "0.02")

    @property
    def tolerated(self) -> float:
        """The margin as a number: a difference, of mae and rmse a share."""
        return float(self.tolerance.rstrip("%")) / (100 if self.is_of_errors else 1)


_MarginFits = Rule(
    cel="self.metric in ['mae', 'rmse'] ? !has(self.margin) : !has(self.relativeMargin)",
    message="an error may grow by relativeMargin (metric: mae or rmse), every other metric may lose a margin; give the one "
    "that fits the metric",
    holds=lambda metric: (metric.margin if metric.is_of_errors else metric.relative_margin) is None,
    shows_value=False,
)
_FloorIsOfAShare = Rule(
    cel="!has(self.floor) || !(self.metric in ['mae', 'rmse', 'r2'])",
    message="floor is the lowest accuracy on the test set; metric: mae, rmse and r2 have none",
    holds=lambda metric: metric.floor is None or metric.metric not in ("mae", "rmse", "r2"),
    shows_value=False,
)


class TestSet(Part):
    """Labelled examples that every revision answers at admission and again at each interval."""

    __test__ = False  # pytest: a name that begins with Test is not always a test

    uri: FileUri
    """A Parquet, CSV (gzipped or not) or .npz file: a column per model input, and one with the true answers."""
    digest: Digest | None = None
    """`sha256:` and 64 hexadecimal digits of the file. Left out: whatever is there."""
    truth: Annotated[str, Field(min_length=1, max_length=256)]
    """Column that holds the true answers."""
    interval: Annotated[Duration, _AtLeastOneSecond] = "10m"
    """How often the serving revision answers it again."""


class Quality(Part):
    """How good the model must be, and what happens when it is not."""

    metrics: Annotated[
        list[Annotated[Metric, _MarginFits, _FloorIsOfAShare]],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    """What is measured, by name. The false rollback probability is shared out between them."""
    false_rollback_probability: Annotated[
        str,
        Field(max_length=11),
        decimal(
            above=0.0,
            high=0.5,
            message='must be a number above 0 and at most 0.5 in quotes, such as "0.01": the probability of ever '
            "rolling back a revision that is as good as the last good one",
        ),
    ] = "0.01"
    """Probability of ever rolling back a revision that is as good as the last good one."""
    test_set: TestSet | None = None
    """Labelled examples that every revision answers at admission and again at each interval."""
    compare_for: Annotated[Duration, _NotNegative] = "7d"
    """How long after a switch requests are copied to the last good revision, so that both are judged on the same inputs."""
    on_degraded: Literal["Rollback", "Alert"] = "Rollback"
    """What happens when the serving revision is found worse than the last good one."""
    on_decay: Literal["VerifyThenRollback", "Alert"] = "VerifyThenRollback"
    """What happens when outcomes fall below the serving revision's own limit. VerifyThenRollback: the last good one
    answers copies of fresh requests, and gets the traffic if it is shown to be better."""


_TestSetNeedsAccuracy = Rule(
    cel="!has(self.testSet) || !has(self.metrics) || size(self.metrics) == 0 || self.metrics.exists(m, m.metric == 'accuracy')",
    message="spec.quality.testSet needs a metric: accuracy, for that is what is measured on it; add one, or leave testSet out",
    holds=lambda quality: (
        quality.test_set is None or not quality.metrics or any(each.metric == "accuracy" for each in quality.metrics)
    ),
    shows_value=False,
)
_OfAClass: Final = ("precision", "recall", "f1")
_SomeAreOfAClass = Rule(
    cel="!has(self.metrics) || self.metrics.all(m, (m.metric in ['precision', 'recall', 'f1']) == has(m.positive))",
    message="spec.quality.metrics with metric: precision, recall or f1 needs positive (the class that is to be found, such as "
    "fraud), and no other metric has it",
    holds=lambda quality: all((each.metric in _OfAClass) == (each.positive is not None) for each in quality.metrics),
    shows_value=False,
)
_OthersNeedOutcomes = Rule(
    cel="!has(self.quality) || !has(self.quality.metrics) || has(self.outcomes) || "
    "self.quality.metrics.all(m, m.metric == 'accuracy')",
    message="spec.quality.metrics other than accuracy need spec.outcomes, true answers to measure them by; add maturity",
    holds=lambda spec: spec.outcomes is not None or all(each.metric == "accuracy" for each in spec.quality.metrics),
    shows_value=False,
)
_MetricsNeedAnswers = Rule(
    cel="!has(self.quality) || !has(self.quality.metrics) || size(self.quality.metrics) == 0 || "
    "has(self.quality.testSet) || has(self.outcomes)",
    message="spec.quality.metrics needs spec.quality.testSet (labelled examples to measure them on; add uri and truth) "
    "or spec.outcomes (true answers that come back; add maturity)",
    holds=lambda spec: not spec.quality.metrics or spec.quality.test_set is not None or spec.outcomes is not None,
    shows_value=False,
)
_ShadowNeedsOutcomes = Rule(
    cel="!has(self.rollout) || !has(self.rollout.shadow) || has(self.outcomes)",
    message="spec.rollout.shadow needs spec.outcomes: true answers that judge both revisions on the same inputs; "
    "add maturity",
    holds=lambda spec: spec.rollout.shadow is None or spec.outcomes is not None,
    shows_value=False,
)
_OneClaim = Rule(
    cel="!has(self.quality) || !has(self.quality.testSet) || !self.quality.testSet.uri.startsWith('pvc://') || "
    "self.model.uri.startsWith('pvc://') && self.model.uri.split('/')[2] == self.quality.testSet.uri.split('/')[2]",
    message="spec.quality.testSet.uri: a pvc:// test set needs to be on the claim of spec.model.uri: pods mount that one",
    holds=lambda spec: (
        spec.quality.test_set is None
        or not spec.quality.test_set.uri.startswith("pvc://")
        or uris.claim_of(spec.quality.test_set.uri) == uris.claim_of(spec.model.uri)
    ),
    shows_value=False,
)
_TestSetNeedsMetrics = Rule(
    cel="!has(self.testSet) || has(self.metrics) && size(self.metrics) > 0",
    message="spec.quality.testSet needs spec.quality.metrics: what is to be measured on it; "
    "add {name: accuracy, metric: accuracy}",
    holds=lambda quality: bool(quality.metrics) or quality.test_set is None,
    shows_value=False,
)


class Outcomes(Part):
    """True answers that come back after a prediction."""

    maturity: Annotated[Duration, _NotNegative]
    """Time after which a prediction is judged, with what has come by then: longer than answers usually take, for right
    and wrong ones may come at different speeds. 0s where they come equally fast: each is judged as it comes."""
    max_age: Annotated[Duration, _AtLeastOneSecond] = "30d"
    """How long outcomes are taken and kept."""
    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the predictions, drawn at random, that get a receipt."""
    key_by: Literal["receipt", "id"] = "receipt"
    """How an outcome names its prediction: by the receipt that came with it, or by the request's own id."""
    entity: (
        Annotated[
            str,
            Field(max_length=64),
            matches(
                r"[A-Za-z_][-A-Za-z0-9_.]*",
                "must be the name of a request parameter: letters, digits, -, _ and ., such as customer_id",
            ),
        ]
        | None
    ) = None
    """Request parameter that says whom a prediction is about. Of each only the first outcome of a revision is evidence, for many
    answers about one customer are not many customers. Left out: every outcome is evidence."""


_ShadowNeedsBlueGreen = Rule(
    cel="!has(self.shadow) || self.strategy == 'BlueGreen'",
    message="spec.rollout.shadow needs strategy: BlueGreen: under RollingUpdate a revision has the traffic at once, and is "
    "compared afterwards (spec.quality.compareFor)",
    holds=lambda rollout: rollout.shadow is None or rollout.strategy == "BlueGreen",
    shows_value=False,
)
_AgeCoversMaturity = Rule(
    cel="self.maxAge >= self.maturity",
    message="spec.outcomes.maxAge must be at least spec.outcomes.maturity: an outcome is kept until it is judged, or longer",
    holds=lambda outcomes: quantities.seconds(outcomes.max_age) >= quantities.seconds(outcomes.maturity),
    shows_value=False,
)
_ACROSS: Final = (_MetricsNeedAnswers, _OthersNeedOutcomes, _ShadowNeedsOutcomes, _OneClaim)


class ModelDeploymentSpec(Part):
    """What a ModelDeployment asks for."""

    model_config = ConfigDict(json_schema_extra={VALIDATIONS: [dict(rule.as_validation()) for rule in _ACROSS]})

    model: Model
    """The model to serve."""
    runtime: Annotated[Runtime, REPLICAS_OR_AUTOSCALING, SHARES_NEED_REQUESTS] = Runtime()
    """The pods that answer."""
    rollout: Annotated[Rollout, _ShadowNeedsBlueGreen] = Rollout()
    """How a new revision takes over."""
    quality: Annotated[Quality, _TestSetNeedsMetrics, _TestSetNeedsAccuracy, _SomeAreOfAClass] = Quality()
    """How good the model must be, and what happens when it is not."""
    outcomes: Annotated[Outcomes, _AgeCoversMaturity] | None = None
    """True answers that come back after a prediction. Left out: none are taken."""

    @model_validator(mode="after")
    def _keeps_the_rules_across_its_parts(self) -> Self:
        for rule in _ACROSS:
            rule.checked(self)
        return self


PROBLEMS_SHOWN = 3
"""Of a spec that cannot be read; a status message has room for that many."""


def problems(error: ValidationError) -> str:
    """Say what is wrong with a spec: which field, what was expected, what was found."""
    found = error.errors(include_url=False)
    more = f"; and {len(found) - PROBLEMS_SHOWN} more" if len(found) > PROBLEMS_SHOWN else ""
    return "; ".join(map(_problem, found[:PROBLEMS_SHOWN])) + more


def _problem(found: ErrorDetails) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"])
    says_value = found["type"] in ("rule", "value_error", "missing") or isinstance(found["input"], dict | list)
    got = "" if says_value else f"; got {str(found['input'])[:64]}"
    message = found["msg"].removeprefix("Value error, ")
    return f"spec{path}: {message[0].lower()}{message[1:]}{got}"
