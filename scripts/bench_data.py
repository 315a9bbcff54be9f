#!/usr/bin/env python3
"""Measures the data path beside its Python counterpart, on the same files and the same machine.

  scripts/bench_data.py --tar SHARDS.tar --clip DIR --t5 DIR [--binary build/flux_train] [--repeats 5] [--json FILE]

Python's side is Pillow, transformers and webdataset in the versions that the published reference pins, in a virtual
environment of its own (.deps/bench, made at the first call). Both sides run with one thread; figures are per second of
CPU time. They take turns, one repeat each, so that a change of the machine's clock hits both; the ratio shown is that of
the medians.
"""
import argparse
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".deps", "bench")
PACKAGES = ["Pillow==11.2.1", "transformers==4.52.4", "tokenizers==0.21.4", "sentencepiece==0.2.0", "protobuf==6.31.1",
            "numpy==2.4.6", "webdataset==1.0.2"]
# native stage -> the Python stages it is compared with, and the least ratio aimed at
COMPARED = {"decode": [("decode", None)],
            "resize_crop_normalise": [("resize_crop_normalise", 5.0)],
            "image_total": [("image_total", 2.2)],
            "clip": [("clip_slow_cold", 20.0), ("clip_slow", None), ("clip_fast", 5.0)],
            "t5": [("t5_slow", 12.0), ("t5_fast", 5.0)],
            "loader_0": [("webdataset", None)]}
SIDE = 256
PASS_SECONDS = 0.3


def enter_environment():
    """Makes the virtual environment if it is not there, and goes on inside it."""
    python = os.path.join(VENV, "bin", "python")
    stamp = os.path.join(VENV, "installed")
    wanted = " ".join(PACKAGES)
    if not os.path.exists(stamp) or open(stamp).read() != wanted:
        print(f"bench_data: installing {wanted} into {VENV}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        with open(stamp, "w") as file:
            file.write(wanted)
    if os.path.realpath(sys.prefix) != os.path.realpath(VENV):
        os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])


def load_samples(path, most):
    """Picture files and captions that training would take."""
    from PIL import Image

    files, captions = [], []
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    for name, data in members.items():
        stem, _, extension = name.rpartition(".")
        if extension.lower() not in ("jpg", "jpeg", "png", "webp") or len(files) == most:
            continue
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
        except OSError:
            continue
        if min(image.size) < SIDE:
            continue
        files.append(data)
        if stem + ".txt" in members:
            captions.append(members[stem + ".txt"].decode())
    if not files:
        sys.exit(f"{path}: no picture of at least {SIDE} x {SIDE} pixels can be read")
    return files, captions


def decode(data):
    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(data))
    image.load()
    return ImageOps.exif_transpose(image)


def transform(image):
    """Shorter side to SIDE, crop, RGB, fp32 planes in [-1, 1]."""
    import numpy

    width, height = image.size
    if (width, height) != (SIDE, SIDE):
        if width >= height:
            width, height = math.ceil(SIDE / height * width), SIDE
        else:
            width, height = SIDE, math.ceil(SIDE / width * height)
        image = image.resize((width, height))
    x, y = (width - SIDE) // 2, (height - SIDE) // 2
    array = numpy.asarray(image.crop((x, y, x + SIDE, y + SIDE)).convert("RGB"))
    return array.transpose(2, 0, 1).astype(numpy.float32) / 255.0 * 2.0 - 1.0


def webdataset_pass(path):
    import webdataset

    for sample in webdataset.WebDataset(path, shardshuffle=False):
        picture = next((sample[key] for key in ("png", "jpg", "jpeg", "webp") if key in sample), None)
        if picture is not None:
            image = decode(picture)
            if min(image.size) >= SIDE:
                transform(image)


def python_stages(args, files, captions):
    """Name -> (items of a pass, the pass)."""
    decoded = [decode(data) for data in files]
    stages = {"decode": (len(files), lambda: [decode(data) for data in files]),
              "resize_crop_normalise": (len(files), lambda: [transform(image) for image in decoded]),
              "image_total": (len(files), lambda: [transform(decode(data)) for data in files]),
              "webdataset": (len(files), lambda: webdataset_pass(args.tar))}

    def tokens(tokenizer, length, clear=lambda: None):
        def run():
            clear()
            for caption in captions:
                tokenizer(caption, truncation=True, max_length=length, padding="max_length")
        return len(captions), run

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import transformers

    transformers.logging.set_verbosity_error()
    if args.clip:
        slow = transformers.CLIPTokenizer.from_pretrained(args.clip)
        slow.fix_text = None  # the reference runs without ftfy
        first = dict(slow.cache)

        def clear():
            slow.cache.clear()
            slow.cache.update(first)

        stages["clip_slow_cold"] = tokens(slow, 77, clear)
        stages["clip_slow"] = tokens(slow, 77)
        stages["clip_fast"] = tokens(transformers.CLIPTokenizerFast.from_pretrained(args.clip), 77)
    if args.t5:
        stages["t5_slow"] = tokens(transformers.T5Tokenizer.from_pretrained(args.t5, legacy=True), 256)
        stages["t5_fast"] = tokens(transformers.T5TokenizerFast.from_pretrained(args.t5), 256)
    return stages


def measure(items, run):
    """Items per second of CPU time over a few tenths of a second."""
    rounds, begin = 0, time.thread_time()
    while time.thread_time() - begin < PASS_SECONDS:
        run()
        rounds += 1
    return items * rounds / (time.thread_time() - begin)


def measure_native(args):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "figures.json")
        command = [args.binary, "bench", "data", "--tar", args.tar, "--repeats", "1", "--samples", str(args.samples),
                   "--rows", "0", "--workers", "1", "--json", out]
        for flag in ("clip", "t5"):
            if getattr(args, flag):
                command += [f"--{flag}", getattr(args, flag)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, "OMP_NUM_THREADS": "1"})
        with open(out) as file:
            return {figure["name"]: figure["median"] for figure in json.load(file)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tar", required=True, help="one tar shard")
    parser.add_argument("--clip", help="folder of CLIP's tokenizer")
    parser.add_argument("--t5", help="folder of T5's tokenizer")
    parser.add_argument("--binary", default=os.path.join(ROOT, "build", "flux_train"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--json", help="also writes the figures there")
    args = parser.parse_args()
    enter_environment()

    files, captions = load_samples(args.tar, args.samples)
    stages = python_stages(args, files, captions)
    for _, run in stages.values():  # warms up
        run()
    native, python = {}, {}
    for _ in range(args.repeats):
        for name, value in measure_native(args).items():
            native.setdefault(name, []).append(value)
        for name, (items, run) in stages.items():
            python.setdefault(name, []).append(measure(items, run))

    rows = []
    print(f"{len(files)} pictures, {len(captions)} captions, medians of {args.repeats}, per second of CPU time")
    print(f"{'stage':<24}{'flux_train':>12}  {'Python':<24}{'':>10}{'ratio':>8}{'aim':>7}")
    for stage, against in COMPARED.items():
        for name, aim in against:
            if stage in native and name in python:
                ours, theirs = statistics.median(native[stage]), statistics.median(python[name])
                rows.append({"stage": stage, "flux_train": ours, "python_stage": name, "python": theirs,
                             "ratio": ours / theirs, "aim": aim})
                print(f"{stage:<24}{ours:>12.1f}  {name:<24}{theirs:>10.1f}{ours / theirs:>8.2f}{aim or '':>7}")
    if args.json:
        with open(args.json, "x") as file:
            json.dump({"compared": rows, "flux_train": native, "python": python}, file, indent=2)


if __name__ == "__main__":
    main()
