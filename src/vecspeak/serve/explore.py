"""`/api`: what the explorer asks beside the answers."""

import math
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import JSONResponse

from vecspeak import __version__
from vecspeak.answers import caution_at
from vecspeak.geometry import parse_point
from vecspeak.serve.chat import number
from vecspeak.serve.failures import ERRORS, Failure
from vecspeak.serve.ground import expression_at, place_of
from vecspeak.serve.layouts import Places
from vecspeak.serve.messages import Expression, Vector
from vecspeak.serve.replies import (
    ConceptReply,
    ConceptsReply,
    EntityReply,
    LabelReply,
    LabelsReply,
    ModelReply,
    NeighbourReply,
    NeighboursReply,
    PointReply,
    SearchReply,
    SpaceReply,
    TaskReply,
    TasksReply,
)
from vecspeak.serve.served import Served
from vecspeak.serve.table import accepted
from vecspeak.space import Point

router = APIRouter(prefix="/api", responses=ERRORS)

COMPUTING: dict[int | str, dict[str, Any]] = {202: {"description": "Being computed; ask again in a second."}}
ARROW = "application/vnd.apache.arrow.stream"
TITLES = {
    "five_positive": "Five strengths",
    "five_negative": "Five weaknesses",
    "convince1": "Convince",
    "convince2": "Convince again",
    "convince3": "Convince once more",
    "dissuade1": "Dissuade",
    "dissuade2": "Dissuade again",
    "why_like_nn": "Why like both",
    "diff_than_nn": "Difference",
    "common_with_nn": "In common",
    "user_profile": "Profile",
}
"""Tasks whose names would tell a person little."""

LayoutName = Literal["umap", "pca", "tsne"]
Layout = Annotated[LayoutName | None, Query(description="The server's default if left out.")]
Id = Annotated[str, Field(max_length=2000)]


class PointRequest(BaseModel):
    """One of `point`, `vector` and `map`."""

    model_config = ConfigDict(extra="forbid")

    point: Expression | None = None
    vector: Vector | None = None
    map: Annotated[list[Annotated[float, Field(ge=-1, le=2)]], Field(min_length=2, max_length=2)] | None = None
    """x and y, 0..1 where the entities are."""
    layout: LayoutName | None = None

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
def model(request: Request) -> ModelReply:
    """What is served."""
    served: Served = request.app.state.served
    space = served.space
    return ModelReply(
        model=served.name,
        space=SpaceReply(
            name=space.name,
            count=len(space),
            dimension=space.dimension,
            metric=space.metric,
            columns=list(served.tables.colours),
            id_example=space.ids[0],
            slot=served.slot,
        ),
        layouts=list(served.layouts.names),
        default_layout=served.layouts.default,
        decoding=vars(served.elm.decoding),
        users=served.has_users,
        version=__version__,
    )


@router.get("/tasks")
def tasks(request: Request) -> TasksReply:
    """The questions that the model was trained on, of one and of two points."""
    served: Served = request.app.state.served
    shown = [task for task in served.tasks if len(task.slots) <= 2]
    return TasksReply(
        tasks=[
            TaskReply(
                name=task.name,
                title=TITLES.get(task.name) or task.name.replace("_", " ").capitalize(),
                prompt=task.prompts[0],
                slots=list(task.slots),
            )
            for task in shown
        ]
    )


@router.get("/space", response_class=Response, responses={200: {"content": {ARROW: {}}}, **COMPUTING})
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
) -> SearchReply:
    """Entities by id or title, best first."""
    served: Served = request.app.state.served
    found = served.index.search(q, limit)
    results = [EntityReply(id=served.space.ids[row], title=served.index.title(row)) for row in found.rows]
    return SearchReply(results=results, total=found.total)


@router.get("/neighbours")
def neighbours(
    request: Request,
    point: Annotated[str, Query(min_length=1, max_length=2000)],
    k: Annotated[int, Query(ge=1, le=100)] = 8,
) -> NeighboursReply:
    """The entities nearest to a point, which is an expression such as 296:356@0.5."""
    served: Served = request.app.state.served
    made = parse_point(served.space, point, directions=served.concepts.directions())
    return NeighboursReply(neighbours=near(made, k, served))


@router.post("/point", response_model=PointReply, responses=COMPUTING)
def point(request: Request, body: PointRequest) -> Any:
    """The geometry of a point: where it lies, what is near, how far from the data, and its nearest words."""
    served: Served = request.app.state.served
    places_N2 = places_for(body, served)
    if body.map is not None and places_N2 is None:
        return computing()
    if body.vector is not None:
        made, text = served.space.point(np.asarray(body.vector), label="vector"), None
    else:
        text = body.point
        if body.map is not None and places_N2 is not None:
            text = expression_at(served.space, places_N2, *body.map)
        assert text is not None
        made = parse_point(served.space, text, directions=served.concepts.directions())
    if body.map is not None:
        place = body.map[0], body.map[1]
    else:
        place = None if places_N2 is None else place_of(served.space, places_N2, made)
    return described(made, text, place, served)


@router.get("/concepts")
def concepts(request: Request) -> ConceptsReply:
    """Directions along which points can be pushed, as in 296+funny*1.5."""
    served: Served = request.app.state.served
    return ConceptsReply(
        concepts=[ConceptReply.of(concept, saved=saved) for concept, saved in served.concepts.listed()]
    )


@router.post("/concepts", status_code=201)
def fit_concept(request: Request, body: ConceptRequest) -> ConceptReply:
    """Fit a concept from entities; refused where it is no better than chance."""
    served: Served = request.app.state.served
    concept = served.concepts.fit(body.name, body.positive, body.negative, save=body.save)
    return ConceptReply.of(concept, saved=body.save)


@router.get("/labels", response_model=LabelsReply, responses=COMPUTING)
def labels(request: Request, layout: Layout = None) -> Any:
    """Words for the regions of the map, largest first."""
    served: Served = request.app.state.served
    found = served.regions.get(layout or served.layouts.default)
    return computing() if found is None else LabelsReply(labels=[LabelReply(**vars(region)) for region in found])


def places_for(body: PointRequest, served: Served) -> Places | None:
    """The layout's places, None while they are computed; a point, other than a place, needs none that have failed."""
    try:
        return served.layouts.get(body.layout or served.layouts.default)
    except Failure as failure:
        if body.map is not None or failure.code != "layout_failed":
            raise
        return None


def computing() -> JSONResponse:
    return JSONResponse({"status": "computing"}, 202, headers={"retry-after": "1"})


def near(point: Point, k: int, served: Served) -> list[NeighbourReply]:
    return [NeighbourReply(**vars(neighbour)) for neighbour in served.space.neighbours(point, k)]


def described(point: Point, text: str | None, place: tuple[float, float] | None, served: Served) -> PointReply:
    """All that is known of a point without asking; `text` is the expression it was made by."""
    distance = number(point.distance)
    row = None if point.id is None else served.space.row(point.id)
    return PointReply(
        label=point.label,
        point=text,
        hypothetical=point.id is None,
        x=place and place[0],
        y=place and place[1],
        distance=distance,
        caution=caution_at(distance),
        neighbours=near(point, 8, served),
        words=served.elm.words(point, 8),
        vector=point.vector.tolist(),
        row=row and {name: plain(value) for name, value in row.items()},
    )


def plain(value: Any) -> Any:
    """A column's value as JSON has it: no NaN, no bytes, dates as text."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
