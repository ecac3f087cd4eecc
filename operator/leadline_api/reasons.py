"""Reasons: stable words that conditions, Events and rejections carry, for people and for `switch` statements.

Each has a sentence on what it means and one on what to do; `docs/reasons.md` is generated from them
(`python -m leadline_api.reasons`).
"""

from enum import StrEnum
from pathlib import Path
from typing import Self


class Reason(StrEnum):
    """Why a condition is as it is, or why something happened."""

    meaning: str
    remedy: str

    def __new__(cls, value: str, meaning: str, remedy: str) -> Self:
        """Make a member from its word and its two sentences."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.remedy = remedy
        return member

    # Where a rollout is
    FETCHING = "Fetching", "The candidate's pods fetch the model's bytes", "Wait; the message tells how far it is"
    STARTING = "Starting", "The candidate's pods load the model and warm up", "Wait"
    TESTING = "Testing", "The candidate answers the test set", "Wait"
    SHADOWING = (
        "Shadowing",
        "The candidate answers copies of requests, and outcomes judge it beside the serving one",
        "Wait",
    )
    CANARY = (
        "Canary",
        "The candidate answers a share of the requests, step by step (spec.rollout.steps)",
        "Wait; status.traffic has the share. Or annotate leadline.dev/action=promote@<now> or rollback@<now>",
    )
    UNDECIDED = (
        "Undecided",
        "The comparison on copies has ended without a verdict, and rollout.onUndecided is Hold",
        "Wait for more outcomes, or annotate leadline.dev/action=promote@<now> or rollback@<now>",
    )
    PAUSED = (
        "Paused",
        "The candidate could get the traffic, and spec.rollout.paused is true",
        "Set it to false, or annotate leadline.dev/action=promote@<now> or rollback@<now>",
    )
    SWITCHING = "Switching", "The Service moves to the candidate, or back", "Wait"
    SERVING = "Serving", "The revision answers at the model's URL", "Nothing"
    ROLLING_BACK = "RollingBack", "Traffic goes back to the last good revision", "Wait"
    NOT_MEASURED = "NotMeasured", "Nothing is known yet, or no metric is asked for", "Add spec.quality, or wait"
    NO_REVISION_SERVES = "NoRevisionServes", "No revision was admitted yet", "See Stalled and the candidate's reason"
    NO_READY_PODS = "NoReadyPods", "The serving revision has no ready pod", "See the pods' state in the message"
    SCALED_TO_ZERO = "ScaledToZero", "spec.runtime.replicas is 0", "Set spec.runtime.replicas to 1 or more"
    SERVING_DESIRED = "ServingDesired", "The serving revision is the desired one", "Nothing"
    SERVING_OTHER = "ServingOther", "Another revision than the desired one serves", "See Reconciling and Stalled"
    DONE = "Done", "Nothing is under way", "Nothing"
    NOT_STALLED = "NotStalled", "No person is needed", "Nothing"

    # Findings about a revision: remembered
    DIGEST_MISMATCH = (
        "DigestMismatch",
        "The bytes behind the URI are not those that were asked for or learned",
        "Put the right bytes back, or give the new ones their own URI or digest",
    )
    INVALID_MODEL = (
        "InvalidModel",
        "The bytes are no ONNX model that can be loaded and run",
        "Export the model again; check it with onnxruntime; then change spec.model",
    )
    SIGNATURE_MISSING = (
        "SignatureMissing",
        "spec.model.signature asks for a signature, and the model has none",
        "Sign it with model_signing sign key (docs/models.md); then annotate leadline.dev/action=retry@<now>",
    )
    SIGNATURE_INVALID = (
        "SignatureInvalid",
        "The key of spec.model.signature did not sign these bytes",
        "Sign the model again, or correct the key; then annotate leadline.dev/action=retry@<now>",
    )
    BELOW_FLOOR = (
        "BelowFloor",
        "The estimate on the test set is below the metric's floor",
        "Train a better model, or lower spec.quality.metrics[].floor",
    )
    TEST_DEGRADED = (
        "TestDegraded",
        "On the test set the revision is worse than the serving one by more than the margin",
        "Train a better model, or raise spec.quality.metrics[].margin",
    )
    DEGRADED = (
        "Degraded",
        "While it served, the revision was found worse than the last good one by more than the margin",
        "Look at what changed in the model; give a new revision",
    )
    DECAYED = (
        "Decayed",
        "Outcomes of the serving revision are below its own limit: the revision or the world has changed",
        "Look at what changed in the inputs; train on newer outcomes; give a new revision",
    )
    ROLLED_BACK_BY_COMMAND = (
        "RolledBackByCommand",
        "The command rollback sent the traffic back to the last good revision",
        "To try the revision again: annotate leadline.dev/action=retry@<now>",
    )

    # What follows from findings
    ROLLED_BACK = (
        "RolledBack",
        "Traffic is on the last good revision again; the desired one was found bad while it served",
        "Give a new revision, or annotate leadline.dev/action=retry@<now>",
    )
    NO_ROLLBACK_TARGET = (
        "NoRollbackTarget",
        "The serving revision was found bad, and there is no good one to go back to",
        "Give a new revision",
    )
    ROLLBACK_WOULD_NOT_HELP = (
        "RollbackWouldNotHelp",
        "Outcomes are below the limit, and the last good revision is not shown to be better on fresh requests",
        "Train on newer outcomes; give a new revision",
    )
    VERIFYING = (
        "Verifying",
        "The last good revision answers copies of fresh requests, to see if going back helps",
        "Wait",
    )
    WITHDRAWN = (
        "Withdrawn",
        "A provisional rejection was taken back: the revision it fell back to is below the limit as well",
        "Train on newer outcomes; give a new revision",
    )
    ALERT = "Alert", "The serving revision was found bad; spec.quality.onDegraded is Alert", "Look, and decide"
    QUALITY_CREEP = (
        "QualityCreep",
        "The serving revision is worse than the best accepted one by more than twice the margin; no single step was found worse",
        "Compare it with the best one on today's inputs; go back to that in spec.model, or train a better one: docs/rollouts.md",
    )
    QUALITY_WATCHED = "QualityWatched", "The serving revision is judged, and nothing was found", "Nothing"
    OBJECTIVES_MET = "ObjectivesMet", "Requests are answered as spec.objectives asks, as far as can be told", "Nothing"
    OBJECTIVES_MISSED = (
        "ObjectivesMissed",
        "Pods of the revision failed requests, or answered too slowly, more often than spec.objectives allows",
        "See the pods' logs and their load; give a new revision or more pods, or change spec.objectives",
    )
    NO_OBJECTIVES = "NoObjectives", "spec.objectives is not set", "Set spec.objectives, or nothing"
    OUTCOMES_JUDGED = "OutcomesJudged", "Outcomes come back and are judged", "Nothing"
    SELECTION_BIAS = (
        "SelectionBias",
        "Outcomes are judged, but come far more often where one class was predicted than elsewhere: no random sample",
        "Report what came true of all predictions, or of a random share of them (spec.outcomes.percent): docs/pitfalls.md",
    )
    NO_OUTCOMES = "NoOutcomes", "No outcome came yet", "Report true answers: docs/outcomes.md"
    OUTCOMES_STOPPED = "OutcomesStopped", "Outcomes came before, and none for a long while", "See who reports them"
    OUTCOMES_OFF = "OutcomesOff", "spec.outcomes is not set", "Set spec.outcomes, or nothing"
    LEDGER_UNREACHABLE = (
        "LedgerUnreachable",
        "The ledger does not answer: outcomes are refused with 503, no verdict changes",
        "See the pod of the StatefulSet leadline-ledger",
    )
    PROMOTED = "Promoted", "A revision got the traffic", "Nothing"

    # Trouble around a revision: retried
    MODEL_NOT_FOUND = (
        "ModelNotFound",
        "There is nothing at the model's URI",
        "Upload the model, or correct spec.model.uri",
    )
    MODEL_ACCESS_DENIED = (
        "ModelAccessDenied",
        "The store refuses access to the model",
        "Correct the Secret in spec.model.credentials",
    )
    MODEL_STORE_UNREACHABLE = (
        "ModelStoreUnreachable",
        "The model's store does not answer",
        "Nothing if it comes back; it is tried again for as long as the spec asks",
    )
    MODEL_TOO_LARGE = (
        "ModelTooLarge",
        "The model exceeds the size limit",
        "Raise spec.model.fetch.maxSize, or use a smaller model",
    )
    MODEL_UNUSABLE = (
        "ModelUnusable",
        "What is at the model's URI cannot be a model: a folder that is not taken, an archive or artifact of another kind",
        "See the message and docs/models.md; put something else there, or correct spec.model.uri",
    )
    NO_ROOM_ON_DISK = (
        "NoRoomOnDisk",
        "The pod's disk has no room for the model",
        "Give the node more disk, or use a smaller model",
    )
    EXECUTION_PROVIDER_MISSING = (
        "ExecutionProviderMissing",
        "An execution provider of spec.runtime.executionProviders is not in the runtime's image, or does not start",
        "Use an image with that build of onnxruntime (spec.runtime.image), on a node with the device",
    )
    INVALID_TEST_SET = (
        "InvalidTestSet",
        "The test set cannot be used with the model",
        "Correct the file, or spec.quality.testSet; the message names what is missing",
    )
    ODD_POD = (
        "OddPod",
        "One pod answers the test set otherwise than at admission, and the others do not: it is restarted, where that may help",
        "Nothing while it is restarted; else look at the pod's node (memory, device, driver), and delete the pod",
    )
    TEST_SET_WORN = (
        "TestSetWorn",
        "More than 20 revisions were judged by the same test set: one that was chosen by it may only fit it",
        "Draw a new test set, and give it a URI or digest of its own",
    )
    TEST_SET_TOO_SMALL = (
        "TestSetTooSmall",
        "Too few outcomes with captured inputs are there to make a test set of: the revision is judged without one",
        "Wait, or raise spec.outcomes.capture.percent; report true answers (truth), which alone can be in it",
    )
    TEST_SET_NOT_FOUND = "TestSetNotFound", "There is nothing at the test set's URI", "Upload it, or correct the URI"
    TEST_SET_ACCESS_DENIED = (
        "TestSetAccessDenied",
        "The store refuses access to the test set",
        "Correct the Secret in spec.model.credentials",
    )
    TEST_SET_UNREACHABLE = "TestSetUnreachable", "The test set's store does not answer", "Nothing if it comes back"
    TEST_SET_DIGEST_MISMATCH = (
        "TestSetDigestMismatch",
        "The bytes behind the test set's URI are not those that were asked for or answered before",
        "Put the right bytes back, or give the new test set its own URI or digest",
    )
    PODS_NOT_REACHED = (
        "PodsNotReached",
        "Ready pods do not answer the operator, so that nothing can be said of the revision",
        "See whether the operator's pod may and can reach port 8081 of the pods",
    )
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        "A ResourceQuota forbids the pods",
        "Raise the quota, or ask for less in spec.runtime",
    )
    PODS_FORBIDDEN = "PodsForbidden", "The API server refuses to create the pods", "See the message for the policy"
    SIGNATURE_KEY_UNUSABLE = (
        "SignatureKeyUnusable",
        "The key of spec.model.signature cannot be read, or is no key that signatures are checked with",
        "Put the PEM public key where spec.model.signature.publicKey says; it is looked at again every few seconds",
    )
    SIGNATURE_NOT_CHECKED = (
        "SignatureNotChecked",
        "spec.model.signature asks for a signature, and the pods' runtime does not say that it checked one",
        "Use a newer spec.runtime.image, or leave it to the chart",
    )
    IMAGE_PULL_FAILED = (
        "ImagePullFailed",
        "The runtime's image does not pull",
        "Correct the chart's value runtime.image",
    )
    POD_CONFIG_ERROR = (
        "PodConfigError",
        "A pod cannot be configured, e.g. because a Secret is missing",
        "Create what the message names",
    )
    RUNTIME_CRASHED = "RuntimeCrashed", "The runtime's container ends again and again", "See its log"
    UNSCHEDULABLE = "Unschedulable", "No node has room for the pods", "Add a node, or ask for less in spec.runtime"
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        "The candidate is not there within spec.rollout.progressDeadline, and no cause is known",
        "See the pods; it is tried again for as long as the spec asks",
    )
    NAME_CONFLICT = (
        "NameConflict",
        "An object of the same name exists and is not ours; it is left alone",
        "Rename the ModelDeployment, or remove the other object",
    )
    WRITE_REFUSED = (
        "WriteRefused",
        "The API server refuses a write of the operator: an admission policy, a quota, or missing permissions",
        "Change the policy or quota that the message names; it is tried again for as long as the spec asks",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "The spec cannot be read by this version of the operator",
        "Correct what the message names",
    )

    UNREADABLE_RECORD = (
        "UnreadableRecord",
        "What is remembered of a revision cannot be read by this version of the operator; it is left as it is",
        "Go back to the version that wrote it, or remove the annotation leadline.dev/record: the revision counts as new",
    )
    RECORDS_READ = "RecordsRead", "What is remembered of each revision can be read", "Nothing"

    # Training anew
    RETRAIN_STARTED = (
        "RetrainStarted",
        "A training run began (spec.retrain)",
        "Wait; status.retrain says what came of it",
    )
    RETRAIN_PROPOSED = (
        "RetrainProposed",
        "A training run brought a model, and spec.retrain.mode is Propose",
        "Put its uri and digest, which the message names, into spec.model",
    )
    RETRAIN_PRODUCED = (
        "RetrainProduced",
        "A training run brought a model, which is tried as a candidate (spec.retrain.mode is Auto)",
        "Nothing; to keep it whatever comes, put its uri and digest into spec.model",
    )
    RETRAIN_FAILED = (
        "RetrainFailed",
        "A training run failed, or brought nothing that can be read; what serves goes on",
        "See the message and the Job's log; it is tried again as spec.retrain.retries says, or by leadline.dev/action=retrain@<now>",
    )

    # Commands
    COMMAND_DONE = "CommandDone", "A command in the annotation leadline.dev/action was carried out", "Nothing"
    COMMAND_IGNORED = (
        "CommandIgnored",
        "A command in the annotation leadline.dev/action does not apply now or cannot be read",
        "See the message",
    )


_BY_WORD = {reason.value: reason for reason in Reason}


def known(word: str) -> Reason:
    """Return the reason for a word that a pod reports; one of a newer runtime counts as a passed deadline."""
    return _BY_WORD.get(word, Reason.PROGRESS_DEADLINE_EXCEEDED)


def page() -> str:
    """Return `docs/reasons.md`."""
    lines = [
        "# Reasons",
        "",
        "Generated by `python -m leadline_api.reasons`. Reasons are stable; messages are not.",
        "",
    ]
    lines += ["| reason | meaning | what to do |", "| --- | --- | --- |"]
    lines += [f"| `{reason.value}` | {reason.meaning} | {reason.remedy} |" for reason in Reason]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path("docs/reasons.md").write_text(page(), encoding="utf-8")
