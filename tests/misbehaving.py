"""A real HTTP server that answers as a bad day of an API does: an oracle for what a teacher is asked and what it costs.

Every seventh prompt or so meets a fault on its first attempts: 429 with Retry-After, 500, an answer that comes too
late, a body cut short, JSON that is none, an answer sent twice. What it says of an entity depends on its number alone.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ["429", "500", "late", "cut", "malformed", "twice", "broken off"]
TOKENS_IN, TOKENS_OUT = 20, 12
"""Of every answer."""

LATE_S = 1.0


def said(number: int) -> tuple[str, str | None]:
    """What it says about an entity, and why a gate refuses that."""
    odd = {
        3: ("", "empty"),
        14: ("I'm sorry, but I cannot help with that.", "refusal"),
        25: ("Yes.", "too short"),
        36: ("it is good " * 12, "repeats itself"),
        47: (f"Thing {number} is for people who like it.", "names the entity"),
    }
    return odd.get(number % 60, (f"It is for people who like the number {number}.", None))


def fault(number: int, attempt: int) -> str | None:
    """What goes wrong at an attempt, counted from 0; the third is always sound."""
    if attempt > 1 or (number + 5 * attempt) % 7:
        return None
    return FAULTS[(number // 7 + attempt) % len(FAULTS)]


@dataclass
class Server:
    """What it was asked and what it would charge."""

    url: str = ""
    attempts: Counter[int] = field(default_factory=Counter)
    charged: int = 0
    """Tokens of all that it generated, whether or not it arrived."""
    answered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, number: int) -> str | None:
        with self.lock:
            attempt = self.attempts[number]
            self.attempts[number] += 1
            wrong = fault(number, attempt)
            if wrong is not None:
                self.faults[wrong] += 1
            if wrong not in ("429", "500"):
                self.charged += TOKENS_IN + TOKENS_OUT
            self.answered += wrong is None
        return wrong


def body_of(number: int) -> bytes:
    text, _ = said(number)
    choices = [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]
    usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT}
    return json.dumps({"object": "chat.completion", "choices": choices, "usage": usage}).encode()


@contextmanager
def misbehaving() -> Iterator[Server]:
    """The server, on a free port."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with suppress(ConnectionError):  # whoever asked may have been killed
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, request: dict) -> None:
            number = int(re.findall(r"number (\d+)", request["messages"][0]["content"])[0])
            wrong, body = state.meet(number), body_of(number)
            if wrong == "late":
                time.sleep(LATE_S)
            if wrong == "twice":
                body += body
            if wrong == "malformed":
                body = body[: len(body) // 2]
            status = int(wrong) if wrong in ("429", "500") else 200
            self.send_response(status)
            if wrong == "429":
                self.send_header("Retry-After", "0.05")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if wrong in ("cut", "broken off"):
                self.wfile.write(body[: len(body) // 2 if wrong == "cut" else 0])
                self.close_connection = True
            else:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # connections of the killed

    with Quiet(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()
