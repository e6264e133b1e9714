"""A server under load: first word, 16 clients against one, memory over 2,000 requests, a full queue, killed clients.

    python benchmarks/serve_load.py                   (`vecspeak serve films`, about ten minutes on two cores)
    python benchmarks/serve_load.py --requests 200    (less of it)

Starts servers of its own, on free ports; speeds are ratios within one run.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import psutil

CLIENTS = 16
QUESTION = (
    "Tell me in a few plain words, as you would tell a friend who has an evening off, what kind of viewer would enjoy ",
    " most of all, and what for?",
)
"""About forty tokens with the point."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="of the memory measurement")
    options = parser.parse_args()
    with server() as (address, process):
        asyncio.run(first_word(address))
        asyncio.run(throughput(address, process))
        asyncio.run(memory(address, process, options.requests))
        asyncio.run(killed(address))
    with server("--batch", "4", "--queue", "8") as (address, _):
        asyncio.run(full_queue(address))


async def first_word(address: str) -> None:
    """Seconds from sending a question to its first words, in a stream, nothing else running."""
    async with httpx.AsyncClient(base_url=address, timeout=1200) as client:
        await ask(client, 0)
        seconds, prompt = [], 0
        for number in range(20):
            start = time.perf_counter()
            async for event in stream(client, number, max_tokens=20, question=QUESTION):
                if event["choices"] and event["choices"][0]["delta"].get("content"):
                    seconds.append(time.perf_counter() - start)
                    break
            prompt = (await ask(client, number, max_tokens=1, question=QUESTION))["usage"]["prompt_tokens"]
    print(
        f"first word of a question of {prompt} tokens, 20 times: median {statistics.median(seconds):.3f} s, "
        f"slowest {max(seconds):.3f} s",
        flush=True,
    )


async def throughput(address: str, process: psutil.Process) -> None:
    """One client asking in a row and 16 clients at once, by the clock and by the server's processor time.

    The second does not see what else the machine does.
    """
    async with httpx.AsyncClient(
        base_url=address, timeout=1200, limits=httpx.Limits(max_connections=CLIENTS)
    ) as client:
        speeds: dict[int, tuple[float, float]] = {}
        for clients, questions in ((1, 12), (CLIENTS, 64)):
            start, used = time.perf_counter(), processor_seconds(process)
            tokens = sum(await shared(clients, questions, lambda number: tokens_of(client, number, max_tokens=60)))
            seconds, used = time.perf_counter() - start, processor_seconds(process) - used
            speeds[clients] = tokens / seconds, tokens / used
            print(
                f"{clients:2} clients: {questions} questions, {tokens} tokens, {tokens / seconds:.1f} tokens/s by the "
                f"clock, {tokens / used:.1f} by processor time",
                flush=True,
            )
    clock, processor = (many / one for many, one in zip(speeds[CLIENTS], speeds[1], strict=True))
    print(f"{CLIENTS} clients over one: {clock:.2f} times by the clock, {processor:.2f} by processor time", flush=True)


async def memory(address: str, process: psutil.Process, requests: int) -> None:
    """Resident memory of the server; every prompt is another, so that nothing kept of it stays unseen."""
    async with httpx.AsyncClient(
        base_url=address, timeout=1200, limits=httpx.Limits(max_connections=CLIENTS)
    ) as client:

        async def one(number: int) -> int:
            return await tokens_of(
                client, number, max_tokens=4, question=(f"Number {number * 7919} of {time.time()}: ", "?")
            )

        step = max(1, requests // 10)
        await shared(CLIENTS, step, one)
        sizes = [process.memory_info().rss / 2**20]
        for _ in range(requests // step):
            await shared(CLIENTS, step, one)
            sizes.append(process.memory_info().rss / 2**20)
    print(f"memory after {step} requests, then after each {step} of {requests}, in MiB:", flush=True)
    print("  " + " ".join(f"{size:.0f}" for size in sizes), flush=True)
    half = len(sizes) // 2
    print(f"  growth over the second half: {sizes[-1] - sizes[half]:+.1f} MiB", flush=True)


async def killed(address: str) -> None:
    """Clients whose process is killed in the middle of an answer: how soon their rows are free."""
    seconds = []
    async with httpx.AsyncClient(base_url=address, timeout=1200) as client:
        for number in range(5):
            asking = (
                f"httpx.post({address + '/v1/chat/completions'!r}, json={body(number, max_tokens=400)!r}, timeout=1200)"
            )
            process = subprocess.Popen([sys.executable, "-c", f"import httpx; {asking}"])
            while not await gauge(client, "vecspeak_rows_running"):
                await asyncio.sleep(0.02)
            process.kill()
            start = time.perf_counter()
            while await gauge(client, "vecspeak_rows_running"):
                await asyncio.sleep(0.002)
            seconds.append(time.perf_counter() - start)
            process.wait()
    print(f"5 clients killed while they waited: every row free within {max(seconds):.3f} s", flush=True)


async def full_queue(address: str) -> None:
    """Sixty questions at once to a server that decodes 4 and lets 8 wait."""
    async with httpx.AsyncClient(base_url=address, timeout=1200) as client:
        responses = await asyncio.gather(
            *(client.post("/v1/chat/completions", json=body(number, max_tokens=20)) for number in range(60))
        )
    statuses = Counter(response.status_code for response in responses)
    waits = {response.headers["retry-after"] for response in responses if response.status_code == 429}
    print(f"60 questions at once, batch 4, queue 8: {dict(statuses)}, Retry-After {sorted(waits)}", flush=True)


# ---- clients


def body(
    number: int, *, max_tokens: int, question: tuple[str, str] = ("Describe ", "."), **fields: object
) -> dict[str, object]:
    before, after = ({"type": "text", "text": text} for text in question)
    content = [before, {"type": "entity", "entity": ENTITIES[number % len(ENTITIES)]}, after]
    return {"model": "films", "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens, **fields}


async def ask(client: httpx.AsyncClient, number: int, *, max_tokens: int = 20, **fields: object) -> dict:
    response = await client.post("/v1/chat/completions", json=body(number, max_tokens=max_tokens, **fields))
    response.raise_for_status()
    return response.json()


async def tokens_of(client: httpx.AsyncClient, number: int, **fields: object) -> int:
    return (await ask(client, number, **fields))["usage"]["completion_tokens"]


async def stream(client: httpx.AsyncClient, number: int, **fields: object) -> AsyncIterator[dict]:
    async with client.stream("POST", "/v1/chat/completions", json=body(number, stream=True, **fields)) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line[6:])


async def shared(clients: int, questions: int, one) -> list[int]:
    """`clients` at work on the same row of questions, each taking the next when it has its answer."""
    numbers, found = iter(range(questions)), []

    async def client() -> None:
        for number in numbers:
            found.append(await one(number))

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


async def gauge(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


def processor_seconds(process: psutil.Process) -> float:
    """Of all its threads, without the processes it has started."""
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def server(*options: str) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of `vecspeak serve films`."""
    command = [sys.executable, "-m", "vecspeak.cli", "serve", "films", "--port", "0", "--timeout", "1200", *options]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", cache), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        address = None
        while not address and (line := process.stdout.readline()):
            address = re.search(r"http://\S+:\d+", line)
        assert address, "the server did not start"
        try:
            yield address[0], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


ENTITIES = ["356", "296", "318", "593", "260", "480", "2571", "1", "527", "608"]


if __name__ == "__main__":
    main()
