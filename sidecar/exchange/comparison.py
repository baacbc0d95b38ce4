"""A duplicate of what is recorded: its payload is compared, then it is answered from the record."""

from sidecar.exchange import states
from sidecar.exchange.core import LARGE_BODY_MS, Effects
from sidecar.exchange.effects import Answer, ExtendTimeout, LargeReply, ReadRequestBody, Reply
from sidecar.exchange.events import Recorded, RequestBody, RequestTrailers
from sidecar.exchange.replying import Replying
from sidecar.idempotency.advertising import with_advertised
from sidecar.idempotency.grpc import GrpcStatus, status_in
from sidecar.idempotency.policy import BodyMode
from sidecar.idempotency.problem import (
    BodyInvalid,
    BodyTooLarge,
    KeyReused,
    ResponseNotRepeatable,
    ResponseNotStored,
)
from sidecar.idempotency.record import Record
from sidecar.idempotency.replay import replay_headers

REPLAY_DETAILS = "idempotency_replayed"
"""What Envoy's access log shows of a replay."""


class Comparison(Replying):
    """Actions of COMPARING, and the way there."""

    def consult_record(self, event: Recorded) -> Effects:
        """It was executed: replay it, once the payload is known to be the same (G3)."""
        self._record, self._expires_ms = event.record, event.expires_ms
        unread = self._request_has_body and not self._is_whole
        if self._record.fingerprint is not None and unread and self._counts_body:
            self.state = states.COMPARING
            return self._asking(ReadRequestBody())
        return self._answer_from_record()

    @property
    def _counts_body(self) -> bool:
        return self._policy.fingerprint.body is not BodyMode.NONE

    def compare(self, event: RequestBody) -> Effects:
        """Take in a piece of the duplicate's body; answer at its end."""
        self._take_in(event.data, ends=event.end_of_stream)
        if self._fingerprint.taken > self._most_held:
            return self._refuse(BodyTooLarge(self._most_held))
        if event.end_of_stream or self._differs_already(self._record.fingerprint):
            return self._answer_from_record()
        return ()

    def compare_at_trailers(self, _event: RequestTrailers) -> Effects:
        """The duplicate's body ended with trailers."""
        return self._answer_from_record()

    def _answer_from_record(self) -> Effects:
        record = self._record
        try:
            if record.fingerprint is not None and not self._fingerprint.equals(record.fingerprint):
                return self._refuse(KeyReused())
        except BodyInvalid as problem:
            return self._refuse(problem)
        if not record.replayable:
            return self._refuse(ResponseNotStored(record.status, self._call_status(record)))
        headers, to_call = (
            with_advertised(replay_headers(record), self._advertised()),
            self._grpc_call is not None,
        )
        if not self._can_give(headers, record.body, record.trailers):
            return self._refuse(ResponseNotRepeatable(record.status, self._call_status(record)))
        counted, body = self._count("replayed"), record.body
        if isinstance(body, bytes):
            self.state = states.ANSWERED
            reply = Reply(record.status, headers, body, REPLAY_DETAILS, record.trailers, to_call=to_call)
            return (reply, counted)
        self._large = LargeReply(record.status, headers, body, REPLAY_DETAILS, record.trailers, to_call)
        return (*self._patience_to_gather(), *self._begin_to_give(counted))

    def _patience_to_gather(self) -> tuple[Answer, ...]:
        """Where all pieces are gathered for one message, and it is the head that waits for it.

        Where the body was read, Envoy waits without a limit; after a wait it was asked for patience already.
        """
        read = self._request_has_body and (self._is_whole or self._counts_body)
        if read or self._waited or self._gives_piecewise:
            return ()
        return self._asking(ExtendTimeout(LARGE_BODY_MS))

    def _call_status(self, record: Record) -> GrpcStatus | None:
        """What the recorded gRPC call ended with."""
        return None if self._grpc_call is None else status_in(record.trailers, record.headers)
