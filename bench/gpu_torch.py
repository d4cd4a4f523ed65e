"""PyTorch's step of ResNet-50 on a GPU, to compare with: `gpu_torch.py BATCH/float32|tf32|f16|bf16/eager|compiled[/train]...`; prints a line of JSON for each.

channels_last, cross-entropy, SGD with momentum and weight decay (fused); BatchNorm frozen as spgraph's is by default for an export, or trained; autocast, and in float16 a scaled loss.
"""

import json
import sys
import time

import torch
import torchvision


def measured(batch, precision, mode, batch_norm):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    torch.compiler.reset()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = torchvision.models.resnet50(num_classes=6).cuda().to(memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and batch_norm != "train":
            module.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1, fused=True)
    half = {"f16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    scaler = torch.amp.GradScaler(enabled=precision == "f16")
    forward = torch.compile(model) if mode == "compiled" else model
    images = torch.randn(batch, 3, 224, 224).pin_memory()
    labels = torch.randint(0, 6, (batch,)).pin_memory()

    def step():
        x = images.to("cuda", non_blocking=True).to(memory_format=torch.channels_last)
        y = labels.to("cuda", non_blocking=True)
        with torch.autocast("cuda", half or torch.float16, enabled=half is not None):
            loss = torch.nn.functional.cross_entropy(forward(x), y)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    for _ in range(8):
        step()
    torch.cuda.synchronize()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return {"images/s": round(batch / sorted(times)[len(times) // 2], 1), "peak MiB": torch.cuda.max_memory_reserved() >> 20}


for spec in sys.argv[1:]:
    batch, precision, mode, *batch_norm = spec.split("/")
    print(json.dumps({"spec": spec, **measured(int(batch), precision, mode, *(batch_norm or ["frozen"]))}), flush=True)
