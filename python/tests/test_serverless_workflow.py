"""The vendor's own client libraries against a real server: nothing is changed but the address and the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

BINARY = os.environ.get("RIVERRUN_BINARY")
pytestmark = pytest.mark.skipif(not BINARY, reason="RIVERRUN_BINARY names no riverrun binary")

new_client = pytest.importorskip("alibabacloud_fnf20190315.client")
new_models = pytest.importorskip("alibabacloud_fnf20190315.models")
new_config = pytest.importorskip("alibabacloud_tea_openapi.utils_models")
new_runtime = pytest.importorskip("darabonba.runtime")
old_client = pytest.importorskip("aliyunsdkcore.client")
old_common = pytest.importorskip("aliyunsdkcore.request")
old_errors = pytest.importorskip("aliyunsdkcore.acs_exception.exceptions")
old_requests = pytest.importorskip("aliyunsdkfnf.request.v20190315")

KEY, SECRET = "AKIDEXAMPLE", "secret-EXAMPLE"

PASS = """version: v1
type: flow
steps:
  - type: pass
    name: Hello
    outputMappings:
      - target: said
        source: $input.word
"""
WAIT = "version: v1\ntype: flow\nsteps:\n  - type: wait\n    name: Long\n    duration: 3600\n"
BRIEF = "version: v1\ntype: flow\nsteps:\n  - type: wait\n    name: Short\n    duration: 1\n"
FAIL = "version: v1\ntype: flow\nsteps:\n  - type: fail\n    name: No\n    error: NoLuck\n    cause: out of luck\n"
ASK = """version: v1
type: flow
steps:
  - type: task
    name: Ask
    resourceArn: acs:fc:::services/desk/functions/ask
    pattern: waitForCallback
    inputMappings:
      - target: token
        source: $context.task.token
    catch:
      - errors: [Refused]
        goto: Sorry
  - type: succeed
    name: Done
  - type: pass
    name: Sorry
    outputMappings:
      - target: sorry
        source: true
"""
FUNCTION = """
import json, os, pathlib
def handler(event, context):
    path = pathlib.Path(os.environ["TOKEN_FILE"])
    path.with_suffix(".part").write_text(json.loads(event)["token"])
    path.with_suffix(".part").rename(path)
"""


class Fault(Exception):
    """An error, as the clients tell it."""

    def __init__(self, code: str | None, status: int | None, message: str) -> None:
        super().__init__(f"{code} {status} {message}")
        self.code, self.status, self.message = code, status, message


class New:
    """``alibabacloud_fnf20190315``."""

    def __init__(self, address: str, secret: str = SECRET, algorithm: str | None = None, key: str = KEY) -> None:
        self.client = new_client.Client(
            new_config.Config(access_key_id=key, access_key_secret=secret, endpoint=address, protocol="http")
        )
        if algorithm:
            self.client._signature_algorithm = algorithm

    def __call__(self, action: str, read_timeout: float = 10, **parameters: Any) -> dict[str, Any]:
        request = getattr(new_models, f"{action}Request")()
        request.from_map(parameters)
        method = getattr(self.client, re.sub("(?<!^)([A-Z])", r"_\1", action).lower() + "_with_options")
        runtime = new_runtime.RuntimeOptions(read_timeout=int(read_timeout * 1000))
        try:
            answer: dict[str, Any] = method(request, runtime).body.to_map()
        except Exception as error:
            status, code = getattr(error, "status_code", None), getattr(error, "code", None)
            raise Fault(code, status, str(error)) from error
        return answer


class Old:
    """``aliyun-python-sdk-fnf``; its answers are the bytes that came."""

    def __init__(self, address: str, secret: str = SECRET, key: str = KEY) -> None:
        self.address = address
        self.client = old_client.AcsClient(key, secret, "cn-hangzhou")
        self.client.add_endpoint("cn-hangzhou", "fnf", address)

    def __call__(self, action: str, read_timeout: float = 10, **parameters: Any) -> dict[str, Any]:
        module = __import__(f"{old_requests.__name__}.{action}Request", fromlist=["x"])
        request = getattr(module, f"{action}Request")()
        request.set_protocol_type("http")
        request.set_read_timeout(read_timeout)
        for name, value in parameters.items():
            getattr(request, f"set_{name}")(value)
        try:
            answer: dict[str, Any] = json.loads(self.client.do_action_with_exception(request))
        except old_errors.ServerException as error:
            raise Fault(error.get_error_code(), error.get_http_status(), error.get_error_msg()) from error
        except old_errors.ClientException as error:
            raise Fault(error.get_error_code(), None, error.get_error_msg()) from error
        return answer


Call = Callable[..., dict[str, Any]]


class Service:
    """A server on a data folder, to be killed and started at will."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start_server()

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("RIVERRUN_")}
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen([str(BINARY), *command], env={**own, **environment}, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_server(self) -> None:
        data = str(self.folder / "data")
        self.server = self.start("server", "--data", data, "--listen", self.address, *self.options)
        self.until(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/healthz", timeout=5):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def until(self, true: Callable[[], Any]) -> None:
        end = time.monotonic() + 60
        while not true():
            logs = "".join(log.read_text() for log in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"nothing happened for a minute\n{logs}"
            time.sleep(0.01)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{name} (\S+)$", text, re.M)
        assert found, text
        return float(found[1])

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(60)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    config = tmp_path / "riverrun.toml"
    config.write_text(f'[fnf]\naccess_keys = [{{ id = "{KEY}", secret_file = "secret" }}]\n')
    service = Service(tmp_path, "--config", str(config))
    yield service
    service.close()


CLIENTS: dict[str, Callable[[str], Call]] = {
    "new": New,
    "new-acs3": lambda address: New(address, algorithm="ACS3-HMAC-SHA256"),
    "old": Old,
}


@pytest.fixture(params=list(CLIENTS))
def call(service: Service, request: pytest.FixtureRequest) -> Call:
    """Each client in turn."""
    return CLIENTS[request.param](service.address)


def create(call: Call, name: str, source: str, **more: str) -> dict[str, Any]:
    return call("CreateFlow", Name=name, Definition=source, Type="FDL", Description="", **more)


def refused(code: str, status: int, call: Call, action: str, **parameters: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        call(action, **parameters)
    assert (caught.value.code, caught.value.status) == (code, status), caught.value
    return caught.value


def ended(call: Call, flow: str, execution: str) -> dict[str, Any]:
    while True:
        found = call("DescribeExecution", FlowName=flow, ExecutionName=execution, WaitTimeSeconds=5)
        if found["Status"] not in ("Starting", "Running"):
            return found


def test_flows_are_created_changed_listed_and_deleted(service: Service, call: Call) -> None:
    made = call("CreateFlow", Name="hello", Definition=PASS, Type="FDL", Description="says so", RoleArn="acs:ram::1:role/r")
    assert made["Name"] == "hello"
    assert made["Definition"] == PASS
    refused("FlowAlreadyExists", 409, call, "CreateFlow", Name="hello", Definition=PASS, Type="FDL", Description="")
    # What is not sent stays; what is sent empty becomes empty.
    changed = call("UpdateFlow", Name="hello", Description="greets")
    assert (changed["Description"], changed["RoleArn"], changed["Definition"]) == ("greets", "acs:ram::1:role/r", PASS)
    assert changed["Id"] == made["Id"]
    assert changed["CreatedTime"] == made["CreatedTime"] < changed["LastModifiedTime"]
    assert call("UpdateFlow", Name="hello", RoleArn="")["RoleArn"] == ""
    service.kill()
    service.start_server()
    found = call("DescribeFlow", Name="hello")
    assert (found["Description"], found["Type"], found["ExecutionMode"]) == ("greets", "FDL", "Standard")
    assert found["Id"] == made["Id"]

    for name in "abcd":
        create(call, name, PASS)
    first = call("ListFlows", Limit=2)
    assert [flow["Name"] for flow in first["Flows"]] == ["a", "b"]
    names, token = [], first["NextToken"]
    while token:
        page = call("ListFlows", Limit=2, NextToken=token)
        names += [flow["Name"] for flow in page["Flows"]]
        token = page.get("NextToken")
    assert names == ["c", "d", "hello"]
    refused("InvalidArgument", 400, call, "ListFlows", NextToken="bm90aGluZw")
    refused("InvalidArgument", 400, call, "ListFlows", Limit=1000)

    refused("FlowNotExists", 404, call, "DescribeFlow", Name="nobody")
    bad = {"Name": "bad", "Definition": "version: v1\ntype: floww\n", "Type": "FDL", "Description": ""}
    wrong = refused("InvalidArgument", 400, call, "CreateFlow", **bad)
    assert "line 2, column" in wrong.message
    refused("InvalidArgument", 400, call, "CreateFlow", Name="1st", Definition=PASS, Type="FDL", Description="")
    refused("MissingRequiredParams", 400, call, "CreateFlow", Name="x")
    call("DeleteFlow", Name="a")
    refused("FlowNotExists", 404, call, "DescribeFlow", Name="a")
    refused("FlowNotExists", 404, call, "StartExecution", FlowName="a")
    refused("FlowNotExists", 404, call, "DeleteFlow", Name="a")


def test_executions_are_started_once_by_name(service: Service, call: Call) -> None:
    create(call, "wait", WAIT)
    started = call("StartExecution", FlowName="wait", ExecutionName="e-1", Input='{"delay": 20}')
    assert (started["Name"], started["FlowName"], started["Status"]) == ("e-1", "wait", "Running")
    assert (started["Input"], started["Output"], started["StoppedTime"]) == ('{"delay": 20}', "", "")
    assert started["FlowDefinition"] == WAIT
    # The connection broke, or the server died: the user's own loop sends it again.
    service.kill()
    service.start_server()
    again = call("StartExecution", FlowName="wait", ExecutionName="e-1", Input="{}")
    assert (again["StartedTime"], again["Input"]) == (started["StartedTime"], '{"delay": 20}')
    stopped = call("StopExecution", FlowName="wait", ExecutionName="e-1", Error="Enough", Cause="no more")
    assert stopped["Status"] == "Stopped"
    found = call("DescribeExecution", FlowName="wait", ExecutionName="e-1")
    assert json.loads(found["Output"]) == {"ErrorCode": "Enough", "ErrorMessage": "no more"}
    assert found["StoppedTime"] >= found["StartedTime"]
    refused("ExecutionAlreadyExists", 400, call, "StartExecution", FlowName="wait", ExecutionName="e-1")
    refused("ExecutionAlreadyCompleted", 400, call, "StopExecution", FlowName="wait", ExecutionName="e-1")
    refused("ExecutionNotExists", 404, call, "DescribeExecution", FlowName="wait", ExecutionName="e-2")
    refused("InvalidArgument", 400, call, "StartExecution", FlowName="wait", ExecutionName="e 1")
    refused("InvalidArgument", 400, call, "StartExecution", FlowName="wait", Input="[1]")
    refused("InvalidArgument", 400, call, "StartExecution", FlowName="wait", Input="{")

    nameless = call("StartExecution", FlowName="wait")
    assert nameless["Name"] != call("StartExecution", FlowName="wait")["Name"]
    name = nameless["Name"]
    assert call("DescribeExecution", FlowName="wait", ExecutionName=name)["Status"] == "Running"
    assert call("StartExecution", FlowName="wait", ExecutionName=name)["StartedTime"] == nameless["StartedTime"]


def test_starts_at_the_same_time_are_one(service: Service, call: Call) -> None:
    create(call, "wait", WAIT)
    clients = [make(service.address) for make in CLIENTS.values() for _ in range(3)]
    with ThreadPoolExecutor(len(clients)) as threads:
        started = threads.map(lambda client: client("StartExecution", FlowName="wait", ExecutionName="one"), clients)
        assert len({execution["StartedTime"] for execution in started}) == 1
    assert len(call("ListExecutions", FlowName="wait")["Executions"]) == 1


def test_a_generic_request_has_everything_in_its_query_or_its_form(service: Service) -> None:
    old = Old(service.address)
    create(old, "wait", WAIT)

    def send(method: str, place: str, **parameters: str) -> dict[str, Any]:
        request = old_common.CommonRequest(domain=service.address, version="2019-03-15", action_name="StartExecution")
        request.set_protocol_type("http")
        request.set_method(method)
        for name, value in {"FlowName": "wait", **parameters}.items():
            getattr(request, f"add_{place}")(name, value)
        answer: dict[str, Any] = json.loads(old.client.do_action_with_exception(request))
        return answer

    for number, (method, place) in enumerate([("POST", "query_param"), ("POST", "body_params"), ("GET", "query_param")]):
        text = '{"text": "a b*~\u00e9/+&=%20"}'
        started = send(method, place, ExecutionName=f"e{number}", Input=text)
        assert (started["Name"], started["Input"]) == (f"e{number}", text)


def test_the_newer_client_works_in_an_event_loop_too(service: Service) -> None:
    new = New(service.address)
    create(new, "pass", PASS)

    async def run() -> str:
        client = new.client
        await client.start_execution_async(new_models.StartExecutionRequest(flow_name="pass", execution_name="a"))
        request = new_models.DescribeExecutionRequest(flow_name="pass", execution_name="a", wait_time_seconds=5)
        status: str = (await client.describe_execution_async(request)).body.status
        return status

    assert asyncio.run(run()) == "Succeeded"


def test_an_end_is_waited_for_and_an_error_told(call: Call) -> None:
    for name, source in [("pass", PASS), ("brief", BRIEF), ("fail", FAIL)]:
        create(call, name, source)
    call("StartExecution", FlowName="pass", ExecutionName="p", Input='{"word": "\u6d41 hello"}')
    found = ended(call, "pass", "p")
    assert (found["Status"], json.loads(found["Output"])) == ("Succeeded", {"said": "流 hello"})
    call("StartExecution", FlowName="brief", ExecutionName="b")
    # One long poll, which ends with the execution and not with the time.
    found = call("DescribeExecution", 60, FlowName="brief", ExecutionName="b", WaitTimeSeconds=50)
    assert found["Status"] == "Succeeded"
    call("StartExecution", FlowName="fail", ExecutionName="f")
    found = ended(call, "fail", "f")
    assert found["Status"] == "Failed"
    assert json.loads(found["Output"]) == {"ErrorCode": "NoLuck", "ErrorMessage": "out of luck"}
    refused("InvalidArgument", 400, call, "DescribeExecution", FlowName="fail", ExecutionName="f", WaitTimeSeconds=61)


def test_a_client_that_hung_up_is_noticed(service: Service, call: Call) -> None:
    create(call, "wait", WAIT)
    call("StartExecution", FlowName="wait", ExecutionName="w")

    def ask() -> None:
        with pytest.raises(Fault):
            call("DescribeExecution", 1, FlowName="wait", ExecutionName="w", WaitTimeSeconds=60)

    asking = threading.Thread(target=ask)
    asking.start()
    service.until(lambda: service.metric("riverrun_http_requests_open") == 2)
    asking.join()
    service.until(lambda: service.metric("riverrun_http_requests_open") == 1)


def test_express_flows_answer_with_their_result(call: Call) -> None:
    create(call, "quick", PASS, ExecutionMode="Express")
    create(call, "bad", FAIL, ExecutionMode="Express")
    done = call("StartSyncExecution", FlowName="quick", ExecutionName="s", Input='{"word": "now"}')
    assert re.fullmatch(r"s:[0-9a-f-]{36}", done["Name"])
    assert (done["Status"], json.loads(done["Output"])) == ("Succeeded", {"said": "now"})
    assert done["Name"] != call("StartSyncExecution", FlowName="quick", ExecutionName="s")["Name"]
    failed = call("StartSyncExecution", FlowName="bad")
    assert (failed["Status"], failed["ErrorCode"], failed["ErrorMessage"]) == ("Failed", "NoLuck", "out of luck")
    assert call("DescribeExecution", FlowName="quick", ExecutionName=done["Name"])["Status"] == "Succeeded"
    create(call, "slow", PASS)
    refused("InvalidArgument", 400, call, "StartSyncExecution", FlowName="slow")


def test_executions_are_listed_by_name_status_and_time(call: Call) -> None:
    create(call, "wait", WAIT)
    names = [f"{kind}-{number}" for kind in ("a", "b") for number in range(4)]
    started = {}
    for name in names:
        started[name] = call("StartExecution", FlowName="wait", ExecutionName=name)["StartedTime"]
        time.sleep(0.002)
    call("StopExecution", FlowName="wait", ExecutionName="a-2")

    def listed(**filters: Any) -> list[str]:
        found, token = [], ""
        while True:
            more = {"NextToken": token} if token else {}
            page = call("ListExecutions", FlowName="wait", Limit=3, **filters, **more)
            assert len(page["Executions"]) <= 3
            found += [execution["Name"] for execution in page["Executions"]]
            token = page.get("NextToken") or ""
            if not token:
                return found

    assert listed() == names[::-1]
    assert listed(ExecutionNamePrefix="b-") == ["b-3", "b-2", "b-1", "b-0"]
    assert listed(Status="Stopped") == ["a-2"]
    assert len(listed(Status="Running")) == 7
    assert listed(StartedTimeBegin=started["a-1"], StartedTimeEnd=started["a-3"]) == ["a-3", "a-2", "a-1"]
    assert listed(ExecutionNamePrefix="c") == []
    refused("InvalidArgument", 400, call, "ListExecutions", FlowName="wait", Status="Sleeping")
    refused("InvalidArgument", 400, call, "ListExecutions", FlowName="wait", StartedTimeBegin="yesterday")
    refused("InvalidArgument", 400, call, "ListExecutions", FlowName="wait", Limit=100)
    refused("InvalidArgument", 400, call, "ListExecutions", FlowName="wait", NextToken="a-1")


def test_a_history_is_read_page_by_page(call: Call) -> None:
    create(call, "pass", PASS)
    call("StartExecution", FlowName="pass", ExecutionName="p", Input="{}")
    ended(call, "pass", "p")
    whole = call("GetExecutionHistory", FlowName="pass", ExecutionName="p")["Events"]
    kinds = [event["Type"] for event in whole]
    assert kinds == ["ExecutionStarted", "StepEntered", "StepStarted", "StepSucceeded", "StepExited", "ExecutionSucceeded"]
    assert [event["EventId"] for event in whole] == list(range(1, 7))
    assert json.loads(whole[0]["EventDetail"]) == {"input": {}}
    pages, token = [], ""
    while True:
        more = {"NextToken": token} if token else {}
        page = call("GetExecutionHistory", FlowName="pass", ExecutionName="p", Limit=4, **more)
        pages.append(page["Events"])
        token = page.get("NextToken") or ""
        if not token:
            break
    assert [len(page) for page in pages] == [4, 2]
    assert pages[0] + pages[1] == whole
    refused("InvalidArgument", 400, call, "GetExecutionHistory", FlowName="pass", ExecutionName="p", NextToken="5")


def test_tasks_are_reported_from_outside(service: Service, call: Call) -> None:
    functions = service.folder / "functions" / "desk"
    functions.mkdir(parents=True)
    (functions / "ask.py").write_text(FUNCTION)
    path = service.folder / "token"
    service.start("worker", str(functions.parent), "--server", f"http://{service.address}", TOKEN_FILE=str(path))

    def token() -> str:
        service.until(path.exists)
        text = path.read_text()
        path.unlink()
        return text

    create(call, "ask", ASK)
    create(call, "pass", PASS)
    create(call, "fail", FAIL)
    call("StartExecution", FlowName="ask", ExecutionName="yes")
    yes = token()
    told = call("ReportTaskSucceeded", TaskToken=yes, Output='{"answer": 42}')
    assert isinstance(told["EventId"], int)
    found = ended(call, "ask", "yes")
    assert (found["Status"], json.loads(found["Output"])) == ("Succeeded", {"answer": 42})
    # The first report wins; the same again, after a lost answer, is harmless; another is refused.
    assert call("ReportTaskSucceeded", TaskToken=yes, Output='{"answer": 42}') == {**told, "RequestId": ANY}
    refused("InvalidArgument", 400, call, "ReportTaskFailed", TaskToken=yes, Error="Late", Cause="")

    call("StartExecution", FlowName="ask", ExecutionName="no")
    call("ReportTaskFailed", TaskToken=token(), Error="Refused", Cause="not today")
    assert json.loads(ended(call, "ask", "no")["Output"]) == {"sorry": True}

    # An execution that was given a task's token reports its own end.
    call("StartExecution", FlowName="ask", ExecutionName="child")
    child = token()
    service.kill()
    service.start_server()
    call("StartExecution", FlowName="pass", ExecutionName="c", Input='{"word": "done"}', CallbackFnFTaskToken=child)
    assert json.loads(ended(call, "ask", "child")["Output"]) == {"said": "done"}
    call("StartExecution", FlowName="ask", ExecutionName="failing")
    call("StartExecution", FlowName="fail", ExecutionName="c", CallbackFnFTaskToken=token())
    found = ended(call, "ask", "failing")
    assert (found["Status"], json.loads(found["Output"])["ErrorCode"]) == ("Failed", "NoLuck")

    wrong = "0" if child[-1] != "0" else "1"
    refused("InvalidArgument", 400, call, "ReportTaskSucceeded", TaskToken="nonsense", Output="{}")
    refused("InvalidArgument", 400, call, "ReportTaskSucceeded", TaskToken=child[:-1] + wrong, Output="{}")
    refused("InvalidArgument", 400, call, "StartExecution", FlowName="pass", CallbackFnFTaskToken=child[:-1] + wrong)
    refused("MissingRequiredParams", 400, call, "ReportTaskSucceeded", Output="{}")


def test_a_deleted_flow_takes_its_executions_along(service: Service, call: Call) -> None:
    create(call, "wait", WAIT)
    for number in range(5):
        call("StartExecution", FlowName="wait", ExecutionName=f"e{number}")
    call("DeleteFlow", Name="wait")
    service.kill()
    service.start_server()
    create(call, "wait", WAIT)
    assert call("ListExecutions", FlowName="wait")["Executions"] == []
    refused("ExecutionNotExists", 404, call, "DescribeExecution", FlowName="wait", ExecutionName="e1")
    assert call("StartExecution", FlowName="wait", ExecutionName="e1")["Status"] == "Running"


def test_wrong_keys_are_refused(service: Service) -> None:
    wrong: list[Call] = [
        New(service.address, secret="secret-of-another"),
        New(service.address, secret="secret-of-another", algorithm="ACS3-HMAC-SHA256"),
    ]
    for call in wrong:
        refused("SignatureDoesNotMatch", 400, call, "ListFlows")
    # The older client finds out by itself what is wrong.
    refused("InvalidAccessKeySecret", 400, Old(service.address, secret="secret-of-another"), "ListFlows")
    unknown: list[Call] = [New(service.address, key="AKIDNOBODY"), Old(service.address, key="AKIDNOBODY")]
    for call in unknown:
        refused("InvalidAccessKeyID", 403, call, "ListFlows")


def test_schedules_are_created_changed_listed_and_deleted(call: Call) -> None:
    create(call, "timed", PASS)
    one = {"FlowName": "timed", "ScheduleName": "nightly"}
    payload = '{"serviceName":"a"}'
    created = call("CreateSchedule", **one, CronExpression="0 0 3 * * *", Payload=payload, Description="d", Enable=True)
    assert (created["ScheduleName"], created["Payload"], created["Enable"]) == ("nightly", payload, True)
    refused("ScheduleAlreadyExists", 409, call, "CreateSchedule", **one, CronExpression="@every 1m", Enable=True)
    changed = call("UpdateSchedule", **one, CronExpression="@every 1m", Enable=False)
    assert (changed["CronExpression"], changed["Enable"], changed["Payload"]) == ("@every 1m", False, payload)
    shown = call("DescribeSchedule", **one)
    assert (shown["ScheduleId"], shown["Description"]) == (created["ScheduleId"], "d")
    call("CreateSchedule", FlowName="timed", ScheduleName="other", CronExpression="@every 1h", Enable=True)
    first = call("ListSchedules", FlowName="timed", Limit=1)
    rest = call("ListSchedules", FlowName="timed", Limit=1, NextToken=first["NextToken"])
    assert [page["Schedules"][0]["ScheduleName"] for page in (first, rest)] == ["nightly", "other"]
    assert "NextToken" not in rest
    call("DeleteSchedule", **one)
    refused("ScheduleNotExists", 404, call, "DescribeSchedule", **one)
    refused("InvalidArgument", 400, call, "CreateSchedule", **one, CronExpression="0 0 0 30 2 ?", Enable=True)


def texts(names: str) -> dict[str, type]:
    return dict.fromkeys(names.split(), str)


FLOW = texts("Id Name Definition Description Type RoleArn ResourceGroupId CreatedTime LastModifiedTime")
SCHEDULE = texts("ScheduleId ScheduleName CronExpression Description Payload CreatedTime LastModifiedTime")
EXECUTION = texts("Name FlowName FlowDefinition Input Output Status StartedTime StoppedTime")
SYNC = texts("Name FlowName Status Output ErrorCode ErrorMessage StartedTime StoppedTime")
EVENT: dict[str, type] = {"EventId": int, "ScheduleEventId": int, "Type": str, "StepName": str, "Time": str, "EventDetail": str}


def matches(body: dict[str, Any], table: dict[str, type], **more: type) -> None:
    """Every field of the table, each of its type, and no other: no client would tell."""
    wanted = {**table, **more}
    assert body.keys() == wanted.keys()
    for name, kind in wanted.items():
        assert type(body[name]) is kind, (name, body[name])
        if name.endswith("Time") and body[name]:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body[name]), (name, body[name])


def test_answers_have_the_vendors_fields_and_types(service: Service) -> None:
    call = Old(service.address)
    made = create(call, "pass", PASS, ExecutionMode="Express")
    timed = call("CreateSchedule", FlowName="pass", ScheduleName="s", CronExpression="@every 1h", Enable=False)
    matches(timed, SCHEDULE, Enable=bool, RequestId=str)
    matches(made, FLOW, ExecutionMode=str, RequestId=str)
    matches(call("DescribeFlow", Name="pass"), FLOW, ExecutionMode=str, RequestId=str)
    matches(call("UpdateFlow", Name="pass", Description="x"), FLOW, ExternalStorageLocation=str, RequestId=str)
    create(call, "wait", WAIT)
    flows = call("ListFlows", Limit=1)
    assert flows.keys() == {"Flows", "NextToken", "RequestId"}
    matches(flows["Flows"][0], FLOW, ExecutionMode=str)
    matches(call("StartExecution", FlowName="pass", ExecutionName="p"), EXECUTION, RequestId=str)
    matches(call("StartExecution", FlowName="wait", ExecutionName="w"), EXECUTION, RequestId=str)
    matches(ended(call, "pass", "p"), EXECUTION, RequestId=str)
    found = call("ListExecutions", FlowName="pass")
    assert found.keys() == {"Executions", "RequestId"}
    matches(found["Executions"][0], EXECUTION)
    matches(call("StopExecution", FlowName="wait", ExecutionName="w"), EXECUTION, RoleArn=str, RequestId=str)
    matches(call("StartSyncExecution", FlowName="pass"), SYNC, RequestId=str)
    history = call("GetExecutionHistory", FlowName="pass", ExecutionName="p")
    assert history.keys() == {"Events", "RequestId"}
    for event in history["Events"]:
        matches(event, EVENT)
        assert isinstance(json.loads(event["EventDetail"]), dict)
    assert call("DeleteFlow", Name="wait").keys() == {"RequestId"}

    new = New(service.address)
    variables = {"Variables": [{"Name": "A", "Value": "b", "Description": "c"}]}
    create(new, "env", PASS, Environment=variables)  # type: ignore[arg-type]
    assert new("DescribeFlow", Name="env")["Environment"] == variables
    regions = new("DescribeRegions", AcceptLanguage="en-US")["Regions"]["Region"]
    assert regions == [{"RegionId": "local", "LocalName": "Riverrun", "RegionEndpoint": service.address}]


def test_without_access_keys_any_will_do_on_the_loopback(tmp_path: Path) -> None:
    service = Service(tmp_path)
    try:
        made = create(New(service.address, secret="whatever", key="anybody"), "pass", PASS)
        endpoint = New(f"http://{service.address}", secret="whatever", key="anybody", algorithm="ACS3-HMAC-SHA256")
        assert endpoint("DescribeFlow", Name="pass")["Id"] == made["Id"]
        assert Old(service.address, secret="whatever", key="anybody")("DescribeFlow", Name="pass")["Id"] == made["Id"]
        with urllib.request.urlopen(f"http://{service.address}/", timeout=5) as page:
            assert page.headers["content-type"].startswith("text/html")
    finally:
        service.close()
