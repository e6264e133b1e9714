"""`/api`: what the explorer asks beside the answers."""

import math
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import JSONResponse

from vecspeak import __version__
from vecspeak.concepts import Concept
from vecspeak.elm import caution_at
from vecspeak.geometry import parse_point
from vecspeak.serve.chat import number
from vecspeak.serve.failures import ERRORS
from vecspeak.serve.ground import place_of, point_at
from vecspeak.serve.messages import Expression, Vector
from vecspeak.serve.served import Served
from vecspeak.serve.table import accepted
from vecspeak.space import Point

router = APIRouter(prefix="/api", responses=ERRORS)

ARROW = "application/vnd.apache.arrow.stream"
Layout = Annotated[str | None, Query(max_length=20, description="umap, pca or tsne; the model's default if left out")]
Id = Annotated[str, Field(max_length=2000)]


class PointRequest(BaseModel):
    """One of `point`, `vector` and `map`."""

    model_config = ConfigDict(extra="forbid")

    point: Expression | None = None
    vector: Vector | None = None
    map: Annotated[list[Annotated[float, Field(ge=-1, le=2)]], Field(min_length=2, max_length=2)] | None = None
    """x and y, 0..1 where the entities are."""
    layout: Annotated[str, Field(max_length=20)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "PointRequest":
        if sum(value is not None for value in (self.point, self.vector, self.map)) != 1:
            raise ValueError("give one of point, vector and map")
        return self


class ConceptRequest(BaseModel):
    """Entities that have something, and some that have not."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=60)]
    positive: Annotated[list[Id], Field(max_length=100_000)]
    negative: Annotated[list[Id], Field(max_length=100_000)] | None = None
    """All others where left out."""
    save: bool = False
    """Keep it beside the space, not only while the server runs."""


@router.get("/model")
def model(request: Request) -> dict[str, Any]:
    """What is served."""
    served: Served = request.app.state.served
    space = served.space
    one = next((task for task in served.tasks if len(task.slots) == 1), None)
    return {
        "model": served.name,
        "space": {
            "name": space.name,
            "count": len(space),
            "dimension": space.dimension,
            "metric": space.metric,
            "columns": list(served.tables.colours),
            "id_example": space.ids[0],
            "slot": one.slots[0] if one else "x",
        },
        "layouts": served.layouts.names,
        "default_layout": served.layouts.default,
        "decoding": vars(served.elm.decoding),
        "users": served.has_users,
        "version": __version__,
    }


@router.get("/tasks")
def tasks(request: Request) -> dict[str, Any]:
    """The questions that the model was trained on, of one and of two points."""
    served: Served = request.app.state.served
    return {
        "tasks": [
            {
                "name": task.name,
                "title": task.name.replace("_", " ").capitalize(),
                "prompt": task.prompts[0],
                "slots": list(task.slots),
            }
            for task in served.tasks
            if len(task.slots) <= 2
        ]
    }


@router.get("/space", responses={200: {"content": {ARROW: {}}}, 202: {"description": "The layout is being computed."}})
def space(request: Request, layout: Layout = None) -> Response:
    """All entities for the map, as an Arrow IPC stream: id, title, x, y (0..1), then the columns that can colour."""
    served: Served = request.app.state.served
    encoding = accepted(request.headers.get("accept-encoding", ""))
    payload = served.tables.payload(layout or served.layouts.default, encoding)
    if payload is None:
        return computing()
    headers = {"etag": payload.tag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == payload.tag:
        return Response(status_code=304, headers=headers)
    if encoding != "identity":
        headers["content-encoding"] = encoding
    return Response(payload.body, headers=headers, media_type=ARROW)


@router.get("/search")
def search(
    request: Request,
    q: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """Entities by id or title, best first."""
    served: Served = request.app.state.served
    found = served.index.search(q, limit)
    results = [{"id": served.space.ids[row], "title": served.index.title(row)} for row in found.rows]
    return {"results": results, "total": found.total}


@router.get("/neighbours")
def neighbours(
    request: Request,
    point: Annotated[str, Query(min_length=1, max_length=2000)],
    k: Annotated[int, Query(ge=1, le=100)] = 8,
) -> dict[str, Any]:
    """The entities nearest to a point, which is an expression such as 296:356@0.5."""
    served: Served = request.app.state.served
    made = parse_point(served.space, point, directions=served.concepts.directions())
    return {"neighbours": [vars(near) for near in served.space.neighbours(made, k)]}


@router.post("/point")
def point(request: Request, body: PointRequest) -> dict[str, Any]:
    """The geometry of a point: where it lies, what is near, how far from the data, and its nearest words."""
    served: Served = request.app.state.served
    space, layout = served.space, body.layout or served.layouts.default
    places_N2 = served.layouts.get(layout)
    if body.point is not None:
        made = parse_point(space, body.point, directions=served.concepts.directions())
    elif body.vector is not None:
        made = space.point(np.asarray(body.vector, np.float32), label="vector")
    else:
        assert body.map is not None
        if places_N2 is None:
            return computing()
        made = point_at(space, places_N2, *body.map)
    place = place_of(space, places_N2, made) if places_N2 is not None else None
    if body.map is not None:
        place = tuple(body.map)
    return described(made, place, served)


@router.get("/concepts")
def concepts(request: Request) -> dict[str, Any]:
    """Directions along which points can be pushed, as in 296+funny*1.5."""
    served: Served = request.app.state.served
    return {"concepts": [concept_told(concept, saved=saved) for concept, saved in served.concepts.listed()]}


@router.post("/concepts", status_code=201)
def fit_concept(request: Request, body: ConceptRequest) -> dict[str, Any]:
    """Fit a concept from entities; refused where it is no better than chance."""
    served: Served = request.app.state.served
    concept = served.concepts.fit(body.name, body.positive, body.negative, save=body.save)
    return concept_told(concept, saved=body.save)


@router.get("/labels", responses={202: {"description": "The labels are being made."}})
def labels(request: Request, layout: Layout = None) -> Any:
    """Words for the regions of the map."""
    served: Served = request.app.state.served
    found = served.regions.get(layout or served.layouts.default)
    return computing() if found is None else {"labels": [vars(region) for region in found]}


def computing() -> JSONResponse:
    return JSONResponse({"status": "computing"}, 202, headers={"retry-after": "1"})


def described(point: Point, place: tuple[float, float] | None, served: Served) -> dict[str, Any]:
    """A point as JSON values."""
    space, elm = served.space, served.elm
    distance = number(point.distance)
    x, y = place or (None, None)
    return {
        "label": point.label,
        "hypothetical": point.id is None,
        "x": x,
        "y": y,
        "distance": distance,
        "caution": caution_at(distance),
        "neighbours": [vars(near) for near in space.neighbours(point, 8)],
        "words": elm.words(point, 8),
        "vector": point.vector.tolist(),
        "row": None if point.id is None else {name: plain(value) for name, value in space.row(point.id).items()},
    }


def plain(value: Any) -> Any:
    """A column's value as JSON has it: no NaN, no bytes, dates as text."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def concept_told(concept: Concept, *, saved: bool) -> dict[str, Any]:
    quality = concept.quality
    told = None if quality is None else {**quality.model_dump(), "text": str(quality)}
    return {"name": concept.name, "source": concept.source, "quality": told, "saved": saved}
