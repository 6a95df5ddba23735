"""Drives the closed loop: tells Prometheus which guests there are, burns load in them like a balancer would, and watches.

In: the folder that `run` made. Out: a timeline of what is really there, by libvirt's and Prometheus' own word, and exit 1
when it is not what has to happen.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

room, binary, daemon = sys.argv[1], sys.argv[2], int(sys.argv[3])
HOSTS = ["kvm1", "kvm2"]
# Seconds of one CPU that are asked for each second, over all guests together.
LOAD = 1.7
began = time.monotonic()
guests = {}  # domain's name: (host, state, address)
load = 0.0
desired = None  # by skala's own metric
last_line = None


def say(text):
    print(f"{time.monotonic() - began:6.1f} s  {text}")


def virsh(host, *words):
    command = ["virsh", "-q", "-c", f"qemu:///system?socket={room}/{host}/libvirt-sock", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout


def look():
    """What libvirt shows, and Prometheus' list of targets made from it."""
    found = {}
    for host in HOSTS:
        for row in virsh(host, "list", "--all").splitlines():
            _, name, state = row.split(None, 2)
            known = guests.get(name)
            address = known[2] if known else None
            if not address and state == "running":
                lease = virsh(host, "domifaddr", name).split()
                address = lease[3].split("/")[0] if len(lease) > 3 else None
            found[name] = (host, state.strip(), address)
    guests.clear()
    guests.update(found)
    targets = [
        {"targets": [f"{address}:80"], "labels": {"zone": host}}
        for host, state, address in found.values()
        if address and state == "running"
    ]
    with open(f"{room}/targets.new", "w") as file:
        json.dump(targets, file)
    os.rename(f"{room}/targets.new", f"{room}/targets.json")


def ask(query):
    """What Prometheus answers: each value by its instance, or by nothing."""
    url = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=5) as answer:
        rows = json.load(answer)["data"]["result"]
    return {row["metric"].get("instance_id", ""): float(row["value"][1]) for row in rows}


def number(query):
    return next(iter(ask(query).values()), None)


def balance(name, address):
    """Burns this guest's share of the load, one request at a time, as long as it is there."""
    while name in guests:
        share = min(load / max(1, len(serving())), 1.0)
        started = time.monotonic()
        if share > 0:
            try:
                url = f"http://{address}/cgi-bin/burn?{int(share * 100)}"
                urllib.request.urlopen(url, timeout=30).read()
            except OSError:
                pass
        time.sleep(max(0.05, 1.0 - (time.monotonic() - started)))


def serving():
    """Guests that answer."""
    return [name for name, (_, state, address) in guests.items() if address and state == "running" and name in balanced]


balanced = {}


def step():
    """Looks once; prints a line when something changed."""
    global last_line, desired
    look()
    try:
        up = ask("guest_info")
        cpu = ask('sum by (instance_id) (rate(guest_cpu_jiffies_total{mode!~"idle|iowait"}[8s]))')
        desired = number('skala_fleet_desired{fleet="web"}')
    except (urllib.error.URLError, OSError):
        up, cpu, desired = {}, {}, None
    for name in up:
        if name in guests and guests[name][2] and name not in balanced:
            balanced[name] = threading.Thread(target=balance, args=(name, guests[name][2]), daemon=True)
            balanced[name].start()
    shown = ", ".join(
        f"{name[4:].lstrip('0')[:4]}..{name[-2:]}@{host} {state}" + ("" if name in up or state != "running" else " (boots)")
        for name, (host, state, _) in sorted(guests.items(), key=lambda guest: (guest[1][0], guest[0]))
    )
    line = f"desired {desired and int(desired)}, load {load:.1f}: {shown or 'nothing'}"
    if line != last_line:
        mean = f"{sum(cpu.values()) / len(cpu):3.0f} %" if cpu else "  ? %"
        say(f"cpu {mean}  {line}")
        last_line = line
    return up


def until(what, seconds, holds):
    """Looks each second until this holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        up = step()
        if holds(up):
            say(f"-> {what}")
            return up
        if not os.path.exists(f"/proc/{daemon}"):
            fail("skala has ended")
        time.sleep(0.7)
    fail(f"this did not come within {seconds} s: {what}")


def fail(why):
    say(f"FAILED: {why}")
    for name in guests:
        print(virsh(guests[name][0], "domstate", name, "--reason").strip(), name)
    sys.exit(1)


def running():
    return [name for name, (_, state, _) in guests.items() if state == "running"]


def skala(*words):
    done = subprocess.run([binary, *words, "--socket", f"{room}/skala.sock"], capture_output=True, text=True, timeout=20)
    print("\n".join("          | " + line for line in (done.stdout + done.stderr).splitlines()))


def check(what, holds):
    if not holds:
        fail(f"this does not hold: {what}")
    say(f"-> {what}")


def zones():
    return {host for host, state, _ in guests.values() if state == "running"}


def main():
    global load
    until("the first machine was started, booted, and serves its metrics", 120, lambda up: len(up) == 1 and len(running()) == 1)
    info = ask('guest_info{role="web", marker="from-a-mould"}')
    check("it has read its cloud-init seed, knows its name, and has its own copy of the template volume", set(info) == set(guests))

    say("-- load is burnt in the guests")
    load = LOAD
    until("skala asks for more", 90, lambda up: (desired or 0) > 1)
    skala("explain", "web")
    busy = until("the load is carried by three machines or more", 180, lambda up: len(up) >= 3 and len(up) == len(running()))
    check("they are on both hosts", zones() == set(HOSTS))
    check("Prometheus knows each by the name that libvirt has", set(busy) == set(guests))

    victim = max(running())
    say(f"-- one crashes: {victim[4:].lstrip('0')[:4]}..{victim[-2:]}, killed as the machine's memory killer would")
    # The name is in the process's own words; all processes here are of this test.
    found = subprocess.run(["pgrep", "-f", f"guest={victim},"], capture_output=True, text=True).stdout.split()
    check("it is one process", len(found) == 1)
    count = len(running())
    os.kill(int(found[0]), signal.SIGKILL)
    until("libvirt shows it as off", 20, lambda _: guests.get(victim, ("", "", ""))[1] == "shut off" or victim not in guests)
    until("another one has taken its place", 120, lambda up: len(set(up) & set(running())) >= count)

    say("-- the load ends")
    load, before = 0.0, desired
    until("skala asks for fewer", 120, lambda up: desired is not None and desired < before)
    skala("explain", "web")
    until("one machine is left, and the crashed one is gone, too", 240, lambda up: len(guests) == 1 and len(up) == 1)
    skala("status")
    until("it stays so", 15, lambda up, end=time.monotonic() + 12: time.monotonic() > end and len(guests) == 1)

    left = {name for host in HOSTS for name in os.listdir(f"{room}/{host}/pool")} - {"template.img"}
    check("nothing is left of the others, volumes and seeds included", left == {f"{n}{e}" for n in guests for e in (".qcow2", "-seed.iso")})
    events = "".join(open(f"{room}/{host}/events").read() for host in HOSTS)
    away = events.count("Stopped Shutdown")
    say(f"{events.count('Started Booted')} booted, {away} shut down when asked, {events.count('Stopped Destroyed')} were destroyed, "
        f"{events.count('Stopped Failed')} crashed")
    check("those that were asked to go shut down by themselves", away >= 2 and events.count("Stopped Failed") == 1)
    os.kill(daemon, signal.SIGTERM)
    say("all is well")


main()
