#!/usr/bin/env bash
# Does a warm-up help? The same runs on 48 images with none and with the usual one (a tenth of the steps), seed by seed: how many meet a spike, and
# what they tell right of 300 test images. Prints a line for each run, then the table. It can be run again: runs that are there are not made again.
#
#     SPGRAPH=target/release/spgraph evaluation/warmup.sh out/evaluation/warmup
#     SEEDS="0 1 2" MODES=frozen STEPS=100 RATES="0.01 0.003" evaluation/warmup.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
spgraph=${SPGRAPH:-target/release/spgraph}
out=${1:?usage: evaluation/warmup.sh FOLDER}
model=models/resnet20-source.onnx
mkdir -p "$out"
[ -e "$out/train" ] || "$spgraph" synth --task target-a --per-class 8 --seed 2 -o "$out/train"
[ -e "$out/test" ] || "$spgraph" synth --task target-a --per-class 50 --seed 3 -o "$out/test"

for rate in ${RATES:-0.01}; do
    for mode in ${MODES:-frozen train}; do
        for seed in ${SEEDS:-0 1 2 3 4 5 6 7 8 9 10 11}; do
            bundle=$out/$mode-$seed.spgraph
            for warmup in none usual; do
                run=$out/$mode-$rate-$seed-$warmup
                [ -e "$run.accuracy" ] && continue
                [ -e "$bundle" ] || "$spgraph" rewrite "$model" --penalty l2-sp --classes 6 --batch-norm "$mode" --batch 20 --seed "$seed" -o "$bundle" --quiet
                given=()
                [ "$warmup" = none ] && given=(--warmup 0)
                "$spgraph" finetune "$bundle" --data "$out/train" --steps "${STEPS:-100}" --lr "$rate" "${given[@]}" --augment flip-crop:4 \
                    --threads 1 --seed "$seed" -o "$run" --force --quiet > /dev/null 2> "$run.log"
                "$spgraph" eval "$run" --data "$out/test" --threads 1 --json > "$run.eval"
                python3 - "$run" > "$run.passing" <<'PY'
import json, sys
run = sys.argv[1]
rise = json.load(open(f"{run}/run.json"))["results"].get("rise")
print(100 * json.load(open(f"{run}.eval"))["accuracy"], int(rise is not None))
PY
                mv "$run.passing" "$run.accuracy"
                echo "$mode, rate $rate, seed $seed, warm-up $warmup: $(cat "$run.accuracy") (accuracy, spike)"
            done
            rm -rf "$bundle"
        done
    done
done

python3 - "$out" <<'PY'
import collections, glob, os, statistics, sys
runs = collections.defaultdict(dict)
for path in glob.glob(f"{sys.argv[1]}/*.accuracy"):
    mode, rate, seed, warmup = os.path.basename(path)[: -len(".accuracy")].split("-")
    accuracy, spike = open(path).read().split()
    runs[mode, rate, warmup][int(seed)] = (float(accuracy), int(spike))
print("| BatchNorm | rate | warm-up | runs | spikes | accuracy, % | lowest | against none, pairs above : below |")
print("|---|---:|---|---:|---:|---:|---:|---:|")
for (mode, rate, warmup), found in sorted(runs.items()):
    values = [a for a, _ in found.values()]
    other = runs[mode, rate, "none"]
    pairs = [found[s][0] - other[s][0] for s in found if s in other]
    against = "" if warmup == "none" else f"{sum(p > 0 for p in pairs)} : {sum(p < 0 for p in pairs)}, mean {statistics.fmean(pairs):+.1f}"
    spread = statistics.stdev(values) if len(values) > 1 else 0
    print(f"| {mode} | {rate} | {warmup} | {len(values)} | {sum(s for _, s in found.values())} | {statistics.fmean(values):.1f} ± {spread:.1f} | {min(values):.1f} | {against} |")
PY
