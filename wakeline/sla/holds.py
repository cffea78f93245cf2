"""Which campaigns wait for their inputs, asked at every micro-batch and looked up seldom."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wakeline.clock import Clock
from wakeline.sla.inputs import Input, stale_inputs

#: Between two looks at when the batch models were built.
_LOOK_MS = 5_000


class Holds:
    """The inputs of every marketing campaign; `built_at_ms` asks the warehouse: model -> its last successful build."""

    def __init__(
        self, inputs: Mapping[str, Sequence[Input]], built_at_ms: Callable[[], Mapping[str, int]], clock: Clock
    ) -> None:
        self._inputs = inputs
        self._ask = built_at_ms
        self._clock = clock
        self._built_at_ms: Mapping[str, int] = {}
        self._looked_ms: int | None = None
        self._any_is_built = any(not one.is_streamed for own in inputs.values() for one in own)

    def stale(self, read_until_ms: int) -> dict[str, Mapping[str, Any]]:
        """Campaign -> why it is held, where it is; the lanes have read what was appended until `read_until_ms`.

        Raises WarehouseError.
        """
        now_ms = self._clock()
        if self._any_is_built and (self._looked_ms is None or now_ms - self._looked_ms >= _LOOK_MS):
            self._built_at_ms = self._ask()
            self._looked_ms = now_ms
        return stale_inputs(self._inputs, self._built_at_ms, read_until_ms, now_ms)
