"""The application: routes, gate and measures around what is served."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from vecspeak import __version__
from vecspeak.serve import chat, explore, failures
from vecspeak.serve.guard import Access, Guard
from vecspeak.serve.metrics import Measured
from vecspeak.serve.served import Served

STATIC = Path(__file__).parent / "static"

ABOUT = """Ask any point of an embedding space in plain language.

`/v1` speaks OpenAI's chat completions, with points as content parts: `{"type": "entity", "entity": "296"}`,
`{"type": "point", "point": "296:356@0.5"}`, `{"type": "vector", "vector": [...]}`. `/api` is what the explorer asks.
"""


def make_app(served: Served, *, access: Access, origins: Sequence[str] = ()) -> FastAPI:
    """The app of one server; it closes what is served when it ends.

    Args:
        access: who may ask.
        origins: pages of other sites that may; none by default.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        served.layouts.start()
        yield
        served.close()

    app = FastAPI(
        title="vecspeak",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # their pages come from a content network
        redoc_url=None,
    )
    app.state.served = served
    failures.install(app)
    app.include_router(chat.router, tags=["OpenAI"])
    app.include_router(explore.router, tags=["explorer"])
    _add_upkeep(app, served)
    # the last one added is the outermost; compression leaves event streams alone
    app.add_middleware(GZipMiddleware, compresslevel=5)
    app.add_middleware(Guard, access=access, limits=served.limits)
    if origins:
        # of all headers: OpenAI's client sends some of its own
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    app.add_middleware(Measured, metrics=served.metrics)
    return app


def _add_upkeep(app: FastAPI, served: Served) -> None:
    @app.get("/health", tags=["upkeep"])
    async def health() -> dict[str, str]:
        """Answers as soon as questions are."""
        return {"status": "ok"}

    @app.get("/metrics", tags=["upkeep"], response_class=PlainTextResponse)
    def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(served.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        """The explorer."""
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/assets", _Assets(directory=STATIC / "assets", check_dir=False), name="assets")


class _Assets(StaticFiles):
    """The built page's files; their names change with their content."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response
