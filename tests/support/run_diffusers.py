""
    "Predicts with a FluxTransformer2DModel of the diffusers library, for tests/train/parity_diffusers_test.cpp.

    run_diffusers.py FOLDER INPUT.safetensors OUT_FOLDER

        Loads the folder as the library does,
    and its files once more with every name required; writes the prediction to
OUT_FOLDER/output.safetensors and the model, as the library saves it, to OUT_FOLDER/saved/.
"""

import sys
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file, save_file


def main() -> None:
    folder, inputs, out = Path(sys.argv[1]), load_file(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    model, info = FluxTransformer2DModel.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True, low_cpu_mem_usage=False
    )
    if any(info.values()):
        sys.exit(f"from_pretrained: {info}")
    state = {}
    for file in folder.glob("*.safetensors"):
        state.update(load_file(file))
    model.load_state_dict(state, strict=True)
    rows = []
    with torch.no_grad():
        for i in range(inputs["img"].shape[0]):
            rows.append(
                model(
                    hidden_states=inputs["img"][i : i + 1],
                    encoder_hidden_states=inputs["txt"][i : i + 1],
                    pooled_projections=inputs["pooled"][i : i + 1],
                    timestep=inputs["timesteps"][i : i + 1],
                    img_ids=inputs["img_ids"][i],
                    txt_ids=inputs["txt_ids"][i],
                    guidance=inputs["guidance"][i : i + 1] if "guidance" in inputs else None,
                    return_dict=False,
                )[0]
            )
    save_file({"output": torch.cat(rows)}, out / "output.safetensors")
    model.save_pretrained(out / "saved", max_shard_size="200KB")


main()
