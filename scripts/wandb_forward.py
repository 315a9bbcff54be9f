#!/usr/bin/env python3
"""Forwards the figures of a run to Weights & Biases.

  scripts/wandb_forward.py FOLDER             sends what metrics.jsonl in FOLDER holds, then ends
  scripts/wandb_forward.py FOLDER --follow    goes on until its standard input is closed

flux_train starts it with --follow when metrics.enable_wandb is set; on its own it sends a run that is over, or what is
missing of it. It needs the package wandb, and an account (`wandb login`, or WANDB_API_KEY); WANDB_PROJECT names the
project, WANDB_MODE=offline keeps everything in FOLDER/wandb for `wandb sync`. FOLDER/wandb_run_id holds the id under
which a resumed run goes on and lets one forwarder at a time work; FOLDER/wandb_sent tells what W&B has got.
"""
import sys

if sys.path[:1] == [""]:  # what lies in the current folder is none of the modules below
    del sys.path[0]

import argparse
import fcntl
import json
import os
import select
import signal
import uuid

POLL_SECONDS = 1.0
PLACES = ("step", "samples", "time_s", "run_time_s")  # what curves may be drawn over; not figures of their own
GROUPS = ("train", "validation")


def take_run(folder):
    """The run's id, and the file that keeps other forwarders waiting as long as it is open."""
    file = open(os.path.join(folder, "wandb_run_id"), "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("wandb_forward: waits for another forwarder of this run to end", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0)
    name = file.read().strip()
    if not name:
        name = uuid.uuid4().hex[:12]
        file.write(name + "\n")
        file.flush()
    return name, file


class Sent:
    """The last step sent of each group of figures, kept in FOLDER/wandb_sent.

    W&B never forgets a line, and draws one that comes again a second time. So what a resumed run does again, after
    metrics.jsonl was cut back to its checkpoint, is not sent again: steps count, and not places in the file.
    """

    def __init__(self, folder, run):
        self.path = os.path.join(folder, "wandb_sent")
        self.state = {"run": run}
        try:
            with open(self.path) as file:
                found = json.load(file)
            if found["run"] == run:  # else that of another W&B run, whose id was taken away
                self.state = {"run": run, **{group: int(found[group]) for group in GROUPS if group in found}}
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as problem:
            sys.exit(f"wandb_forward: {self.path}: cannot be read ({problem!r}): remove it to send everything")

    def has(self, group, step):
        return step <= self.state.get(group, -1)

    def add(self, group, step):
        self.state[group] = step
        with open(self.path + ".tmp", "w") as file:
            json.dump(self.state, file)
        os.replace(self.path + ".tmp", self.path)


def configuration(folder):
    """The configuration as the run publishes it; nothing where this Python cannot read TOML (before 3.11)."""
    try:
        import tomllib
        with open(os.path.join(folder, "report.json")) as file:
            return tomllib.loads(json.load(file)["config_toml"])
    except (ImportError, FileNotFoundError):
        return {}


def figures(line):
    """Group and figures of one line of metrics.jsonl; nothing for a line that is none."""
    try:
        values = json.loads(line)
    except ValueError:
        return None, None
    if not isinstance(values, dict) or not isinstance(values.get("step"), int):
        return None, None
    group = "validation" if "val_loss" in values else "train"
    named = {key if key in PLACES else group + "/" + key: value for key, value in values.items()}
    return group, {key: value for key, value in named.items() if value is not None}


class Lines:
    """The whole lines of a file that grows."""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.rest = b""

    def read(self):
        pieces = (self.rest + self.file.read()).split(b"\n")
        self.rest = pieces.pop()
        return pieces


def input_word(seconds):
    """What came on standard input within so many seconds: None nothing yet, b"" its end."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
    return os.read(sys.stdin.fileno(), 64) if ready else None


def forward(run, lines, sent):
    for line in lines:
        group, values = figures(line)
        if group and not sent.has(group, values["step"]):
            run.log(values)
            sent.add(group, values["step"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="of the run (job.dump_folder)")
    parser.add_argument("--follow", action="store_true", help="until standard input is closed")
    options = parser.parse_args()
    if options.follow:  # what ends the run ends this too, but after the last line
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    try:
        import wandb
        wandb.init
    except (ImportError, AttributeError) as problem:
        sys.exit(f"wandb_forward: {problem}: install it with `pip install wandb`")
    path = os.path.join(options.folder, "metrics.jsonl")
    if not os.path.isfile(path):
        sys.exit(f"wandb_forward: {path}: is missing: name the folder of a run (its job.dump_folder)")
    try:
        name, lock = take_run(options.folder)
        sent = Sent(options.folder, name)
        lines = Lines(path)
    except OSError as problem:
        sys.exit(f"wandb_forward: {problem}")
    config = configuration(options.folder)
    run = wandb.init(project=os.environ.get("WANDB_PROJECT", "flux_train"), dir=options.folder, config=config,
                     name=config.get("job", {}).get("description"), id=name, resume="allow")
    run.define_metric("*", step_metric="step")
    said = b""
    while options.follow:
        word = input_word(POLL_SECONDS)
        forward(run, lines.read(), sent)
        if word == b"":
            break
        said += word or b""
    forward(run, lines.read(), sent)
    # The program says "done" before it closes; closed without it, it has failed.
    run.finish(exit_code=1 if options.follow and said != b"done" else 0)
    lock.close()


if __name__ == "__main__":
    main()
