"""Why a revision's pods are not there: trouble around it, which is retried, or a finding about its bytes.

Ordered from the outside in: what the Deployment cannot create, what the kubelet cannot start, what the runtime says.
The first that speaks wins.
"""

from leadline_api import reasons
from leadline_api.reasons import Reason
from leadline_wire.exchange import Trouble

from leadline_operator.reconcile.observed import Existing, Observed, Pod

_BY_WAITING = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.POD_CONFIG_ERROR,
    "CreateContainerError": Reason.POD_CONFIG_ERROR,
    "CrashLoopBackOff": Reason.RUNTIME_CRASHED,
    "Unschedulable": Reason.UNSCHEDULABLE,
}


def finding(observed: Existing, revision: str) -> Trouble | None:
    """Return what a pod reports against the model itself."""
    for pod in observed.pods_of(revision):
        if pod.report is not None and pod.report.trouble is not None and pod.report.trouble.blame == "model":
            return pod.report.trouble
    return None


def trouble(observed: Existing, revision: str) -> Trouble | None:
    """Return what keeps a revision's pods from being ready, as far as it is known."""
    return _refused(observed, revision) or _of_pods(observed.pods_of(revision))


def unchecked(observed: Observed, revision: str) -> Trouble | None:
    """Return that a pod of the desired revision took bytes without a look at the signature that the spec asks for.

    A runtime that checks says so together with the digest; an older one, named by `spec.runtime.image`, says nothing.
    """
    if observed.spec.model.signature is None:
        return None
    for pod in observed.pods_of(revision):
        report = pod.report
        if report is not None and report.phase in {"Waiting", "Loading", "Ready"} and not report.signature:
            message = f"pod {pod.name}: runtime {report.version or 'of an unknown version'} took the model and does not"
            return Trouble(Reason.SIGNATURE_NOT_CHECKED, f"{message} say that it checked its signature", "surroundings")
    return None


def of_autoscaler(observed: Existing) -> str:
    """Return why the autoscaler does not scale, in its own words; empty: it does, or there is none."""
    status = (observed.autoscalers.get(observed.owner.name) or {}).get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") in ("AbleToScale", "ScalingActive") and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message') or ''}"
    return ""


def _refused(observed: Existing, revision: str) -> Trouble | None:
    status = (observed.deployments.get(revision) or {}).get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = condition.get("message") or ""
            reason = Reason.QUOTA_EXCEEDED if "exceeded quota" in message else Reason.PODS_FORBIDDEN
            return Trouble(reason, message, "surroundings")
    return None


def _of_pods(pods: tuple[Pod, ...]) -> Trouble | None:
    for pod in pods:
        reason, message = pod.waiting
        if reason:
            return Trouble(
                _BY_WAITING.get(reason, Reason.POD_CONFIG_ERROR), f"pod {pod.name}: {reason}: {message}", "surroundings"
            )
    for pod in pods:
        if not pod.ready and pod.report is not None and pod.report.trouble is not None:
            told = pod.report.trouble
            return Trouble(reasons.known(told.reason), told.message, told.blame)
    return None
