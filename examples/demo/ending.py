"""The end of the demo: the summary where all went well, and what there is to look at where it did not."""

from examples.demo.acts import Play
from examples.demo.answers import Account
from examples.demo.commands import CommandError, DemoError, Kubectl
from examples.demo.reading import summary
from examples.demo.stage import SYSTEM


def summarize(play: Play) -> None:
    """Print what was measured, and hold it against what must be.

    Raises:
        DemoError: A request failed, or a model answered that must not have.
    """
    accounts = [client.account for client in play.clients.values()]
    found = play.findings
    refused = sum(each.answers_by(found.refused) for each in accounts)
    demoted = sum(each.answers_by(found.demoted) for each in accounts)
    late = sum(each.after(found.demoted, found.completed_at) for each in accounts)
    failed = sum(each.failed for each in accounts)
    last = max((last for each in accounts if (last := each.last_by(found.demoted)) is not None), default=0.0)
    rows = [
        (f"requests: {each.name}, {kind}", f"{told.sent:,}")
        for each in accounts
        for kind, told in each.newest.modes.items()
    ]
    rows += [
        ("failed requests", str(failed)),
        ("slowest answer", f"{max(each.slowest_seconds for each in accounts):.3f} s"),
        ("answers by the worse model under BlueGreen", str(refused)),
        ("answers by the worse model under RollingUpdate", str(demoted)),
        ("  of these after the switch back was complete", str(late)),
        ("from the deciding report to the worse model's last answer", f"{last - found.decided_at:.2f} s"),
        ("from the deciding outcome to the worse model's last answer", f"{found.outcome_seconds:.2f} s"),
        ("true answers acknowledged", f"{sum(each.accepted for each in accounts):,}"),
        ("true answers refused", str(sum(each.refused for each in accounts))),
        ("time of the whole demo so far", f"{play.stage.report.seconds():.0f} s"),
    ]
    play.stage.report.table("summary", rows)
    unreported = [error for each in accounts for error in each.report_errors]
    problems = [f"{failed} requests failed: {'; '.join(_errors(accounts))}"] if failed else []
    if refused:
        problems.append(f"{found.refused} was rejected and gave {refused} answers")
    if late:
        problems.append(f"{found.demoted} gave up to {late} answers after the switch back was complete")
    if unreported:
        problems.append(f"true answers were refused: {'; '.join(unreported[:3])}")
    if problems:
        raise DemoError("; ".join(problems))


def _errors(accounts: list[Account]) -> list[str]:
    return [error for each in accounts for error in each.errors][:5]


async def diagnose(play: Play) -> None:
    """Print the last objects, the Events and the end of the operator's log."""
    report, kubectl = play.stage.report, play.stage.kubectl
    for each in play.watched.objects.values():
        report.step(f"last seen of {each['metadata']['name']}: {summary(each)}")
    for client in play.clients.values():
        report.step(f"client {client.name}: {client.account.sent} requests, {client.account.failed} failed")
        for error in client.account.errors:
            report.quote(error)
    system = Kubectl(kubectl.program, SYSTEM)
    for where, command in (
        (kubectl, ("get", "mdep,controllerrevisions,deployments,pods,services", "-o", "wide")),
        (kubectl, ("get", "events", "--sort-by=.lastTimestamp")),
        (system, ("get", "pods")),
        (system, ("logs", "-l", "app.kubernetes.io/name=leadline", "--tail=60")),
    ):
        try:
            told = await where(*command, limit_seconds=20)
        except CommandError as error:
            told = str(error)
        report.shell(f"kubectl -n {where.namespace} {' '.join(command)}", "\n".join(told.splitlines()[-60:]))
