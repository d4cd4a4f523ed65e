use super::*;
use crate::onnx::tensor;
use std::collections::HashSet;
use std::path::Path;

/// Trainable parameters: everything but the statistics of BatchNormalization.
fn parameters(arch: Arch, classes: usize) -> usize {
    let all = assemble(arch, classes, 3).parameters;
    all.iter().filter(|p| !p.name.contains("running_")).map(|p| p.shape.iter().product::<usize>()).sum()
}

#[test]
fn parameter_counts_are_the_published_ones() {
    // torchvision's documentation, at 1000 classes.
    let imagenet = [
        (Arch::ResNet18, 11_689_512),
        (Arch::ResNet34, 21_797_672),
        (Arch::ResNet50, 25_557_032),
        (Arch::ResNet101, 44_549_160),
        (Arch::ResNet152, 60_192_808),
    ];
    for (arch, expected) in imagenet {
        assert_eq!(parameters(arch, 1000), expected, "{arch}");
    }
    // He et al., table 6: 0.27 M, 0.46 M, 0.85 M with option A; option B adds 512 + 64 + 2048 + 128.
    for (arch, option_a) in [(Arch::ResNet20, 269_722), (Arch::ResNet32, 464_154), (Arch::ResNet56, 853_018)] {
        assert_eq!(parameters(arch, 10), option_a + 2752, "{arch}");
    }
}

#[test]
fn names_round_trip() {
    for arch in Arch::all() {
        assert_eq!(arch.plan().arch, arch);
        assert_eq!(arch.to_string().parse::<Arch>().unwrap(), arch);
        assert_eq!(arch.name().to_uppercase().parse::<Arch>().unwrap(), arch);
    }
    assert_eq!(Arch::all().collect::<HashSet<_>>().len(), 8);
    let e = "resnet51".parse::<Arch>().unwrap_err();
    assert_eq!(
        e.to_string(),
        "there is no architecture \"resnet51\"; the valid ones are resnet18, resnet34, resnet50, resnet101, resnet152, \
         resnet20, resnet32, resnet56"
    );
    assert_eq!(e.exit_code(), 2);
}

#[test]
fn inputs_are_checked() {
    assert_eq!(parse_input("3x224x192").unwrap(), [3, 224, 192]);
    assert_eq!(parse_input("1 × 28 × 28").unwrap(), [1, 28, 28]);
    for wrong in ["", "3", "3x224", "3x224x224x2", "3x-1x2", "axbxc", "3x224x", "0x1x1", "3x0x9", "3x9x99999999"] {
        assert!(matches!(parse_input(wrong), Err(Error::Usage(_))), "{wrong}");
    }
    assert!(build(Arch::ResNet18, 0, [3, 32, 32], 0).is_err());
    assert!(build(Arch::ResNet18, usize::MAX, [3, 32, 32], 0).is_err());
    assert!(build(Arch::ResNet18, 2, [usize::MAX, 32, 32], 0).is_err());
}

#[test]
fn equal_arguments_give_equal_models() {
    let of = |classes, seed| build(Arch::ResNet20, classes, [3, 32, 32], seed).unwrap();
    assert!(of(10, 3) == of(10, 3));
    let (a, b, c) = (of(10, 3).graph.unwrap(), of(10, 4).graph.unwrap(), of(7, 3).graph.unwrap());
    for ((a, b), c) in a.initializer.iter().zip(&b.initializer).zip(&c.initializer) {
        let drawn = a.dims.len() > 1 || a.name() == "fc.bias";
        assert_eq!(a.raw_data == b.raw_data, !drawn, "{}", a.name());
        // The backbone does not depend on the head.
        assert_eq!(a.raw_data == c.raw_data, !a.name().starts_with("fc."), "{}", a.name());
    }
}

#[test]
fn every_value_is_defined_once_and_before_its_use() {
    for arch in Arch::all() {
        let graph = assemble(arch, 10, 3);
        let mut defined = HashSet::from(["input"]);
        for p in &graph.parameters {
            assert!(defined.insert(&p.name), "{arch}: {}", p.name);
        }
        let (mut names, mut used) = (HashSet::new(), HashSet::new());
        for n in &graph.nodes {
            assert!(names.insert(n.name()), "{arch}: {}", n.name());
            for i in &n.input {
                assert!(defined.contains(i.as_str()), "{arch}: {i}");
                used.insert(i.as_str());
            }
            assert!(defined.insert(&n.output[0]), "{arch}: {}", n.output[0]);
        }
        assert_eq!(defined.difference(&used).collect::<Vec<_>>(), [&"logits"], "{arch}");
    }
}

#[test]
fn weights_start_as_torchvision_s() {
    let graph = build(Arch::ResNet18, 10, [3, 64, 64], 0).unwrap().graph.unwrap();
    let of = |name: &str| {
        let found = graph.initializer.iter().find(|t| t.name() == name).unwrap();
        tensor(found, Path::new(".")).unwrap().to_f32().unwrap()
    };
    let w = of("layer4.1.conv2.weight");
    let variance = w.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / w.len() as f64;
    assert!((variance * (512.0 * 9.0) / 2.0 - 1.0).abs() < 0.005, "{variance}");
    assert!(of("layer4.1.bn2.weight").iter().chain(&of("bn1.running_var")).all(|&v| v == 1.0));
    assert!(of("bn1.bias").iter().chain(&of("layer2.0.downsample.1.running_mean")).all(|&v| v == 0.0));
    let (w, bound) = (of("fc.weight"), 1.0 / 512f32.sqrt());
    assert!(w.iter().all(|v| v.abs() <= bound) && w.iter().any(|v| v.abs() > 0.99 * bound));
    assert!(of("fc.bias").iter().all(|v| v.abs() <= bound && *v != 0.0));
}

#[test]
fn a_bottleneck_reads_as_torch_writes_it() {
    let graph = assemble(Arch::ResNet50, 10, 3);
    let block: Vec<_> = graph.nodes.iter().filter(|n| n.name().starts_with("/layer2/layer2.0/")).collect();
    let names: Vec<_> = block.iter().map(|n| n.name().trim_start_matches("/layer2/layer2.0/")).collect();
    assert_eq!(
        names,
        [
            "conv1/Conv",
            "bn1/BatchNormalization",
            "relu/Relu",
            "conv2/Conv",
            "bn2/BatchNormalization",
            "relu_1/Relu",
            "conv3/Conv",
            "bn3/BatchNormalization",
            "downsample/downsample.0/Conv",
            "downsample/downsample.1/BatchNormalization",
            "Add",
            "relu_2/Relu",
        ]
    );
    let strides = |n: &pb::NodeProto| n.attribute.iter().find(|a| a.name() == "strides").map(|a| a.ints.clone());
    assert_eq!(strides(block[0]), Some(vec![1, 1]));
    assert_eq!(strides(block[3]), Some(vec![2, 2]));
    assert_eq!(block[8].input[0], "/layer1/layer1.2/relu_2/Relu_output_0");
    assert_eq!(block[8].input[1], "layer2.0.downsample.0.weight");
}
