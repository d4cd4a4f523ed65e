#!/usr/bin/env bash
# The whole path on real files: a pretrained ResNet-20 and a folder with few images of other classes. Fine-tunes with L2-SP and
# with plain weight decay (L2) and without any penalty, and compares what the network learnt with what it forgot. Run it with `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
spgraph=${SPGRAPH:-target/release/spgraph}
out=out/demo
model=models/resnet20-source.onnx
seeds=${SEEDS:-0 1 2}

show() { # prints a command as a user would type it, and runs it
    printf '\n$ spgraph %s\n' "$*"
    "$spgraph" "$@"
}
field() { # field PATH < JSON: one number of a result
    python3 -c 'import json, sys, functools; print(functools.reduce(lambda v, k: v[k], sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}

(cd models && sha256sum --check --quiet SHA256SUMS)
mkdir -p "$out"
echo "Images of six classes that the network has never seen: 60 to train on, 300 to test; and 400 of its own ten classes."
show synth --task target-a --per-class 10 --seed 2 -o "$out/train" --force
show synth --task target-a --per-class 50 --seed 3 -o "$out/test" --force
show synth --task source --per-class 40 --seed 1 -o "$out/source" --force

run() { # run PENALTY SEED SHOW: rewrite, fine-tune, evaluate; appends to results
    local penalty=$1 seed=$2 run=$out/$1-$2 do=$3
    $do rewrite "$model" --penalty "$penalty" --classes 6 --class-names-from "$out/train" --batch-norm frozen --batch 20 \
        --seed "$seed" -o "$run.spgraph" --force
    $do finetune "$run.spgraph" --data "$out/train" --steps 600 --lr 0.003 --warmup 0 --augment flip-crop:4 --seed "$seed" -o "$run" --force
    if [ "$do" = show ]; then
        show eval "$run" --data "$out/test"
        show export "$run" -o "$run.onnx" --force
    fi
    local target source distance
    target=$("$spgraph" eval "$run" --data "$out/test" --json | field accuracy)
    source=$("$spgraph" eval "$run" --data "$out/source" --head-from "$model" --json | field accuracy)
    distance=$(field results.distance.total < "$run/run.json")
    echo "$penalty $seed $target $source $distance" >> "$out/results"
}
quiet() { "$spgraph" "$@" > /dev/null 2>> "$out/log"; }

rm -f "$out/results" "$out/log"
first=${seeds%% *}
for penalty in l2-sp l2 none; do
    for seed in $seeds; do
        if [ "$seed" = "$first" ]; then
            run "$penalty" "$seed" show
        else
            echo "$penalty, seed $seed ..."
            run "$penalty" "$seed" quiet
        fi
    done
done
show predict "$out/l2-sp-$first.onnx" "$out"/test/heart/*0.png

before=$("$spgraph" eval "$model" --data "$out/source" --json | field accuracy)
echo
echo "Fine-tuned on 60 images, mean over the seeds $seeds (source: the tuned features under the original classifier):"
echo
python3 - "$out/results" "$before" <<'P'
import sys
rows = [line.split() for line in open(sys.argv[1])]
print(f"{'penalty':<10}{'target accuracy':>17}{'source accuracy':>17}{'|w - w0|':>11}")
print(f"{'(before)':<10}{'-':>17}{100 * float(sys.argv[2]):>15.1f} %{0:>11.3f}")
for kind in dict.fromkeys(r[0] for r in rows):
    target, source, distance = (sum(float(r[i]) for r in rows if r[0] == kind) / sum(r[0] == kind for r in rows) for i in (2, 3, 4))
    print(f"{kind:<10}{100 * target:>15.1f} %{100 * source:>15.1f} %{distance:>11.3f}")
P
echo
echo "Wrote"
echo "  $out/{train,test,source}                 the images"
echo "  $out/{l2-sp,l2,none}-SEED.spgraph        the training graphs (open step.onnx in a graph viewer)"
echo "  $out/{l2-sp,l2,none}-SEED                the runs: metrics.jsonl, run.json, state.safetensors"
echo "  $out/l2-sp-$first.onnx, $out/l2-$first.onnx     the tuned models"
