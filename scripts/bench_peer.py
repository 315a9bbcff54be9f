#!/usr/bin/env python3
"""Training steps of diffusers' FluxTransformer2DModel, in turn with `flux_train bench step`.

    scripts/bench_peer.py --flux_train build/flux_train --config configs/bench_cpu.toml

Both train the same dimensions on synthetic data: forward, mean squared error, backward, clipping by the global norm,
fused AdamW. Every way of PyTorch (eager, torch.compile; gradient checkpointing as the configuration recomputes) is run in a process
of its own, in turn with ours: A B A B. Dtypes: float32; bfloat16, which is autocast over float32 weights as ours is; and
bfloat16_weights, where the peer's weights, gradients and moments are bfloat16 too, which is less work than ours. One line of JSON a way on stdout, with the
ratios of the medians and of the peaks of memory; the table goes to stderr. The peer is built from the dimensions that
`bench step` prints.

Needs torch and diffusers; without them, a virtual environment with both is made in --venv.
"""
import argparse
import importlib.util
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
import venv


PACKAGES = ["torch==2.11.0", "diffusers==0.42.1"]
WAYS = ["eager", "compile"]
DTYPES = ["float32", "bfloat16", "bfloat16_weights"]


def some_of(choices):
    """What argparse makes of a list with commas."""
    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name}: must be of {', '.join(choices)}")
        return names
    return parse


def at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 or more")
    return number


def check_shape(config, d):
    """Ends with what diffusers cannot build. `d`: "shape" of `bench step`."""
    if d["mlp_ratio"] != 4:
        sys.exit(f"bench_peer.py: {config}: model.mlp_ratio = {d['mlp_ratio']}: diffusers has 4 only: set 4")
    if d["recompute"] == "selective":
        sys.exit(f"bench_peer.py: {config}: activation_checkpoint.mode = selective: diffusers knows full and none: set one")


def output_of(words):
    """What a program prints; ends with its exit code, as it has said itself what is wrong."""
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench_peer.py: `{' '.join(words[:3])} ...` ended with exit code {done.returncode}")
    return done.stdout


def resident_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(d, way, dtype_name, steps, warmup):
    """Runs the peer in this process; returns the figures. `d`: "shape" of `bench step`."""
    import torch
    from diffusers import FluxTransformer2DModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    autocast = dtype_name == "bfloat16"
    dtype = torch.bfloat16 if dtype_name == "bfloat16_weights" else torch.float32
    before = resident_gib()
    torch.manual_seed(1234)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=d["depth"], num_single_layers=d["depth_single_blocks"],
        attention_head_dim=d["hidden_size"] // d["num_heads"], num_attention_heads=d["num_heads"],
        joint_attention_dim=d["context_in_dim"], pooled_projection_dim=d["vec_in_dim"],
        axes_dims_rope=tuple(d["axes_dim"]), guidance_embeds=d["guidance_embed"]).to(device, dtype)
    if d["recompute"] == "full":
        model.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    run = torch.compile(model) if way == "compile" else model
    batch, side = d["batch_size"], math.isqrt(d["image_tokens"])
    latents = torch.randn(batch, side * side, 64, device=device, dtype=dtype)
    target = torch.randn_like(latents).float()
    text = torch.randn(batch, d["text_tokens"], d["context_in_dim"], device=device, dtype=dtype)
    pooled = torch.randn(batch, d["vec_in_dim"], device=device, dtype=dtype)
    timestep = torch.full((batch,), 0.5, device=device, dtype=dtype)
    guidance = torch.ones(batch, device=device, dtype=dtype) if d["guidance_embed"] else None
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    img_ids = torch.stack([torch.zeros_like(row), row, column], -1).reshape(-1, 3).to(device, torch.float32)
    txt_ids = torch.zeros(d["text_tokens"], 3, device=device)
    times = []
    for i in range(warmup + steps):
        begin = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            out = run(hidden_states=latents, encoder_hidden_states=text, pooled_projections=pooled, timestep=timestep,
                      guidance=guidance, img_ids=img_ids, txt_ids=txt_ids, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(out.float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if i >= warmup:
            times.append(time.perf_counter() - begin)
    peak = torch.cuda.max_memory_reserved() / 2**30 if device == "cuda" else resident_gib() - before
    return {"step_s_median": statistics.median(times), "step_s_min": min(times), "step_s": times, "memory_gib": peak,
            "params": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}


def python_with_peer(folder):
    """This Python if it has the packages, else that of a virtual environment which is made once."""
    if all(importlib.util.find_spec(package) for package in ("diffusers", "torch")):
        return sys.executable
    python = os.path.join(folder, "bin", "python")
    complete = os.path.join(folder, "complete")  # an installation may have been broken off
    if not os.path.exists(complete):
        begun = os.path.join(folder, "made_by_bench_peer")
        try:
            if os.path.exists(folder) and os.listdir(folder) and not os.path.exists(begun):
                sys.exit(f"bench_peer.py: --venv {folder}: holds what was not made here: choose another place")
            venv.create(folder, with_pip=True, clear=os.path.exists(begun))
            open(begun, "w", encoding="utf-8").close()
        except (OSError, ValueError, subprocess.CalledProcessError) as problem:
            sys.exit(f"bench_peer.py: --venv {folder}: {problem}: choose another place")
        output_of([python, "-m", "pip", "install", "--quiet", *PACKAGES])
        with open(complete, "w", encoding="utf-8") as file:
            print(*PACKAGES, file=file)
    return python


def ours(arguments, dtype, steps, warmup):
    words = [arguments.flux_train, "bench", "step", "--job.config_file", arguments.config, "--steps",
             str(steps), "--warmup", str(warmup), f"--training.mixed_precision_param={dtype.removesuffix('_weights')}"]
    if arguments.recompute:
        keeps = "true" if arguments.recompute == "default" else "false"
        words += ["--activation_checkpoint.mode=full", f"--activation_checkpoint.keep_results={keeps}"]
    return json.loads(output_of(words).splitlines()[-1])


def peer(arguments, python, way, dtype, shape):
    words = [python, __file__, "--measure", way, "--shape", json.dumps(shape), "--dtypes", dtype, "--steps",
             str(arguments.steps), "--warmup", str(arguments.warmup)]
    return json.loads(output_of(words).splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/bench_cpu.toml")
    parser.add_argument("--flux_train", default="build/flux_train")
    parser.add_argument("--ways", type=some_of(WAYS), default=WAYS)
    parser.add_argument("--dtypes", type=some_of(DTYPES), default=DTYPES)
    parser.add_argument("--recompute", choices=["default", "everything"],
                        help="activation checkpointing on both sides: as each does it, or ours without the results that it keeps")
    parser.add_argument("--steps", type=at_least_one, default=5)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=at_least_one, default=2, help="A B, this many times")
    parser.add_argument("--venv", default=".deps/peer")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # this process is the peer
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(json.loads(arguments.shape), arguments.measure, arguments.dtypes[0], arguments.steps,
                                 arguments.warmup)))
        return
    for option, path, use in (("--flux_train", arguments.flux_train, os.X_OK), ("--config", arguments.config, os.R_OK)):
        if not os.path.isfile(path):
            sys.exit(f"bench_peer.py: {option} {path}: there is no such file")
        if not os.access(path, use):
            sys.exit(f"bench_peer.py: {option} {path}: may not be {'run' if use == os.X_OK else 'read'}")
    check_shape(arguments.config, ours(arguments, arguments.dtypes[0], steps=1, warmup=0)["shape"])
    python = python_with_peer(arguments.venv)
    print(f"{'way':<26}{'ours, s':>10}{'peer, s':>10}{'faster':>9}{'memory':>9}", file=sys.stderr)
    for dtype in arguments.dtypes:
        for way in arguments.ways:
            own, other, peaks = [], [], []
            for _ in range(arguments.rounds):
                a = ours(arguments, dtype, arguments.steps, arguments.warmup)
                b = peer(arguments, python, way, dtype, a["shape"])
                if a["params"] != b["params"]:
                    sys.exit(f"bench_peer.py: {a['params']} parameters here, {b['params']} there: not the same model")
                own += a["step_s"]
                other += b["step_s"]
                peaks.append((a["memory_gib"], b["memory_gib"]))
            line = {"way": way, "dtype": dtype, "recompute": a["shape"]["recompute"], "ours_s": statistics.median(own),
                    "peer_s": statistics.median(other), "speedup": statistics.median(other) / statistics.median(own),
                    "memory_ratio": max(p[0] for p in peaks) / max(p[1] for p in peaks), "torch": b["torch"],
                    "params": a["params"], "step_s": [own, other]}
            print(json.dumps(line), flush=True)
            print(f"{way + ' ' + dtype:<26}{line['ours_s']:>10.3f}{line['peer_s']:>10.3f}{line['speedup']:>8.2f}x"
                  f"{line['memory_ratio']:>8.2f}x", file=sys.stderr)


if __name__ == "__main__":
    main()
