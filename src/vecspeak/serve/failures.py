"""What a client is told when something is wrong: OpenAI's shape of an error, for every path and every status."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from vecspeak.errors import ConceptError, ConfigError, PointError, PromptError, VecspeakError

logger = logging.getLogger("vecspeak.serve")

TOLD = (PointError, PromptError, ConfigError, ConceptError)
"""What a request can be to blame for; any other error is about files of the server, which its log tells of."""

LONGEST = 600
"""Characters of a message: it may repeat what the client sent."""


class Failure(Exception):
    """A request that cannot be answered, and why."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code, self.headers = status, kind, param, code, headers

    @property
    def body(self) -> dict[str, Any]:
        # a lone half of a surrogate pair, which JSON may carry, is not UTF-8
        message = str(self).encode("utf-8", "replace").decode()
        message = message if len(message) <= LONGEST else f"{message[:LONGEST]} ..."
        return {"error": {"message": message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, headers=self.headers)


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's shape of an error."""

    error: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "What is wrong with the request, and what to do."},
    "5XX": {"model": ErrorBody, "description": "The server is at fault, or ran out of time."},
}
"""For the OpenAPI document of every route."""

OUT_OF_TIME = (
    "The answer was not finished within {seconds:g} s. Ask for fewer tokens, or come again when less is asked."
)


def too_slow(seconds: float) -> Failure:
    return Failure(504, OUT_OF_TIME.format(seconds=seconds), kind="server_error", code="timeout")


def our_fault() -> Failure:
    return Failure(500, "The server failed; its log says how.", kind="server_error", code="internal_error")


def install(app: FastAPI) -> None:
    """Every error of the app becomes a Failure's response; what is not known is logged and not told."""

    @app.exception_handler(Failure)
    async def _(_: Request, failure: Failure) -> JSONResponse:
        return failure.response

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        return unreadable(error, request.headers.get("content-type", "")).response

    @app.exception_handler(HTTPException)
    async def _(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        headers = dict(error.headers) if error.headers else None
        return Failure(error.status_code, str(error.detail), code=code, headers=headers).response

    @app.exception_handler(VecspeakError)
    async def _(_: Request, error: VecspeakError) -> JSONResponse:
        if isinstance(error, TOLD):
            return refused(error).response
        logger.error("A request failed", exc_info=error)
        return our_fault().response

    @app.exception_handler(Exception)
    async def _(_: Request, __: Exception) -> JSONResponse:
        return our_fault().response  # Starlette raises it again after that, so that the log has it


def refused(error: VecspeakError) -> Failure:
    """What a user can mend, in the words of the library."""
    return Failure(400, str(error), code=type(error).__name__.removesuffix("Error").lower())


def unreadable(error: RequestValidationError, content_type: str) -> Failure:
    """The first thing that is wrong in a request, and where."""
    fault = error.errors()[0]
    if fault["loc"] == ("body",) and "json" not in content_type:
        return Failure(400, "The body is not said to be JSON. Send the header Content-Type: application/json.")
    place = [str(part) for part in fault["loc"][1:]]
    where = ".".join(place) or str(fault["loc"][0])
    if fault["type"] == "json_invalid":
        where, place = "body", []
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    message = f"{where}: {fault['msg'].removeprefix('Value error, ')}{more}"
    return Failure(400, message, param=".".join(place) or None, code="invalid_value")
