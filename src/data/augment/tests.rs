use super::*;
use crate::bundle::manifest::Preprocessing;
use ndarray::Array3;

fn read(text: &str) -> Augment {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn text_and_back() {
    let flip = |pad| FlipCrop { pad, ..FlipCrop::default() };
    for (text, augment) in [
        ("none", Augment::NONE),
        ("flip-crop", Augment::NONE.with(flip(0))),
        ("flip-crop:4", Augment::NONE.with(flip(4))),
        ("flip-crop:4,fill=reflect,flip=0", Augment::NONE.with(FlipCrop { pad: 4, fill: Padding::Reflect, flip: 0.0 })),
        ("flip-crop:fill=black", Augment::NONE.with(FlipCrop { fill: Padding::Black, ..FlipCrop::default() })),
        ("resized-crop:0.08", Augment::NONE.with(ResizedCrop::default())),
        (
            "resized-crop:0.5+color:0.1",
            Augment::NONE.with(ResizedCrop { scale: 0.5, ..ResizedCrop::default() }).with(Color { strength: 0.1, hue: 0.0 }),
        ),
        ("color:0.25,hue=0.1", Augment::NONE.with(Color { strength: 0.25, hue: 0.1 })),
        (
            "randaugment:3,12,fill=mean",
            Augment::NONE.with(RandAugment { number: 3, magnitude: 12, fill: Background::Mean, ..RandAugment::default() }),
        ),
        (
            "erase:0.1,most=0.2,fill=random",
            Augment::NONE.with(Erase { probability: 0.1, most: 0.2, fill: Erased::Random, ..Erase::default() }),
        ),
        ("trivialaugment+mixup:0.2+cutmix:1", Augment::NONE.with(Cutmix::default()).with(TrivialAugment::default()).with(Mixup::default())),
    ] {
        assert_eq!(read(text), augment, "{text}");
        assert_eq!(augment.to_string(), text);
    }
    assert_eq!(read("color").to_string(), "color:0.25");
    assert_eq!(read("none+color:0.25").to_string(), "color:0.25");
    assert_eq!(read("erase+flip-crop:2").to_string(), "flip-crop:2+erase:0.5");
    assert_eq!(read("affine:5,0.2,shear=10").to_string(), read("affine: shear=10, degrees=5, translate=0.2").to_string());
}

/// Every operation with every parameter at the ends of its range, alone and by name.
#[test]
fn every_parameter_reads_back_to_itself() {
    let mut count = 0;
    for usual in OPERATIONS {
        let names: Vec<(&str, Vec<String>)> = usual()
            .operate()
            .parameters()
            .iter_mut()
            .map(|p| {
                let values = match &p.slot {
                    operation::Slot::Number(v, [least, most]) => {
                        vec![v.to_string(), least.to_string(), most.to_string(), ((least + most) / 3.0).to_string()]
                    }
                    operation::Slot::Whole(v, [least, most]) => vec![v.to_string(), least.to_string(), most.to_string()],
                    operation::Slot::Choice(choice) => choice.names().iter().map(|n| n.to_string()).collect(),
                };
                (p.name, values)
            })
            .collect();
        for (place, (name, values)) in names.iter().enumerate() {
            for value in values {
                let text = format!("{}:{name}={value}", usual().name());
                let Ok(augment) = text.parse::<Augment>() else { continue };
                let again = read(&augment.to_string());
                assert_eq!(again, augment, "{text} shows {augment}");
                let mut own = augment.operations()[0];
                assert_eq!(&text::value(&own.operate().parameters()[place].slot), value, "{text}");
                count += 1;
            }
        }
    }
    assert!(count > 90, "{count}");
}

#[test]
fn wrong_recipes_are_refused_with_the_way_out() {
    for (bad, reason) in [
        ("", "missing"),
        ("flip", "did you mean `hflip`"),
        ("flip-crap", "did you mean `flip-crop`"),
        ("spin", "no `spin`"),
        ("flip-crop:x", "whole number from 0 to 256"),
        ("flip-crop:1.5", "whole number"),
        ("flip-crop:-1", "whole number"),
        ("flip-crop:fil=mean", "did you mean `fill`"),
        ("flip-crop:4,fill=red", "border, reflect, black, mean"),
        ("flip-crop:1,pad=2", "pad twice"),
        ("flip-crop:flip=1,3", "needs one itself"),
        ("flip-crop:1,border,0.5,7", "3 parameters"),
        ("resized-crop:0", "from 0.001 to 1"),
        ("resized-crop:2", "from 0.001 to 1"),
        ("none:1", "`none` has no parameters"),
        ("light:2", "`light` has no parameters"),
        ("none+flip", "hflip"),
        ("color:9", "from 0 to 1"),
        ("color:nan", "from 0 to 1"),
        ("color+color", "twice"),
        ("flip-crop+resized-crop", "give one"),
        ("standard+flip-crop", "give one"),
        ("randaugment:2,40", "at most 30"),
        ("erase:0.5,least=0.5", "above most"),
        ("blur:1,kernel=4", "odd"),
        ("mixup:0", "from 0.001"),
    ] {
        let error = bad.parse::<Augment>().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Usage(_)) && text.contains("flip-crop:4+color:0.2") && text.contains(reason), "{bad}: {text}");
    }
}

#[test]
fn policies_are_recipes() {
    for policy in POLICIES {
        assert_eq!(read(policy.name).to_string(), policy.recipe);
        assert!(!read(policy.name).needs_soft_targets(), "{}: any bundle takes it", policy.name);
    }
    assert_eq!(read("standard+mixup:0.2").to_string(), "resized-crop:0.35+color:0.25+mixup:0.2");
    assert!(read("mixup").needs_soft_targets() && read("flip-crop+cutmix").needs_soft_targets());
}

fn plain(height: i64, width: i64) -> Recipe {
    let preprocessing =
        Preprocessing { resize: height.min(width) as usize, mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::default() };
    Recipe::new(&preprocessing, &[1, 3, height, width]).unwrap_or_else(|e| panic!("{e}"))
}

/// A ramp tells where the crop was and whether it is mirrored.
#[test]
fn flip_crops_reach_every_place_and_mirror_half() {
    let recipe = plain(8, 8);
    let ramp = RgbImage::from_fn(8, 8, |x, y| image::Rgb([10 * x as u8, 10 * y as u8, 0]));
    for (text, mirrors) in
        [("flip-crop:2", 440..560), ("flip-crop:2,flip=0", 0..1), ("flip-crop:2,flip=1", 1000..1001), ("flip-crop:2,fill=black", 440..560)]
    {
        let augment = read(text);
        let (mut mirrored, mut places) = (0, std::collections::BTreeSet::new());
        for index in 0..1000 {
            let mut out = Array3::zeros([3, 8, 8]);
            augment.apply(&recipe, &ramp, Moment { seed: 1, epoch: 0 }, index, out.view_mut()).unwrap();
            let at = |plane: usize, y: usize, x: usize| (out[[plane, y, x]] * 25.5).round() as i32;
            let flip = at(0, 4, 3) > at(0, 4, 4);
            mirrored += flip as usize;
            // The middle is never beyond the border, so its value is its place.
            places.insert((at(0, 4, if flip { 3 } else { 4 }) - 4, at(1, 4, 4) - 4));
        }
        assert!(mirrors.contains(&mirrored), "{text}: {mirrored}");
        let all: std::collections::BTreeSet<_> = (-2..=2).flat_map(|x| (-2..=2).map(move |y| (x, y))).collect();
        assert_eq!(places, all, "{text}");
    }
}

/// Another operation draws from a stream of its own: what the others do stays.
#[test]
fn operations_do_not_disturb_each_other() {
    let recipe = plain(24, 24);
    let picture = RgbImage::from_fn(40, 30, |x, y| image::Rgb([(6 * x) as u8, (8 * y) as u8, (x * y) as u8]));
    let values = |text: &str| {
        let mut out = Array3::zeros([3, 24, 24]);
        read(text).apply(&recipe, &picture, Moment { seed: 4, epoch: 2 }, 5, out.view_mut()).unwrap();
        out
    };
    let base = values("flip-crop+color:0.3");
    assert_eq!(base, values("flip-crop+color:0.3+rotate:0+gray:0+hflip:0+vflip:0"));
    let erased = values("flip-crop+color:0.3+erase:1");
    let changed = base.iter().zip(&erased).filter(|(a, b)| a != b).count();
    assert!(changed > 0 && base.iter().zip(&erased).all(|(a, b)| a == b || *b == 0.0));
}

/// With every parameter a recipe says the same as without the usual ones.
#[test]
fn whole_recipes_are_read_as_they_were() {
    for text in policies::POLICIES.iter().map(|p| p.name).chain(OPERATIONS.iter().map(|usual| usual().name())) {
        let recipe: Augment = text.parse().unwrap();
        let whole = format!("{recipe:#}");
        assert_eq!(whole.parse::<Augment>().unwrap(), recipe, "{text}: {whole}");
        let parameters: usize = recipe.operations().iter().copied().map(|mut o| o.operate().parameters().len()).sum();
        assert_eq!(whole.split(['+', ':', ',']).count(), parameters + recipe.operations().len(), "{text}: {whole}");
    }
}
