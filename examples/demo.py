"""The demo: a flow goes on although its server is killed twice.

    python3 examples/demo.py target/debug/riverrun        (or simply: make demo)

Needs nothing but the binary and Python's standard library. Ends with exit code 1 as soon as anything is not as it
should be: a call made twice, a wrong output, a stored result that is not the first one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

EXAMPLES = Path(__file__).resolve().parent
FLOW = EXAMPLES / "polling" / "flow.yaml"
FUNCTIONS = EXAMPLES / "demo" / "functions"
INPUT = {"delay": 20}
CONTINUE_ID = "demo-1"
PATIENCE = 60.0  # seconds until the demo gives up on something that should have happened

BEGUN = time.monotonic()
COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURS else text


def tell(text: str, code: str = "0") -> None:
    stamp = paint("2", f"{time.monotonic() - BEGUN:5.1f}s")
    print(f"{stamp}  {paint(code, text)}", flush=True)


def chapter(title: str) -> None:
    print(f"\n{paint('1', title)}", flush=True)


def fail(text: str) -> NoReturn:
    raise SystemExit(paint("31", f"\nThe demo FAILED: {text}"))


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        fail(f"{what}: expected {wanted!r}, found {found!r}")


def until(what: str, ready: Callable[[], Any]) -> Any:
    """Asks again and again until the answer is something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := ready():
            return answer
        time.sleep(0.05)
    fail(f"{what} did not happen within {PATIENCE:.0f} s")


class House:
    """The server and the worker of the demo, in processes of their own."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.calls = folder / "calls.txt"
        self.calls.touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.listen = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.listen}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RIVERRUN_")},
            "RIVERRUN_SERVER": self.url,
            "DEMO_CALLS": str(self.calls),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    def spawn(self, log: str, *args: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            return subprocess.Popen([self.binary, *args], env=self.environment, stdout=out, stderr=out)

    def start_server(self) -> None:
        server = self.spawn("server.log", "server", "--data", str(self.folder / "data"), "--listen", self.listen)
        self.server = server
        begun = time.monotonic()
        until("the server's start", lambda: self.is_up() or server.poll() is not None)
        if server.poll() is not None:
            fail(f"the server ended at once: {(self.folder / 'server.log').read_text()}")
        tell(f"The server answers, {(time.monotonic() - begun) * 1000:.0f} ms after its start (process {server.pid}).")

    def is_up(self) -> bool:
        try:
            return self.get("/readyz", raw=True) is not None
        except (urllib.error.URLError, OSError):
            return False

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()
        tell(f"kill -9 {self.server.pid}: the server is gone, with no chance to say goodbye.", "31")

    def start_worker(self) -> None:
        self.worker = self.spawn("worker.log", "worker", str(FUNCTIONS))

    def stop(self) -> None:
        for process in (self.worker, self.server):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def get(self, path: str, raw: bool = False) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return answer.read() if raw else json.load(answer)

    def cli(self, *args: str) -> str:
        done = subprocess.run([self.binary, *args], env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            fail(f"`riverrun {' '.join(args)}` ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def start_run(self) -> dict[str, Any]:
        start = {"definition": "polling", "input": INPUT, "continue_id": CONTINUE_ID}
        request = urllib.request.Request(
            self.url + "/v1/runs",
            data=json.dumps(start).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return dict(json.load(answer))

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.get(f"/v1/runs/{run_id}"))

    def count(self, line: str) -> int:
        return self.calls.read_text().splitlines().count(line)

    def waits_for(self, run_id: str, kind: str) -> dict[str, Any] | None:
        waiting = self.run(run_id).get("waiting")
        return waiting if waiting and waiting["kind"] == kind else None


def story(house: House) -> None:
    chapter("1. A server, a worker, a flow")
    house.start_server()
    house.start_worker()
    house.cli("deploy", str(FLOW), "--name", "polling")
    tell("The flow `polling` is deployed: start a job, wait 10 s, ask for its status, again until it is done.")
    started = house.start_run()
    run_id = started["run_id"]
    tell(f"A run of it is started under the continue_id `{CONTINUE_ID}`: {run_id}.")

    chapter("2. The server is killed while the flow waits")
    waiting = until("the flow's first wait", lambda: house.waits_for(run_id, "timer"))
    expect("calls of StartJob", house.count("StartJob ended"), 1)
    tell(f"StartJob has run. Now the flow waits for a timer, `{waiting['name']}`.")
    house.kill_server()
    house.start_server()
    expect("the run after the kill", house.run(run_id)["state"], "suspended")
    until("the wait after the kill", lambda: house.waits_for(run_id, "timer"))
    tell("The run is there, and waits for the same timer: the kill did not make the wait longer.")

    chapter("3. The server is killed while a function runs")
    until("the first call of GetJobStatus", lambda: house.count("GetJobStatus began") == 1)
    tell("The timer fired. The worker executes GetJobStatus, which takes three seconds.")
    house.kill_server()
    expect("calls of GetJobStatus that ended", house.count("GetJobStatus ended"), 0)
    tell("The function goes on: it runs in the worker, which keeps the attempt and its right to report it.")
    house.start_server()

    chapter("4. The flow ends")
    ended = until("the run's end", lambda: (run := house.run(run_id))["state"] in CLOSED and run)
    expect("the run's state", ended["state"], "succeeded")
    output = ended["output"]
    expect("the output's try_count", output.get("try_count"), 2)
    expect("the output's job_status", output.get("job_status"), "success")
    expect("the output's keys", sorted(output), ["job_id", "job_status", "try_count"])
    tell(f"It succeeded: {json.dumps(output)}", "32")
    for line, wanted in EXPECTED_CALLS.items():
        expect(f"`{line}`", house.count(line), wanted)
    tell("The functions counted their calls: StartJob 1, GetJobStatus 2. Two kills, and nothing was done twice.", "32")

    chapter("5. The journal, as the server has it after two kills")
    print(textwrap.indent(house.cli("runs", "journal", run_id), "        "))

    chapter("6. The same start again")
    begun = time.monotonic()
    again = house.start_run()
    took = time.monotonic() - begun
    expect("the run of the second start", again["run_id"], run_id)
    expect("`reused` of the second start", again["reused"], True)
    expect("the output of the second start", again.get("output"), output)
    expect("calls of StartJob", house.count("StartJob began"), 1)
    tell(f"The stored result, after {took * 1000:.0f} ms: {json.dumps(again['output'])}", "32")


CLOSED = {"succeeded", "failed", "timed_out", "cancelled", "expired"}
EXPECTED_CALLS = {
    "StartJob began": 1,
    "StartJob ended": 1,
    "GetJobStatus began": 2,
    "GetJobStatus ended": 2,
}


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: demo.py PATH-TO-RIVERRUN, as in: demo.py target/debug/riverrun")
    binary = Path(sys.argv[1]).resolve()
    if not binary.exists():
        raise SystemExit(f"there is no {binary}: build it first, with `make demo`")
    with tempfile.TemporaryDirectory(prefix="riverrun-demo-") as folder:
        house = House(binary, Path(folder))
        try:
            story(house)
        except BaseException:
            for log in ("server.log", "worker.log"):
                path = house.folder / log
                if path.exists():
                    print(f"\n--- {log}\n{path.read_text(errors='replace')}", file=sys.stderr)
            raise
        finally:
            house.stop()
    chapter(f"Done in {time.monotonic() - BEGUN:.0f} seconds.")


if __name__ == "__main__":
    main()
