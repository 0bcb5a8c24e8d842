"""The queue's demo: a web shop's thumbnails and mails survive a worker that is killed.

    python3 examples/demo_queue.py target/debug/riverrun        (or simply: make demo-queue)

Needs nothing but the binary and Python's standard library. Ends with exit code 1 as soon as anything is not as it
should be: a task lost, one done twice that nobody interrupted, a newsletter sent again.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import demo
from demo import House, chapter, expect, fail, paint, tell, until

HANDLERS = Path(__file__).resolve().parent / "shop" / "handlers"
THUMBNAILS, MAILS = 700, 300
SLOTS = 4  # tasks that a worker executes at once
TASKS = {"/images/thumbnail": THUMBNAILS, "/mail/confirm": MAILS}
BAR = 30


class Shop(House):
    """The server and the two workers of the shop."""

    def __init__(self, binary: Path, folder: Path) -> None:
        super().__init__(binary, folder)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def hire(self, name: str) -> None:
        self.workers[name] = self.spawn(f"{name}.log", "worker", str(HANDLERS), "--name", name, "--concurrency", str(SLOTS))

    def stop(self) -> None:
        for worker in self.workers.values():
            if worker.poll() is None:
                worker.terminate()
        for worker in self.workers.values():
            worker.wait()
        super().stop()

    def post(self, path: str, body: Any) -> Any:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def count(self, task: str, state: str | None = None) -> int:
        filters = f"definition={task}" + (f"&state={state}" if state else "")
        return int(self.get(f"/v1/runs/count?{filters}")["count"])

    def notes(self) -> Counter[str]:
        return Counter(self.calls.read_text().splitlines())


class View:
    """What the shop has done so far: redrawn on a terminal, a line now and then elsewhere."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.drawn = 0
        self.last = 0.0

    def draw(self) -> int:
        done = {task: self.shop.count(task, "succeeded") for task in TASKS}
        if demo.COLOURS:
            self.redraw(done)
        elif time.monotonic() - self.last > 2.0:
            self.last = time.monotonic()
            tell(", ".join(f"{task} {count} of {TASKS[task]}" for task, count in done.items()))
        return sum(done.values())

    def redraw(self, done: dict[str, int]) -> None:
        lines = []
        for task, count in done.items():
            filled = BAR * count // TASKS[task]
            bar = paint("32", "█" * filled) + paint("2", "░" * (BAR - filled))
            lines.append(f"        {task:<18} {bar} {count:4} of {TASKS[task]}")
        workers = self.shop.get("/v1/workers")["items"]
        busy = ", ".join(f"{worker['name']} {len(worker.get('attempts') or [])}" for worker in workers)
        lines.append(f"        {'executing now':<18} {busy or 'nothing'}")
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        print(up + "\n".join(f"\x1b[2K{line}" for line in lines), flush=True)
        self.drawn = len(lines)


def open_the_shop(shop: Shop) -> None:
    chapter("1. A server, two workers, a folder of handlers")
    shop.start_server()
    shop.hire("anna")
    shop.hire("bert")
    until("the arrival of both workers", lambda: len(shop.get("/v1/workers")["items"]) == 2)
    tell(f"anna and bert serve {HANDLERS.parent.name}/{HANDLERS.name}/, each with {SLOTS} processes.")
    refused = shop.post("/v1/runs", {"definition": "/images/thumbnail", "kind": "task", "input": {"picture": "one"}})
    expect("the code of a wrong call", refused.get("code"), "invalid_params")
    expect("the parameter that is wrong", refused.get("parameter"), "picture")
    tell("A wrong call does not get as far as the queue: " + paint("33", refused["errors"][0]["message"]))


def send_the_work(shop: Shop) -> None:
    chapter("2. A thousand tasks, a poisonous one, and a newsletter sent fifty times")
    runs: list[dict[str, Any]] = [
        {"definition": "/images/thumbnail", "kind": "task", "queue": "images", "input": {"picture": number}}
        for number in range(THUMBNAILS)
    ]
    runs += [
        {
            "definition": "/mail/confirm",
            "kind": "task",
            "queue": "mail",
            "priority": 5,
            "input": {"order": number, "to": f"customer-{number}@example.com"},
        }
        for number in range(MAILS)
    ]
    begun = time.monotonic()
    for first in range(0, len(runs), 500):
        answer = shop.post("/v1/runs/batch", {"runs": runs[first : first + 500]})
        expect("starts that were refused", [item for item in answer.get("items", [answer]) if not item.get("run_id")], [])
    tell(f"{len(runs)} tasks are queued, and durable, after {(time.monotonic() - begun) * 1000:.0f} ms.")
    poison = {"definition": "/images/broken_picture", "kind": "task", "queue": "images", "priority": 9, "input": {"picture": 13}}
    shop.post("/v1/runs", {**poison, "max_crashes": 3})
    letter = {"definition": "/mail/newsletter", "kind": "task", "queue": "mail", "priority": 9}
    letter |= {"unique": True, "input": {"month": "November"}}
    with ThreadPoolExecutor(10) as senders:
        answers = list(senders.map(lambda _: shop.post("/v1/runs", letter), range(50)))
    expect("runs of a newsletter that was sent fifty times", len({answer["run_id"] for answer in answers}), 1)
    told = sum(bool(answer.get("duplicate")) for answer in answers)
    tell(f"The newsletter was sent 50 times and is one run; {told} senders were told that it exists.")


def work(shop: Shop) -> None:
    chapter("3. A worker is killed in the middle")
    view = View(shop)
    until("the first part of the work", lambda: view.draw() >= 400)
    anna = shop.workers["anna"]
    anna.send_signal(signal.SIGKILL)
    anna.wait()
    view.drawn = 0
    tell(f"kill -9 {anna.pid}: anna is gone, with whatever she had in her hands. Carla takes her place.", "31")
    shop.hire("carla")
    until("the end of the work", lambda: view.draw() >= THUMBNAILS + MAILS)


def count_the_work(shop: Shop) -> None:
    chapter("4. Nothing is lost")
    until("the end of the newsletter", lambda: shop.count("/mail/newsletter", "succeeded") == 1)
    dead = until("the poisonous task among the dead letters", lambda: shop.get("/v1/dead")["items"])
    expect("the dead letters", [(item["definition"], item["error_type"]) for item in dead], POISONED)
    notes = shop.notes()
    names = [f"thumbnail {n}" for n in range(THUMBNAILS)] + [f"mail {n}" for n in range(MAILS)]
    expect("tasks that were never done", [name for name in names if not notes[f"{name} done"]], [])
    twice = [name for name in names if notes[name] > 1]
    if len(twice) > 2 * SLOTS:
        fail(f"{len(twice)} tasks were begun twice, and anna can have left {2 * SLOTS} without a record: {twice}")
    for task, wanted in TASKS.items():
        expect(f"runs of {task} that succeeded", shop.count(task, "succeeded"), wanted)
        expect(f"runs of {task}", shop.count(task), wanted)
    expect("newsletters", notes["newsletter November"], 1)
    tell(f"{THUMBNAILS} thumbnails and {MAILS} mails: each is finished once in the record.", "32")
    tell(f"{len(twice)} of them were begun again: anna had them in her hands, and there was no record of their end.", "32")
    tell(f"The broken picture took down {notes['broken 13']} processes; then it was put to the dead letters:", "32")
    print(f"        {dead[0]['run_id']}  {dead[0]['definition']}  {dead[0]['error_type']}")
    tell("The newsletter went out once.", "32")


POISONED = [("/images/broken_picture", "WorkerCrashed")]


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: demo_queue.py PATH-TO-RIVERRUN, as in: demo_queue.py target/debug/riverrun")
    binary = Path(sys.argv[1]).resolve()
    if not binary.exists():
        raise SystemExit(f"there is no {binary}: build it first, with `make demo-queue`")
    with tempfile.TemporaryDirectory(prefix="riverrun-demo-") as folder:
        shop = Shop(binary, Path(folder))
        try:
            for part in (open_the_shop, send_the_work, work, count_the_work):
                part(shop)
        except BaseException:
            for log in sorted(shop.folder.glob("*.log")):
                print(f"\n--- {log.name}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            raise
        finally:
            shop.stop()
    chapter(f"Done in {time.monotonic() - demo.BEGUN:.0f} seconds.")


if __name__ == "__main__":
    main()
