"""The published Python command line, unmodified, operates an instance on the compute node at ALEPH_CRN."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

from tool import aleph, command, environment, home, need, printed_json, scratch, step

needed = ["ALEPH_CRN", "ALEPH_CRN_LIST_URL", "ALEPH_INSTANCE", "ALEPH_CONFIDENTIAL", "ALEPH_PROGRAM"]
if missing := [name for name in needed if not os.environ.get(name)]:
    sys.exit(f"operate_cli.py: set {', '.join(missing)}; official.go says what they are")
node, list_url, instance, confidential, program = (os.environ[name] for name in needed)
environment["ALEPH_CRN_LIST_URL"] = list_url
environment["PYTHONUNBUFFERED"] = "1"
environment["COLUMNS"] = "4000"  # the tool breaks lines of JSON as well
stranger = ["--private-key", os.environ["ALEPH_PRIVATE_KEY_B"]]


def says(text, *arguments, typed=""):
    """Runs the tool, which leaves with 0 also when a node refuses, and looks at what it says."""
    out = aleph(*arguments, typed=typed)
    need(text in out, f"printed {out[-400:]!r}")


def execution():
    """The instance as the node lists it."""
    with urllib.request.urlopen(f"{node}/v2/about/executions/list", timeout=20) as answer:
        return json.load(answer).get(instance)


def mapped():
    return execution()["networking"]["mapped_ports"]


def instance_list():
    (entry,) = [e for e in printed_json(aleph("instance", "list", "--json")) if e["instance"]["item_hash"] == instance]
    need(entry["allocation"]["crn_url"] == node, f"placed at {entry['allocation']}")
    need(entry["execution"]["running"] and entry["execution"]["networking"]["mapped_ports"]["22"]["host"], f"runs as {entry['execution']}")


def logs():
    """Follows the output until the machine has begun to boot, and leaves with Ctrl-C."""
    running = subprocess.Popen(command("instance", "logs", instance), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        need(any("small guest: boot" in line for line in running.stdout), "the output ended")
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)


def reboot():
    says(f"VM rebooted on CRN: {node}", "instance", "reboot", instance)


def stop():
    says(f"VM stopped on CRN: {node}", "instance", "stop", instance)
    need(not execution()["running"], "it runs")


def start():
    says(f"VM allocated on CRN: {node}", "instance", "start", instance, "--domain", node)
    need(execution()["running"], "it does not run")


def reinstall():
    says(f"VM rootfs reinstalled on CRN: {node}", "instance", "reinstall", instance, "--keep-data", typed="y\n")


def refused():
    says("Status : 403", "instance", "stop", instance, "--domain", node, *stranger)


def port_create():
    says(f"created successfully for {instance} on port 8081", "instance", "port-forwarder", "create", instance, "8081", "--no-tcp", "--udp")


def port_refresh():
    says("{}", "instance", "port-forwarder", "refresh", instance)
    need(mapped()["8081"] | {"host": 0} == {"host": 0, "tcp": False, "udp": True}, f"mapped {mapped()}")


def port_list():
    out = aleph("instance", "port-forwarder", "list", "--vm-id", instance)
    need("8081" in out and str(mapped()["8081"]["host"]) in out, f"printed {out[-400:]!r}")


# The tool does not wait until what it publishes is processed, and then says so instead of success.
def port_update():
    says("Port forward update", "instance", "port-forwarder", "update", instance, "8081", "--udp")


def port_delete():
    says("Port forward delete", "instance", "port-forwarder", "delete", instance, "--port", "8081")


def program_logs():
    says("probe: started", "program", "logs", program, "--domain", node)


def confidential_allocate():
    says("confidential execution is", "instance", "allocate", confidential)


def confidential_session():
    # The tool looks for sevctl before it asks the node, and would run it after.
    tool = home / "sevctl"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    environment["PATH"] = f"{home}:{environment['PATH']}"
    says("Failed to retrieve platform certificate", "instance", "confidential-init-session", confidential, "--domain", node)


def delete():
    says(f"VM erased on CRN: {node}", "instance", "delete", instance)
    # The scheduler may have sent it there once more before it was forgotten.
    deadline = time.monotonic() + 30
    while execution() is not None:
        need(time.monotonic() < deadline, "the node has it still")
        time.sleep(0.1)


step(58, "start", start)
step(58, "list --json", instance_list)
step(58, "logs", logs)
step(58, "reboot", reboot)
step(58, "stop", stop)
step(58, "reinstall", reinstall)
step(58, "stop by a stranger", refused)
step(59, "port-forwarder create", port_create)
step(59, "port-forwarder refresh", port_refresh)
step(59, "port-forwarder list", port_list)
step(59, "port-forwarder update", port_update)
step(59, "port-forwarder delete --port", port_delete)
step(60, "program logs", program_logs)
step(61, "allocate what the node does not offer", confidential_allocate)
step(61, "confidential-init-session", confidential_session)
step(62, "delete", delete)
scratch.cleanup()
