#!/usr/bin/env python3
"""What the driver says of GPU 0 now: clocks, power, temperature, what holds the clocks down, memory.

Prints JSON; {} where nvidia-smi does not answer. Asks only, changes nothing. Python's standard
library only.
"""

import json
import subprocess
import threading

# nvidia-smi's name -> ours. Older drivers call the reasons those of throttling.
FIELDS = {"clocks.sm": "sm_mhz", "clocks.mem": "memory_mhz", "power.draw": "watts",
          "temperature.gpu": "celsius", "memory.used": "memory_mib"}
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
# Bits of the mask of reasons (nvml.h) that are worth a word: the others are none, or an idle GPU.
HOLDING = {0x4: "power cap", 0x8: "hardware slowdown", 0x20: "software thermal",
           0x40: "hardware thermal", 0x80: "power brake"}


def ask(fields):
    """nvidia-smi's answer, a text for each field; None where it has none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits",
               "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    answers = done.stdout.strip().split(", ")
    return answers if done.returncode == 0 and len(answers) == len(fields) else None


def number(text):
    try:
        return float(text)
    except ValueError:
        return None  # "[N/A]"


def sample():
    answers = ask(list(FIELDS))
    if answers is None:
        return {}
    result = {name: number(text) for name, text in zip(FIELDS.values(), answers)}
    for field in REASONS:
        found = ask([field])
        if found and found[0].startswith("0x"):
            mask = int(found[0], 16)
            result["held_by"] = [word for bit, word in HOLDING.items() if mask & bit]
            break
    return result


class Watch:
    """Samples while something runs: `with Watch() as watch: ...`, then watch.samples."""

    def __init__(self, seconds=1.0):
        self.seconds, self.samples = seconds, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.over.is_set():
            found = sample()
            if not found:
                return
            self.samples.append(found)
            self.over.wait(self.seconds)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()

    def most(self, name):
        return max((s[name] for s in self.samples if s.get(name) is not None), default=None)

    def busiest(self):
        """The sample with the most power: the clocks under load. {} without one."""
        known = [s for s in self.samples if s.get("watts") is not None]
        return max(known, key=lambda s: s["watts"]) if known else {}


if __name__ == "__main__":
    print(json.dumps(sample()))
