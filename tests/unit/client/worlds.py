"""The world as a flow sees it: a server that is a function, a clock that waiting moves, and a store."""

import json

from leadline_client import delivering, errors, retrying, steps

RECEIPT = (
    "1.37b576c3.digits-1.1000000...01a21bba71da716db9bd4e88e1b2{number:04x}.{words}.1034fde960a02368c1a2dfffc1eeb847"
)


def receipt(number=0, words="i2"):
    return RECEIPT.format(number=number, words=words)


def response(told, status=200, **headers):
    return steps.Response(status, headers, json.dumps(told).encode())


class World:
    """Does what flows ask for, each request taking `takes_seconds`; keeps what they sent and how long they waited."""

    def __init__(self, *answers, server=None, draw=0.0, takes_seconds=0.01):
        self.answers, self.server = list(answers), server
        self.now, self.wall_offset = 100.0, 1_700_000_000.0
        self.sent, self.waits = [], []
        self.takes_seconds = takes_seconds
        self.edge = steps.Edge(lambda: self.now, lambda: self.now + self.wall_offset, lambda: draw)

    @property
    def wall(self):
        return self.edge.wall()

    def budget(self, seconds=10.0, tries=8):
        return retrying.Budget(self.now + seconds, tries)

    def way(self, store=None, *, is_outbox=True, model="digits"):
        return delivering.Way(model, store, is_outbox and store is not None, self.edge)

    def run(self, flow):
        result = error = None
        while True:
            try:
                step = flow.send(result) if error is None else flow.throw(error)
            except StopIteration as end:
                return end.value
            result = error = None
            if isinstance(step, steps.Send):
                assert step.timeout_seconds > 0
                self.sent.append(step.request)
                self.now += self.takes_seconds
                result = self.server(step.request) if self.server is not None else self.answers.pop(0)
            elif isinstance(step, steps.Wait):
                self.waits.append(step.seconds)
                self.now += step.seconds
            else:
                try:
                    result = step.call()
                except errors.ClientError as raised:
                    error = raised


class Ledger:
    """A server that takes outcomes as the runtime does; `down` answers 503, `spoil` says what it refuses and how."""

    def __init__(self):
        self.told, self.calls = {}, []
        self.down = False
        self.whole = None
        """Status of all answers."""
        self.spoil = lambda item: None

    def __call__(self, request):
        assert request.path == "/outcomes"
        items = json.loads(request.body)
        self.calls.append(items)
        if self.down:
            return response({"error": "the ledger does not answer"}, 503, **{"retry-after": "1"})
        if self.whole is not None:
            return response({"error": f"{self.whole} on purpose"}, self.whole)
        accepted, repeated, refused = 0, [], []
        for place, item in enumerate(items):
            name = (item.get("receipt") or item.get("id"), item.get("row", 0))
            answer = (item.get("truth"), item.get("correct"), item.get("score"))
            if status := self.spoil(item):
                refused.append({"index": place, "status": status, "error": f"{status} on purpose"})
            elif name not in self.told:
                self.told[name] = answer
                accepted += 1
            elif self.told[name] == answer:
                repeated.append(place)
            else:
                refused.append({"index": place, "status": 409, "error": "another answer"})
        told = {"accepted": accepted, "duplicates": len(repeated)}
        told |= {"repeated": repeated} if repeated and accepted else {}
        told |= {"refused": refused} if refused else {}
        return response(told, 207 if refused else 200)
