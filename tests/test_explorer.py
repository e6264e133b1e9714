"""The explorer in a real browser, asking a real server of the bundled films."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect, sync_playwright

AXE = Path(__file__).parents[1] / "explorer/node_modules/axe-core/axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# no sandbox: containers have none; the rest keeps the browser from calling home
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SLOW = 40_000
"""Milliseconds that an answer, or the map, may take on a busy machine."""
FILL = 0.88
"""Share of its box that the map fills, as in explorer/src/map/plot.ts."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium, or any Chrome on the PATH"),
    pytest.mark.skipif(not AXE.exists(), reason="needs the explorer's npm packages: cd explorer && npm ci"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `vecspeak serve films`, whose maps are yet to be computed."""
    command = [sys.executable, "-m", "vecspeak.cli", "serve", "films", "--port", "0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            yield found[0]
            break
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """One person's browser at the explorer, and everything it asks."""

    page: Page
    server: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of the chat requests."""
    refusals: int = 0
    """Requests that the server is meant to refuse; the browser itself writes each on the console."""

    def open(self, search: str = "?layout=pca") -> None:
        self.page.goto(f"{self.server}/{search}")
        self.drawn()

    def drawn(self) -> None:
        self.page.wait_for_selector("html[data-map=drawn]", timeout=SLOW)

    def answered(self) -> str:
        """The answer, once it is whole."""
        self.page.wait_for_selector(".answer.done", timeout=SLOW)
        return self.page.inner_text(".answer .said")

    def title(self) -> str:
        return self.page.inner_text(".head h2")

    def click(self, x: float, y: float) -> None:
        """Clicks a place of the map, in 0..1."""
        box = self.page.locator(".ground").bounding_box()
        assert box is not None
        left, top = (1 + (2 * x - 1) * FILL) / 2, (1 - (2 * y - 1) * FILL) / 2
        self.page.mouse.click(box["x"] + left * box["width"], box["y"] + top * box["height"])

    def parts(self) -> list[dict[str, Any]]:
        """Content parts of the last question."""
        return self.asked[-1]["messages"][0]["content"]

    def faults(self) -> list[str]:
        """Serious violations that axe-core finds."""
        # through the debugger, as the page's content security policy forbids foreign scripts
        self.page.evaluate(AXE.read_text("utf-8") + "\n;undefined")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{fault['id']}: {node['html'][:120]}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]


@pytest.fixture
def visit(browser: Browser, server: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh browser; afterwards: no error on its console, and nothing asked of anyone but the server."""
    context: BrowserContext = browser.new_context(**getattr(request, "param", {}))
    visit = Visit(context.new_page(), server)
    errors: list[str] = []
    addresses: list[str] = []

    def sent(request: Request) -> None:
        addresses.append(request.url)
        if request.url.endswith("/v1/chat/completions"):
            visit.asked.append(json.loads(request.post_data or "null"))

    visit.page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    visit.page.on("pageerror", lambda error: errors.append(str(error)))
    visit.page.on("request", sent)
    yield visit
    context.close()
    assert [error for error in errors if "400 (Bad Request)" not in error] == []
    assert sum("400 (Bad Request)" in error for error in errors) == visit.refusals
    assert [a for a in addresses if not a.startswith((server, "blob:", "data:"))] == []


@pytest.fixture(scope="module")
def films(server: str) -> pa.Table:
    """The table of the map, as the page gets it."""
    return pa.ipc.open_stream(httpx.get(f"{server}/api/space?layout=pca").content).read_all()


def test_the_first_visit_waits_for_the_map_and_what_is_chosen_meanwhile_stays(visit: Visit) -> None:
    failed: list[bool] = []

    def computing(route: Route) -> None:
        failure = {"status": 400, "json": {"error": {"message": "No t-SNE today."}}}
        route.fulfill(**failure if failed else {"status": 202, "json": {}})

    visit.page.route("**/api/space?layout=tsne", computing)
    visit.page.goto(f"{visit.server}/?layout=tsne&point=296")
    expect(visit.page.locator(".cover")).to_contain_text("t-SNE of all films. This is done once", timeout=SLOW)
    visit.page.get_by_role("button", name="Show PCA meanwhile").click()
    visit.drawn()
    expect(visit.page.get_by_role("application")).to_have_accessible_name(re.compile("Map of 900 films"))
    expect(visit.page.locator(".legend")).to_contain_text("Comedy")
    expect(visit.page.locator(".head h2")).to_have_text("Pulp Fiction")
    visit.page.fill("#search", "Toy Story")
    visit.page.get_by_role("option", name="Toy Story", exact=False).first.click()
    visit.refusals = 1
    with visit.page.expect_response(lambda response: response.status == 400):
        failed.append(True)
    assert visit.answered()
    layout = visit.page.get_by_role("combobox", name="Map")
    expect(layout).to_have_value("pca")
    assert visit.title() == "Toy Story"
    visit.refusals = 2
    layout.select_option("tsne")
    expect(visit.page.locator(".notice")).to_have_text("No t-SNE today.")
    expect(layout).to_have_value("pca")


def test_search_then_the_answer_streams_in_and_says_how_far_to_trust_it(visit: Visit) -> None:
    visit.open()
    visit.page.fill("#search", "no film has this name")
    expect(visit.page.locator(".results")).to_contain_text("No film is called")
    visit.page.fill("#search", "pulp fic")
    visit.page.get_by_role("option", name="Pulp Fiction").click()
    assert visit.title() == "Pulp Fiction"
    visit.page.wait_for_function(
        "document.querySelector('.answer.streaming .said')?.textContent.length > 3", timeout=SLOW
    )
    early = visit.page.inner_text(".answer .said")
    whole = visit.answered()
    assert whole.startswith(early) and len(whole) > len(early)
    assert visit.parts() == [
        {"type": "text", "text": "Summarise "},
        {"type": "entity", "entity": "296"},
        {"type": "text", "text": "."},
    ]
    plain = {**visit.asked[-1], "stream": False}
    choice = httpx.post(f"{visit.server}/v1/chat/completions", json=plain, timeout=60).json()["choices"][0]
    assert whole == choice["message"]["content"]
    trust = visit.page.inner_text(".trust")
    assert f"{choice['vecspeak']['consistency']:.2f}" in trust and "among the data" in trust
    expect(visit.page.locator(".nearest li")).to_have_count(6)


def test_a_task_and_a_free_question_about_the_same_point(visit: Visit) -> None:
    visit.open("?layout=pca&point=296")
    visit.page.get_by_role("button", name="Positive review").click()
    visit.answered()
    assert visit.parts()[0] == {"type": "text", "text": "Write a positive review of "}
    visit.page.fill("#question", "Would a child like it?")
    visit.page.press("#question", "Enter")
    visit.answered()
    assert visit.parts() == [
        {"type": "text", "text": "About "},
        {"type": "entity", "entity": "296"},
        {"type": "text", "text": ": Would a child like it?"},
    ]


def test_clicks_on_an_entity_and_on_empty_ground(visit: Visit, films: pa.Table) -> None:
    visit.open()
    places_N2 = np.stack([films["x"].to_numpy(), films["y"].to_numpy()], 1)
    lonely = lonely_row(places_N2)
    visit.click(*places_N2[lonely].tolist())
    assert visit.title() == films["title"][lonely].as_py()
    # the ground in the middle of the map that is farthest from every entity
    grid_G2 = np.stack(np.meshgrid(*[np.linspace(0.25, 0.75, 60)] * 2), -1).reshape(-1, 2)
    empty = grid_G2[np.linalg.norm(grid_G2[:, None] - places_N2[None], axis=2).min(1).argmax()]
    visit.click(*empty.tolist())
    expect(visit.page.locator(".head h2")).to_have_text(re.compile("^Empty ground near "))
    expect(visit.page.locator(".head")).to_contain_text("No film lives here: the answer is hypothetical")
    assert visit.answered()
    (asked,) = [part for part in visit.parts() if part["type"] != "text"]
    point = {"point": asked["point"], "layout": "pca"}
    found = httpx.post(f"{visit.server}/api/point", json=point).json()
    assert found["hypothetical"] and visit.title() == f"Empty ground near {found['neighbours'][0]['title']}"
    # a point like any other: it can be pulled, and linked to
    visit.page.get_by_role("slider", name="funny").press("ArrowRight")
    pulled = visit.answered()
    assert visit.parts()[1] == {"type": "point", "point": f"({asked['point']}) + funny*0.25"}
    visit.open(visit.page.evaluate("location.search"))
    assert visit.answered() == pulled


def lonely_row(places_N2: np.ndarray) -> int:
    """The entity that is farthest from every other on the map: a click there can mean no other."""
    apart_NN = np.linalg.norm(places_N2[:, None] - places_N2[None], axis=2) + np.eye(len(places_N2))
    return int(apart_NN.min(1).argmax())


def test_a_group_of_the_legend_can_be_seen_alone_and_from_near_entities_carry_titles(
    visit: Visit, films: pa.Table
) -> None:
    visit.open()
    # another colour while the dots are on their way to another map
    places = httpx.get(f"{visit.server}/api/space?layout=pca").content
    visit.page.route("**/api/space?layout=tsne", lambda route: route.fulfill(body=places))
    for layout, colour in (("tsne", ""), ("pca", "genres")):
        with visit.page.expect_response(f"**/api/space?layout={layout}"):
            visit.page.get_by_role("combobox", name="Map").select_option(layout)
        visit.page.wait_for_timeout(100)
        visit.page.get_by_role("combobox", name="Colour").select_option(colour)
    places_N2 = np.stack([films["x"].to_numpy(), films["y"].to_numpy()], 1)
    lonely = lonely_row(places_N2)
    genre = films["genres"][lonely].as_py()
    other = next(name for name in ("Comedy", "Action") if name != genre)
    group = visit.page.locator(".legend").get_by_role("button", name=other)
    group.click()
    visit.click(*places_N2[lonely].tolist())
    expect(visit.page.locator(".head h2")).to_have_text(re.compile("^Empty ground near "))
    group.click()
    visit.click(*places_N2[lonely].tolist())
    assert visit.title() == films["title"][lonely].as_py()
    expect(visit.page.locator(".labels .entity")).to_have_count(0)
    ground = visit.page.get_by_role("application")
    for _ in range(8):
        ground.press("+")
        visit.page.wait_for_timeout(300)
    shown = set(visit.page.locator(".labels .entity").all_inner_texts())
    known = {title.as_py() for title in films["title"]}
    assert shown and all(title in known or title.endswith("…") for title in shown)


def test_a_user_is_opened_as_a_profile(visit: Visit) -> None:
    def with_users(route: Route) -> None:
        model = route.fetch().json()
        route.fulfill(json={**model, "users": True, "space": {**model["space"], "slot": "user"}})

    visit.page.route("**/api/model", with_users)
    visit.open("?layout=pca&point=296")
    expect(visit.page.locator(".known details[open]")).to_contain_text("Profile in the table", timeout=SLOW)
    expect(visit.page.locator(".known")).to_contain_text("1994")


def test_the_answer_follows_the_sliders_when_they_are_let_go_and_a_link_brings_all_of_it_back(visit: Visit) -> None:
    visit.open("?layout=pca&point=296")
    visit.page.get_by_role("button", name="Choose a second point").click()
    visit.page.fill("#search", "Toy Story")
    visit.page.get_by_role("option", name="Toy Story", exact=False).first.click()
    visit.answered()
    assert visit.parts()[1] == {"type": "point", "point": "296:1@0.5"}

    between = visit.page.get_by_role("slider", name="Share of the way from Pulp Fiction to Toy Story")
    between.scroll_into_view_if_needed()
    box = between.bounding_box()
    assert box is not None
    asked = len(visit.asked)
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=5)
    assert len(visit.asked) == asked
    visit.page.mouse.up()
    expect(visit.page.locator(".head h2")).to_have_text("80 % from Pulp Fiction to Toy Story")
    visit.answered()
    assert len(visit.asked) == asked + 1
    assert visit.parts()[1] == {"type": "point", "point": "296:1@0.8"}

    funny = visit.page.get_by_role("slider", name="funny")
    funny.focus()
    for _ in range(4):
        funny.press("ArrowRight")
    whole = visit.answered()
    assert visit.parts()[1] == {"type": "point", "point": "(296:1@0.8) + funny*1"}
    assert visit.title() == "80 % from Pulp Fiction to Toy Story, +1 funny"

    visit.open(visit.page.evaluate("location.search"))
    assert visit.answered() == whole
    assert visit.title() == "80 % from Pulp Fiction to Toy Story, +1 funny"
    expect(visit.page.get_by_role("slider", name="funny")).to_have_value("1")

    visit.page.get_by_role("button", name="Compare").click()
    visit.answered()
    both = [{"type": "point", "point": "296 + funny*1"}, {"type": "point", "point": "1 + funny*1"}]
    assert [part for part in visit.parts() if part["type"] != "text"] == both
    assert visit.title() == "Pulp Fiction, +1 funny and Toy Story, +1 funny"
    visit.page.fill("#question", "Would a child like them?")
    visit.page.press("#question", "Enter")
    # what is kept is what was asked, though the slider moves on
    visit.page.wait_for_selector(".answer.streaming")
    moved = "slider => { slider.value = 2; slider.dispatchEvent(new Event('input')); }"
    visit.page.get_by_role("slider", name="funny").evaluate(moved)
    visit.answered()
    assert [part.get("text") or part for part in visit.parts()] == [
        "About ", both[0], " and ", both[1], ": Would a child like them?"
    ]  # fmt: skip
    kept = visit.page.evaluate("JSON.parse(Object.entries(localStorage).find(([name]) => /history/.test(name))[1])[0]")
    assert kept["point"] == "296 + funny*1 | 1 + funny*1"
    assert "push=funny%3A1&" in kept["link"] and "compare=1" in kept["link"]


def test_a_concept_is_fitted_from_a_lasso_or_from_picks_or_refused_with_the_reason(visit: Visit) -> None:
    visit.open()
    box = visit.page.locator(".ground").bounding_box()
    assert box is not None
    visit.page.get_by_role("button", name="Lasso").click()
    corners = [(0.3, 0.3), (0.5, 0.3), (0.5, 0.6), (0.3, 0.6), (0.3, 0.32)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    visit.page.mouse.move(*places[0])
    visit.page.mouse.down()
    for place in places[1:]:
        visit.page.mouse.move(*place, steps=6)
    visit.page.mouse.up()
    expect(visit.page.locator(".bar")).to_contain_text(re.compile(r"\d+ films selected"))
    visit.page.get_by_role("button", name="More of it").click()
    visit.page.fill("#concept-name", "patch")
    visit.page.get_by_role("button", name="Fit").click()
    expect(visit.page.get_by_role("status").filter(has_text="patch is fitted")).to_be_visible(timeout=SLOW)

    ground = visit.page.get_by_role("application")
    ground.focus()
    for _ in range(2):  # two picks are too few to show anything
        ground.press("ArrowRight")
        ground.press("a")
    visit.page.get_by_role("button", name="More of it").click()
    visit.page.fill("#concept-name", "whim")
    with visit.page.expect_response("**/api/concepts") as response:
        visit.page.get_by_role("button", name="Fit").click()
    visit.refusals = 1
    reason = response.value.json()["error"]["message"]
    expect(visit.page.locator(".fitting .fault")).to_have_text(reason)


def test_everything_by_keyboard(visit: Visit) -> None:
    page = visit.page
    visit.open()
    page.keyboard.press("/")
    page.keyboard.type("the")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("ArrowUp")
    expect(page.locator(".results [role=option]").last).to_be_in_viewport()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    wanted = page.inner_text("[role=option][aria-selected=true] span")
    page.keyboard.press("Enter")
    assert visit.title() == wanted
    page.keyboard.press("/")
    page.keyboard.type("the")
    page.wait_for_selector("[role=option]")
    page.keyboard.insert_text(" matrix")
    page.keyboard.press("Enter")  # at once: what is found is still of the text before
    expect(page.locator(".head h2")).to_have_text("The Matrix")
    visit.answered()
    for _ in range(40):
        if page.evaluate("document.activeElement.getAttribute('role')") == "application":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    reached = page.inner_text(".tip")
    expect(page.locator("[aria-live=polite]")).to_have_text(reached)
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    assert visit.title() == reached
    page.keyboard.press("g")
    expect(page.locator(".head h2")).to_have_text(re.compile("^Empty ground near "))
    page.keyboard.press("Escape")
    expect(page.locator(".sheet")).to_contain_text("What does a vector say?")


@pytest.mark.parametrize("visit", [{"color_scheme": "dark"}, {"color_scheme": "light"}], indirect=True)
def test_dark_and_light_have_contrast_and_names(visit: Visit) -> None:
    visit.open("?layout=pca&point=296&to=1&push=funny:1")
    visit.answered()
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = visit.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 150) == dark
    assert visit.faults() == []
    visit.page.get_by_role("tab", name="Concepts").click()
    assert visit.faults() == []
    visit.page.get_by_role("tab", name="History").click()
    assert visit.faults() == []
    visit.page.get_by_role("button", name="How this works").click()
    assert visit.faults() == []
    described = visit.page.get_by_role("link", name="openapi.json").get_attribute("href")
    assert "/api/point" in httpx.get(f"{visit.server}/{described}").json()["paths"]


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_on_a_phone(visit: Visit, films: pa.Table) -> None:
    visit.open()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    box = visit.page.locator(".ground").bounding_box()
    assert box is not None
    visit.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert visit.answered()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    assert visit.faults() == []


def test_a_question_taken_away_as_curl_and_python_gets_the_same_answer(visit: Visit, tmp_path: Path) -> None:
    visit.open("?layout=pca&point=296&push=scary:1.5&ask=" + "Summarise%20%7Bfilm%7D.")
    whole = visit.answered()
    visit.page.get_by_role("button", name="curl").click()
    code = visit.page.inner_text("dialog[open] pre")
    command = code.replace("curl ", "curl --silent --show-error ", 1).replace('"stream":true', '"stream":false')
    reply = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(reply.stdout)["choices"][0]["message"]["content"] == whole
    visit.page.get_by_role("button", name="Close").click()
    visit.page.get_by_role("button", name="Python").click()
    script = tmp_path / "ask.py"
    script.write_text(visit.page.inner_text("dialog[open] pre"))
    reply = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert reply.stdout.startswith(f"{whole}\n") and "consistency" in reply.stdout
    visit.page.get_by_role("button", name="Close").click()
    visit.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # as on plain http
    visit.page.get_by_role("button", name="Copy link").click()
    expect(visit.page.locator(".notice")).to_contain_text("the address bar holds the link")


def test_the_history_comes_back_and_is_saved_as_csv_and_parquet(visit: Visit, tmp_path: Path) -> None:
    visit.open("?layout=pca&point=296")
    first = visit.answered()
    visit.page.fill("#question", '=Is {film} a "comedy", or not?')
    visit.page.press("#question", "Enter")
    visit.page.wait_for_selector(".answer.streaming")
    second = visit.answered()
    visit.page.get_by_role("tab", name="History").click()
    saved = {}
    for kind in ("CSV", "Parquet"):
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name=f"Save as {kind}").click()
        saved[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[kind])
    with saved["CSV"].open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert rows[0]["prompt"] == """'=Is {film} a "comedy", or not?"""
    table = pq.read_table(saved["Parquet"]).to_pylist()
    assert [row["answer"] for row in table] == [second, first]
    assert table[0]["prompt"] == '=Is {film} a "comedy", or not?'
    texts = [name for name in table[0] if name not in ("consistency", "distance")]
    assert [[row[name] for name in texts] for row in rows] == [
        [re.sub(r"^(?=[=+\-@\t\r])", "'", row[name] or "") for name in texts] for row in table
    ]
    assert [row["consistency"] for row in table] == [float(row["consistency"]) for row in rows]
    visit.page.locator(".asked button").nth(1).click()
    assert visit.answered() == first


def test_a_server_that_is_silent_or_wants_a_token_is_met_with_words(browser: Browser, server: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script("""for (const kind of ["localStorage", "sessionStorage"])
            Object.defineProperty(window, kind, { get() { throw new DOMException("forbidden", "SecurityError"); } })""")
        page.route("**/api/model", lambda route: route.abort())
        page.goto(f"{server}/?layout=pca")
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        page.unroute("**/api/model")

        def guard(route: Route) -> None:
            wanted = route.request.headers.get("authorization") == "Bearer sesame"
            refusal = {"status": 401, "json": {"error": {"message": "A token is wanted."}}}
            route.continue_() if wanted else route.fulfill(**refusal)

        page.route("**/api/**", guard)
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("textbox", name="Token")).to_be_focused()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Try again").click()
        for token in ("wrong", "sesame"):
            page.get_by_role("textbox", name="Token").fill(token)
            page.get_by_role("button", name="Go on").click()
            if token == "wrong":
                expect(page.locator("dialog .fault")).to_have_text("That token was refused.")
        page.wait_for_selector("html[data-map=drawn]", timeout=SLOW)
        page.route("**/api/point", lambda route: route.fulfill(status=503, json={"error": {"message": "No map."}}))
        page.get_by_role("application").press("g")
        expect(page.locator(".notice")).to_have_text("No map.")


def test_a_full_queue_and_a_broken_answer_can_be_asked_again(browser: Browser, server: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        full = {"status": 429, "json": {"error": {"message": "full"}}, "headers": {"Retry-After": "1"}}
        page.route("**/v1/chat/completions", lambda route: route.fulfill(**full))
        page.goto(f"{server}/?layout=pca&point=296")
        expect(page.locator(".answer .fault")).to_contain_text("The server is busy", timeout=SLOW)
        page.unroute("**/v1/chat/completions")
        page.get_by_role("button", name="Ask again").click()
        page.wait_for_selector(".answer.done", timeout=SLOW)
