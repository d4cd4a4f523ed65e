#!/usr/bin/env bash
# Makes the demo's pretrained network with spgraph alone: a fresh ResNet-20, trained without a penalty on the synthetic source
# task. About two minutes on two cores. Writes models/resnet20-source.onnx and its hash.
#
# The same library, processor and number of threads give the same bits; other ones give a network that is as good.
set -euo pipefail
cd "$(dirname "$0")/.."
spgraph=${SPGRAPH:-target/release/spgraph}
work=out/models
mkdir -p "$work"

"$spgraph" synth --task source --per-class 300 --seed 0 -o "$work/train" --force
"$spgraph" synth --task source --per-class 40 --seed 1 -o "$work/test" --force
"$spgraph" new resnet20 --classes 10 --input 3x32x32 --seed 0 -o "$work/fresh.onnx" --force
"$spgraph" rewrite "$work/fresh.onnx" --penalty none --batch 64 --resize 32 --class-names-from "$work/train" -o "$work/fresh.spgraph" --force
"$spgraph" finetune "$work/fresh.spgraph" --data "$work/train" --val-data "$work/test" --epochs 8 --lr 0.1 --schedule cosine \
    --augment flip-crop:4 --engine ort -o "$work/run" --force
"$spgraph" export "$work/run" -o models/resnet20-source.onnx --force
"$spgraph" eval models/resnet20-source.onnx --data "$work/test"
(cd models && sha256sum resnet20-source.onnx > SHA256SUMS)
cat models/SHA256SUMS
