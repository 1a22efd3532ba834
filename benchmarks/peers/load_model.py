"""A model written by Hadal in Hugging Face transformers: does it load, and do the logits agree?

usage: load_model.py MODEL TOKENS.safetensors LOGITS.safetensors [--device cuda] [--json FILE]

MODEL is a folder with config.json and model.safetensors; TOKENS holds int32 input_ids [B,T]; LOGITS is what
`hadal inspect forward --model MODEL --tokens TOKENS --out LOGITS` wrote (float32 logits [B,T,V]).
Compared in float32 on the CPU and on the device if one is named, and in float64 where this version can. Fails above a relative difference of 1e-4.
"""
import argparse
import json
import sys

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tokens")
    parser.add_argument("logits")
    parser.add_argument("--device")
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    ids = load_file(options.tokens)["input_ids"].long()
    expected = load_file(options.logits)["logits"].double()
    rows, failed = [], False
    for device, dtype in [("cpu", torch.float32), ("cpu", torch.float64)] + ([(options.device, torch.float32)] if options.device else []):
        model, report = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype, attn_implementation="eager", output_loading_info=True)
        model.config._experts_implementation = "eager"
        model = model.eval().to(device)
        try:
            with torch.no_grad():
                logits = model(ids.to(device)).logits.double().cpu()
        except RuntimeError as error:  # grouped products of float64 are not everywhere
            print(f"{device} {dtype}: {str(error).splitlines()[0]}", flush=True)
            continue
        row = {
            "device": device,
            "type": str(dtype).removeprefix("torch."),
            "class": type(model).__name__,
            "missing": sorted(report["missing_keys"]),
            "unexpected": len(report["unexpected_keys"]),
            "relative_difference": float((logits - expected).norm() / expected.norm()),
            "largest_difference": float((logits - expected).abs().max()),
            "same_first_choice": float((logits.argmax(-1) == expected.argmax(-1)).double().mean()),
        }
        rows.append(row)
        failed |= not row["relative_difference"] <= 1e-4 or bool(row["missing"])
        print(json.dumps(row), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"transformers": transformers.__version__, "torch": torch.__version__, "tokens": list(ids.shape), "rows": rows}, file, indent=1)
    return 1 if failed or not rows else 0


sys.exit(main())
