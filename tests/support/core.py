"""The core of recording without a proxy: a recorder whose spool is a list."""

from __future__ import annotations

from tracecli.capture import Capture, Recorder, RequestHead
from tracecli.exchange import Captured
from tracecli.policy.rules import PolicySet
from tracecli.providers.hosts import Hosts

KEY = "sk-proj-0123456789abcdefghij"


class Spool(list[Captured]):
    """Collects what is written."""

    def write(self, captured: Captured) -> bool:
        """Keep an exchange."""
        self.append(captured)
        return True


def recorder_into(spool: Spool) -> Recorder:
    """A recorder with a policy for each of the users `metered`, `nothing` and `small`, and the default for others."""
    policies = PolicySet(
        {"default": {}, "small": {"max_body_bytes": 10}},
        {"metered": {"tracing": False}, "nothing": {"tracing": False, "metering": False}, "small": {"policy": "small"}},
    )
    return Recorder(
        hosts=Hosts(["gateway.example=openai"]),
        user_headers=["X-Tracecli-User"],
        secret=b"s" * 32,
        policies=policies,
        write=spool.write,
    )


def head(
    path: str = "/v1/chat/completions", method: str = "POST", host: str = "api.openai.com", **headers: str
) -> RequestHead:
    """A request with a credential; `headers` with underscores for dashes."""
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return RequestHead(method, "https", host, 443, path, "HTTP/1.1", [("Authorization", f"Bearer {KEY}"), *given])


def begun(recorder: Recorder, request: RequestHead, now: float = 100.0) -> Capture:
    """The capture of a request that is recorded, before its body passes."""
    capture = recorder.begin(request, now, "flows").capture
    assert capture is not None
    assert capture.decide(None) is None
    assert not capture.ignored
    return capture
