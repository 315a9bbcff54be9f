#!/usr/bin/env python3
"""Forwards the figures of a run to Weights & Biases.

  scripts/wandb_forward.py FOLDER             sends what metrics.jsonl in FOLDER holds, then ends
  scripts/wandb_forward.py FOLDER --follow    goes on until its standard input is closed

flux_train starts it with --follow when metrics.enable_wandb is set; on its own it sends a run that is over. It needs the
package wandb, and an account (`wandb login`, or WANDB_API_KEY); WANDB_PROJECT names the project, WANDB_MODE=offline keeps
everything in FOLDER/wandb for `wandb sync`. FOLDER/wandb_run_id holds the id under which a resumed run goes on.
"""
import sys

if sys.path[:1] == [""]:  # what lies in the current folder is none of the modules below
    del sys.path[0]

import argparse
import json
import os
import select
import signal
import uuid

POLL_SECONDS = 1.0
PLACES = ("step", "samples", "time_s")  # what curves may be drawn over; not figures of their own


def run_id(folder):
    path = os.path.join(folder, "wandb_run_id")
    try:
        with open(path) as file:
            name = file.read().strip()
        if name:
            return name
    except FileNotFoundError:
        pass
    name = uuid.uuid4().hex[:12]
    with open(path, "w") as file:
        file.write(name + "\n")
    return name


def configuration(folder):
    """The effective configuration; nothing where this Python cannot read TOML (before 3.11)."""
    try:
        import tomllib
        with open(os.path.join(folder, "config.toml"), "rb") as file:
            return tomllib.load(file)
    except (ImportError, FileNotFoundError):
        return {}


def figures(line):
    """What to log of one line of metrics.jsonl; nothing for a line that is none."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict) or not isinstance(values.get("step"), int):
        return None
    group = "validation" if "val_loss" in values else "train"
    named = {key if key in PLACES else group + "/" + key: value for key, value in values.items()}
    return {key: value for key, value in named.items() if value is not None}


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


def forward(run, lines, after):
    for line in lines:
        values = figures(line)
        if values and values["step"] > after:
            run.log(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="of the run (job.dump_folder)")
    parser.add_argument("--follow", action="store_true", help="until standard input is closed")
    parser.add_argument("--after", metavar="STEP", type=int, default=-1, help="leave out the steps up to this one")
    options = parser.parse_args()
    if options.follow:  # what ends the run ends this too, but after the last line
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    try:
        import wandb
        wandb.init
    except (ImportError, AttributeError) as problem:
        sys.exit(f"wandb_forward: {problem}: install it with `pip install wandb`")
    try:
        lines = Lines(os.path.join(options.folder, "metrics.jsonl"))
    except OSError as problem:
        sys.exit(f"wandb_forward: {problem}: name the folder of a run (its job.dump_folder)")
    config = configuration(options.folder)
    run = wandb.init(project=os.environ.get("WANDB_PROJECT", "flux_train"), dir=options.folder, config=config,
                     name=config.get("job", {}).get("description"), id=run_id(options.folder), resume="allow")
    run.define_metric("*", step_metric="step")
    said = b""
    while options.follow:
        word = input_word(POLL_SECONDS)
        forward(run, lines.read(), options.after)
        if word == b"":
            break
        said += word or b""
    forward(run, lines.read(), options.after)
    # The program says "done" before it closes; closed without it, it has failed.
    run.finish(exit_code=1 if options.follow and said != b"done" else 0)


if __name__ == "__main__":
    main()
