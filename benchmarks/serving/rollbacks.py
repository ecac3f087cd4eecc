"""The part of docs/benchmarks.md on rollbacks, made from results/rollback.json. Pure: a dict in, text out."""

from .decisions import table

HEAD = """\
## Rollbacks

    make bench-rollback                      # twelve minutes, a cluster included

Twenty times on a real cluster a worse model is switched in and condemned by pairs on the same inputs, while a client asks 40 times a
second (30 over sixteen kept connections, 10 each over a new one) and another one 10 times over one gRPC stream. Measured is the time
from the acknowledgement of the deciding outcome to the worse model's last answer to either. A stream that is ended with "call
again" is opened anew, and what it had not answered is asked once more.
"""


def text(results: dict) -> str:
    """Return the section."""
    figures, rounds = results["summary"], results["rounds"]
    requests, messages = (sum(each[name] for each in rounds) for name in ("requests", "messages"))
    seconds, failed = figures["median_seconds"], figures["failed_requests"] + figures["failed_messages"]
    rows = [
        ["median_seconds", f"{seconds:g}", "<= 2", "yes" if seconds <= 2 else "no", "to the last answer to either"],
        ["worst_seconds", f"{figures['worst_seconds']:g}", "", "", "the same, the slowest rollback"],
        [
            "median_stream_seconds",
            f"{figures['median_stream_seconds']:g}",
            "",
            "",
            "to the last answer over the stream",
        ],
        [
            "failed",
            f"{failed}",
            "<= 0",
            "no" if failed else "yes",
            f"of {requests:,} requests and {messages:,} messages",
        ],
        [
            "messages_asked_again",
            f"{figures['messages_asked_again']}",
            "",
            "",
            "that a stream had not answered when it ended",
        ],
        ["median_pairs", f"{figures['median_pairs']:g}", "", "", "until the worse model was condemned"],
    ]
    return "\n".join([HEAD, table(["figure", "found", "goal", "met", "what it is"], rows)])
