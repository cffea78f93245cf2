"""Ships lines of access logs to the collector in batches, and remembers a line only when the collector has it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from wakeline.clock import Clock
from wakeline.play.batching import Batch
from wakeline.shipping.formats import Reader
from wakeline.shipping.identity import line_id
from wakeline.shipping.logfile import MAX_LINE_BYTES, LogLine, Position, Segment
from wakeline.shipping.messages import Convert
from wakeline.shipping.position_file import PositionFile, RejectedLine
from wakeline.shipping.refusals import MAX_MESSAGE_BYTES, Deliver, deliver_in_parts
from wakeline.shipping.request import BadLineError

# Lines that become nothing are remembered too, so that a restart need not read them again.
_LINES_PER_SAVE = 10_000
# Rejected lines wait in memory, and whoever wants to fill it sends the longest.
_BYTES_PER_SAVE = 16_000_000


@dataclass(slots=True)
class Counts:
    """What became of the lines: lines = sent + skipped + rejected; `bytes` are those of the lines."""

    lines: int = 0
    sent: int = 0
    skipped: int = 0
    rejected: int = 0
    batches: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Pending:
    """Lines read and not remembered yet."""

    batch: Batch = field(default_factory=Batch)
    in_batch: list[LogLine] = field(default_factory=list)
    rejected: list[RejectedLine] = field(default_factory=list)
    refused: int = 0
    lines: int = 0
    bytes: int = 0
    end: Position | None = None

    def refuse(self, place: int, reason: str) -> None:
        """The collector does not take the message at this place of the batch."""
        self.refused += 1
        self.rejected.append(RejectedLine(self.in_batch[place], f"the collector refused it ({reason})"))

    @property
    def sent(self) -> int:
        return len(self.batch) - self.refused

    @property
    def is_much(self) -> bool:
        return self.lines >= _LINES_PER_SAVE or self.bytes >= _BYTES_PER_SAVE


class Shipper:
    """Reads, converts and delivers; `report` is called after whatever was remembered."""

    def __init__(
        self,
        read: Reader,
        convert: Convert,
        deliver: Deliver,
        positions: PositionFile,
        clock: Clock,
        stopped: Callable[[], bool] = lambda: False,
        report: Callable[[Counts], None] = lambda counts: None,
    ) -> None:
        self.counts = Counts()
        self._read = read
        self._convert = convert
        self._deliver = deliver
        self._positions = positions
        self._clock = clock
        self._stopped = stopped
        self._report = report
        self._pending = _Pending()

    def ship(self, segments: Iterable[Segment]) -> bool:
        """Ship every line of the segments; False when somebody wanted an end before."""
        self._pending = _Pending()  # What an earlier call could not end is read again.
        for segment in segments:
            for line in segment.read():
                if self._stopped() or not self._add(line):
                    return False
        return self._flush()

    def _add(self, line: LogLine) -> bool:
        message, rejected = self._converted(line)
        if message and not self._pending.batch.has_room_for(message) and not self._flush():
            return False
        pending = self._pending
        if message:
            pending.batch.add(message, self._clock())
            pending.in_batch.append(line)
        if rejected:
            pending.rejected.append(rejected)
        pending.lines += 1
        pending.bytes += line.end.offset - line.offset
        pending.end = line.end
        return not pending.is_much or self._flush()

    def _converted(self, line: LogLine) -> tuple[bytes | None, RejectedLine | None]:
        try:
            message = self._message(line)
            return (_sound_body(message) if message else None), None
        except BadLineError as error:
            return None, RejectedLine(line, str(error))

    def _message(self, line: LogLine) -> dict[str, Any] | None:
        if line.is_cut:
            raise BadLineError(f"it is longer than {MAX_LINE_BYTES} bytes")
        try:
            text = line.text.decode()
        except UnicodeDecodeError as error:
            raise BadLineError("it is not UTF-8") from error
        request = self._read(text)
        return self._convert(request, line_id(line.end.fingerprint, line.offset, line.text))

    def _flush(self) -> bool:
        pending = self._pending
        if pending.end is None:
            return True
        if pending.batch and not deliver_in_parts(pending.batch, self._deliver, pending.refuse):
            return False
        self._positions.save(pending.end, pending.rejected)
        self._count(pending)
        self._report(self.counts)
        self._pending = _Pending()
        return True

    def _count(self, done: _Pending) -> None:
        self.counts.lines += done.lines
        self.counts.bytes += done.bytes
        self.counts.sent += done.sent
        self.counts.rejected += len(done.rejected)
        self.counts.skipped += done.lines - done.sent - len(done.rejected)
        self.counts.batches += 1 if done.batch else 0


def _sound_body(message: dict[str, Any]) -> bytes:
    body = orjson.dumps(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise BadLineError(f"its message would be {len(body)} bytes, more than {MAX_MESSAGE_BYTES}")
    return body
