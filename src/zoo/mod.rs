//! Architectures with fresh weights, for training from scratch and for tests that should not need a download.
//!
//! `resnet18` … `resnet152` are torchvision's (version 1.5: the stride of a bottleneck is in its 3×3 convolution), node by
//! node as torch's exporter writes them with live BatchNormalization, and with the names of torchvision's parameters.
//! `resnet20`, `resnet32` and `resnet56` are those of He et al., "Deep Residual Learning for Image Recognition" (2015),
//! section 4.2, for small images. Where a stage changes the shape their shortcut is a 1×1 convolution with
//! BatchNormalization (the paper's option B), so that one description serves both families; the paper itself used
//! zero-padded identities (option A) there, which saves 2,752 parameters in each network.

mod graph;
mod init;

use crate::error::{Error, Result};
use crate::onnx::pb;
use graph::{Builder, ConvSpec};
use std::fmt;
use std::str::FromStr;

/// An architecture that [`build`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// Basic blocks, 2-2-2-2, for 224×224 (He et al. 2016).
    ResNet18,
    /// Basic blocks, 3-4-6-3.
    ResNet34,
    /// Bottlenecks, 3-4-6-3, with the stride in the 3×3 convolution as in torchvision.
    ResNet50,
    /// Bottlenecks, 3-4-23-3.
    ResNet101,
    /// Bottlenecks, 3-8-36-3.
    ResNet152,
    /// Basic blocks, 3-3-3, for the 32×32 images of CIFAR-10 (He et al. 2016, section 4.2).
    ResNet20,
    /// Basic blocks, 5-5-5, for 32×32.
    ResNet32,
    /// Basic blocks, 9-9-9, for 32×32.
    ResNet56,
}

/// What is repeated in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1 with four times the width.
    Bottleneck,
}

impl Block {
    fn expansion(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }
}

/// Everything in which the architectures differ.
struct StagePlan {
    arch: Arch,
    name: &'static str,
    block: Block,
    /// Blocks in each stage.
    depths: &'static [usize],
    /// Width of the first stage; every further stage doubles it.
    width: usize,
    /// 7×7 convolution and pooling, which reduce the image four times, or a 3×3 convolution that doesn't.
    large_stem: bool,
}

const fn imagenet(arch: Arch, name: &'static str, block: Block, depths: &'static [usize]) -> StagePlan {
    StagePlan { arch, name, block, depths, width: 64, large_stem: true }
}

const fn cifar(arch: Arch, name: &'static str, depths: &'static [usize]) -> StagePlan {
    StagePlan { arch, name, block: Block::Basic, depths, width: 16, large_stem: false }
}

const PLANS: [StagePlan; 8] = [
    imagenet(Arch::ResNet18, "resnet18", Block::Basic, &[2, 2, 2, 2]),
    imagenet(Arch::ResNet34, "resnet34", Block::Basic, &[3, 4, 6, 3]),
    imagenet(Arch::ResNet50, "resnet50", Block::Bottleneck, &[3, 4, 6, 3]),
    imagenet(Arch::ResNet101, "resnet101", Block::Bottleneck, &[3, 4, 23, 3]),
    imagenet(Arch::ResNet152, "resnet152", Block::Bottleneck, &[3, 8, 36, 3]),
    cifar(Arch::ResNet20, "resnet20", &[3, 3, 3]),
    cifar(Arch::ResNet32, "resnet32", &[5, 5, 5]),
    cifar(Arch::ResNet56, "resnet56", &[9, 9, 9]),
];

impl Arch {
    /// All of them, in the order in which they are listed to people.
    pub fn all() -> impl Iterator<Item = Arch> {
        PLANS.iter().map(|p| p.arch)
    }

    /// The name by which people ask for it.
    pub fn name(self) -> &'static str {
        self.plan().name
    }

    /// The input that its authors trained it with: channels, height, width.
    pub fn usual_input(self) -> [usize; 3] {
        if self.plan().large_stem { [3, 224, 224] } else { [3, 32, 32] }
    }

    fn plan(self) -> &'static StagePlan {
        // The table holds every variant: `names_round_trip` below.
        PLANS.iter().find(|p| p.arch == self).unwrap_or(&PLANS[0])
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = PLANS.iter().find(|p| p.name.eq_ignore_ascii_case(text));
        found.map(|p| p.arch).ok_or_else(|| {
            let names: Vec<_> = PLANS.iter().map(|p| p.name).collect();
            Error::usage(format!("there is no architecture {text:?}; the valid ones are {}", names.join(", ")))
        })
    }
}

/// Reads `3x224x224`: channels, height, width.
pub fn parse_input(text: &str) -> Result<[usize; 3]> {
    let parts: Result<Vec<usize>, _> = text.split(['x', 'X', '×']).map(|p| p.trim().parse::<usize>()).collect();
    let input = parts.ok().and_then(|p| <[usize; 3]>::try_from(p).ok());
    let wrong = || Error::usage(format!("{text:?} is no input shape; give channels, height and width, such as 3x224x224"));
    check_input(input.ok_or_else(wrong)?)
}

fn check_input(input: [usize; 3]) -> Result<[usize; 3]> {
    let [channels, height, width] = input;
    // The upper bounds keep every size far from overflow; no image comes near them.
    if !(1..=4096).contains(&channels) || !(1..=65536).contains(&height) || !(1..=65536).contains(&width) {
        return Err(Error::usage(format!(
            "the input shape {channels}x{height}x{width} is not possible; channels must be 1 to 4096, height and width 1 to 65536"
        )));
    }
    Ok(input)
}

/// The network `arch` for images of the shape `input` (channels, height, width), with weights drawn from `seed`.
///
/// The model takes `input` [N, channels, height, width] and gives `logits` [N, classes]; opset 17, IR version 8.
/// Equal arguments give equal bytes. Convolutions start as torchvision's do (He et al., fan-out), BatchNormalization as the
/// identity, the head as PyTorch's `Linear`; the backbone does not depend on the head. Train with BatchNormalization in
/// its `train` mode at first: with the initial statistics it normalizes nothing, and a deep network's activations
/// explode (as torchvision's do: logits of 10⁸ for `resnet152`).
pub fn build(arch: Arch, classes: usize, input: [usize; 3], seed: u64) -> Result<pb::ModelProto> {
    let [channels, height, width] = check_input(input)?;
    if !(1..=1_000_000).contains(&classes) {
        return Err(Error::usage(format!("a network for {classes} classes is not possible; give 1 to 1000000")));
    }
    let metadata = [("spgraph.architecture", arch.name().to_owned()), ("spgraph.seed", seed.to_string())];
    assemble(arch, classes, channels).finish([channels, height, width], classes, seed, &metadata)
}

/// All nodes and parameters; the size of the image has no influence on them.
fn assemble(arch: Arch, classes: usize, channels: usize) -> Builder {
    let plan = arch.plan();
    let mut b = Builder::default();

    let stem = if plan.large_stem { ConvSpec { kernel: 7, stride: 2 } } else { ConvSpec { kernel: 3, stride: 1 } };
    let mut x = b.conv_bn(["conv1", "bn1"], "", "input".into(), channels, plan.width, stem);
    x = b.relu("relu", x);
    if plan.large_stem {
        x = b.max_pool("maxpool", x);
    }
    let mut from = plan.width;
    for (stage, &depth) in plan.depths.iter().enumerate() {
        for block in 0..depth {
            let shape = BlockShape {
                from,
                width: plan.width << stage,
                // The first stage keeps the size of the image.
                stride: if stage > 0 && block == 0 { 2 } else { 1 },
            };
            x = residual(&mut b, plan.block, &format!("layer{}.{block}.", stage + 1), x, &shape);
            from = shape.width * plan.block.expansion();
        }
    }
    x = b.global_average_pool("avgpool", x);
    x = b.flatten(x);
    b.linear("fc", x, "logits", from, classes);
    b
}

/// Channels in, channels of the inner convolutions, stride.
struct BlockShape {
    from: usize,
    width: usize,
    stride: usize,
}

/// One residual block; `path` is its place among torchvision's modules, such as `layer1.0.`.
fn residual(b: &mut Builder, block: Block, path: &str, x: String, shape: &BlockShape) -> String {
    let &BlockShape { from, width, stride } = shape;
    let to = width * block.expansion();
    let mut y = x.clone();
    match block {
        Block::Basic => {
            y = b.conv_bn(["conv1", "bn1"], path, y, from, width, ConvSpec { kernel: 3, stride });
            y = b.relu(&format!("{path}relu"), y);
            y = b.conv_bn(["conv2", "bn2"], path, y, width, to, ConvSpec { kernel: 3, stride: 1 });
        }
        Block::Bottleneck => {
            y = b.conv_bn(["conv1", "bn1"], path, y, from, width, ConvSpec { kernel: 1, stride: 1 });
            y = b.relu(&format!("{path}relu"), y);
            y = b.conv_bn(["conv2", "bn2"], path, y, width, width, ConvSpec { kernel: 3, stride });
            y = b.relu(&format!("{path}relu_1"), y);
            y = b.conv_bn(["conv3", "bn3"], path, y, width, to, ConvSpec { kernel: 1, stride: 1 });
        }
    }
    let shortcut = if stride != 1 || from != to {
        b.conv_bn(["downsample.0", "downsample.1"], path, x, from, to, ConvSpec { kernel: 1, stride })
    } else {
        x
    };
    y = b.add(path, y, shortcut);
    // One module is called two or three times; the exporter counts the calls.
    let last = if block == Block::Basic { "relu_1" } else { "relu_2" };
    b.relu(&format!("{path}{last}"), y)
}

#[cfg(test)]
mod tests;
