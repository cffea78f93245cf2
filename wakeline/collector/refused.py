"""How a request that is not taken is answered: a status and one clear sentence as `{"error": ...}`."""

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from wakeline.errors import StreamError, StreamFullError, WakelineError

# How long a client waits after an error that does not say how long it lasts.
STREAM_RETRY_SECONDS = 5


class RefusedError(WakelineError):
    """Nothing of the request was taken; the client repairs it, or sends it again after `Retry-After`."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


def try_again(status: int, reason: str, retry_after_seconds: int) -> RefusedError:
    """A refusal that asks for the same request again."""
    return RefusedError(status, reason, {"Retry-After": str(retry_after_seconds)})


async def answer_refused(request: Request, error: Exception) -> Response:
    """The answer to a request for which one of `ANSWERED_ERRORS` was raised."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)  # Nobody is there to read it, and it is no error of ours.
    refused = _as_refused(error)
    return JSONResponse({"error": str(refused)}, refused.status, refused.headers)


def _as_refused(error: Exception) -> RefusedError:
    match error:
        case RefusedError():
            return error
        case StreamFullError():
            return try_again(503, str(error), error.retry_after_seconds)
        case StreamError():
            return try_again(503, str(error), STREAM_RETRY_SECONDS)
        case HTTPException():
            return RefusedError(error.status_code, f"{error.detail}.", dict(error.headers or {}))
    raise error


#: For Starlette's `exception_handlers`; anything else raised is a bug: 500, and a stack trace in the log.
ANSWERED_ERRORS = dict.fromkeys((RefusedError, StreamError, HTTPException, ClientDisconnect), answer_refused)
