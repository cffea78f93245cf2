"""Warnings of a run that lasts: an outage repeats one sentence twice a second, which nobody reads."""

from collections.abc import Callable

from wakeline.clock import Clock

#: A sentence that comes again is said again after so long, with how often it came meanwhile.
PAUSE_MS = 60_000


class Warnings:
    """Says each sentence at once, and its repetitions once a minute; for one thread."""

    def __init__(self, say: Callable[[str], None], clock: Clock) -> None:
        self._say = say
        self._clock = clock
        #: Sentence -> when it was said last, and how often it came since.
        self._said: dict[str, tuple[int, int]] = {}
        #: How many there were in all.
        self.count = 0
        #: The latest sentence, empty when there was none.
        self.last = ""

    def __call__(self, sentence: str) -> None:
        now_ms = self._clock()
        self.count, self.last = self.count + 1, sentence
        self._forget(now_ms)
        said_ms, repeated = self._said.get(sentence, (None, 0))
        if said_ms is not None and now_ms - said_ms < PAUSE_MS:
            self._said[sentence] = said_ms, repeated + 1
            return
        self._said[sentence] = now_ms, 0
        self._say(f"{sentence} ({repeated} times more since it was said last)" if repeated else sentence)

    def _forget(self, now_ms: int) -> None:
        """Sentences that have not come for long, or that nobody waits to hear the number of."""
        self._said = {
            sentence: (said_ms, repeated)
            for sentence, (said_ms, repeated) in self._said.items()
            if repeated or now_ms - said_ms < PAUSE_MS
        }
