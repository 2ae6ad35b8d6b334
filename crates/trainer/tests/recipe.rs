//! airbench94's recipe on small images, and its pieces: alternating flips, lookahead, first weights from the data.

mod common;

use common::{bits, device, quiet, splits};
use std::collections::BTreeMap;
use std::sync::Arc;
use wgrad_layers::models::{AirbenchNet, whitening_filters};
use wgrad_tensor::{Array, Params};
use wgrad_trainer::{
    Airbench94, Augment, Dataset, EvalStep, Loader, LoaderOptions, Lookahead, Output, Show, Splits, StepOptions,
    UpdateConfig, evaluate_mirror_translate,
};

/// Colour images of 26 pixels a side whose class is the brightest colour.
fn colours(images: usize, seed: u32) -> Dataset {
    let mut noise = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = move || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise >> 24
    };
    let labels: Vec<u32> = (0..images as u32).map(|i| i % 3).collect();
    let pixel = |label: u32| [0, 1, 2].map(move |c| if c == label { 60 } else { 0 });
    let pixels = labels.iter().flat_map(|&label| (0..26 * 26).flat_map(move |_| pixel(label)));
    let pixels: Vec<u8> = pixels.map(|v| (v + next() / 2) as u8).collect();
    Dataset {
        name: "colours".into(),
        images: pixels.into(),
        labels,
        channels: 3,
        height: 26,
        width: 26,
        class_names: ["red", "green", "blue"].map(String::from).to_vec(),
        mean: [0.33; 3],
        std: [0.2; 3],
    }
}

#[test]
fn the_recipe_trains_what_it_says() {
    let device = device();
    let data = || Splits { train: colours(150, 1), test: colours(40, 2) };
    let recipe = Airbench94 { epochs: 2, batch_size: 30, lr: 12.0, widths: [8, 12, 12] };
    let run = |threads: usize| {
        let trainer = recipe.trainer(data()).expect("good").device(device.clone()).threads(threads);
        trainer.output(Output::Nowhere).show(Show::Nothing).run().expect("trains")
    };
    let trained = run(2);
    assert!(trained.report.accuracy() > 0.8, "{}", trained.report.accuracy());
    let read = |name: &str| trained.params.get(name).expect("known").data;
    // Frozen, and those of the normalised images.
    let set = data().train;
    let mut images = Vec::new();
    for i in 0..set.len() {
        for c in 0..3 {
            images.extend((0..26 * 26).map(|at| (f32::from(set.image(i)[3 * at + c]) / 255.0 - 0.33) / 0.2));
        }
    }
    let images = Array::new([set.len(), 3, 26, 26], images).expect("fits");
    let wanted = whitening_filters(&images, 2, 5e-4).expect("patches").data;
    assert!(
        read("whiten.weight").iter().zip(&wanted).all(|(got, want)| (got - want).abs() < 1e-4 * want.abs().max(0.1))
    );
    assert!(trained.params.get("optimizer.lookahead.whiten.weight").is_err(), "what is frozen has no average");
    // The run ends with the weights at their average.
    for name in ["head.weight", "group1.conv1.weight", "group2.norm1.1.running_var"] {
        assert_eq!(read(name), read(&format!("optimizer.lookahead.{name}")), "{name}");
    }
    assert!(bits(&run(0).params) == bits(&trained.params), "threads change the weights");

    let test = data().test;
    let mut params = trained.params;
    let options = StepOptions { logits: true, ..StepOptions::new(&test, 16) };
    let net = AirbenchNet::new(3, 3).widths([8, 12, 12]);
    let mut step = EvalStep::new(&device, &mut params, &net, &options).expect("compiles");
    let result = evaluate_mirror_translate(&mut step, &Arc::new(test), &LoaderOptions::eval(16)).expect("evaluates");
    assert_eq!(result.images, 40);
    assert!(result.accuracy > 0.8 && result.loss < 1.0, "{result:?}");
}

#[test]
fn every_other_epoch_is_mirrored() {
    let options = LoaderOptions::train(10, 5).augment(Augment::none().flip_alternating());
    let set = colours(60, 3);
    let loader = Loader::new(Arc::new(set.clone()), options).expect("loads");
    let epoch = |epoch: u32| -> BTreeMap<u32, Vec<u32>> {
        let batches = loader.epoch(epoch).map(|batch| batch.expect("batch"));
        let images = |batch: wgrad_trainer::Batch| {
            let images: Vec<Vec<u32>> = batch.images.chunks(26 * 26).map(<[u32]>::to_vec).collect();
            batch.indices.into_iter().zip(images).collect::<Vec<_>>()
        };
        batches.flat_map(images).collect()
    };
    let mirrored = |image: &[u32]| image.chunks(26).flat_map(|row| row.iter().rev().copied()).collect::<Vec<u32>>();
    let (even, odd, next) = (epoch(0), epoch(1), epoch(2));
    assert_eq!((even.len(), &even), (60, &next), "two epochs on, the same images");
    assert!(even.iter().all(|(index, image)| mirrored(image) == odd[index]));
    let plain = |index: u32, image: &[u32]| {
        let pixels = set.image(index as usize);
        image.iter().zip(pixels.chunks(3)).all(|(word, pixel)| word.to_le_bytes()[..3] == *pixel)
    };
    let count = even.iter().filter(|(index, image)| plain(**index, image)).count();
    assert!((15..45).contains(&count), "{count} of 60 are as they were in epoch 0");
}

#[test]
fn lookahead_pulls_weights_to_their_average() {
    let device = device();
    let run = |lookahead: Option<Lookahead>, epochs: u32| {
        let update = UpdateConfig { lookahead, ..UpdateConfig::default() };
        quiet(&device).update(update).epochs(epochs).run().expect("trains").params
    };
    let read = |params: &Params, name: &str| params.get(name).expect("known").data;
    let names = ["4.weight", "0.1.running_mean"];
    // Ten steps an epoch. A first average, and the end: weights become what they were after step 7.
    let rule = Lookahead { every: 7, decay: 0.9, steps: 10 };
    let (averaged, plain) = (run(Some(rule), 1), run(None, 1));
    for name in names {
        assert_eq!(read(&averaged, name), read(&averaged, &format!("optimizer.lookahead.{name}")), "{name}");
        assert_ne!(read(&averaged, name), read(&plain, name), "{name}");
    }
    // A run that is cut off before its first average is a plain one.
    let late = Lookahead { every: 11, decay: 0.9, steps: 10 };
    assert!(names.iter().all(|name| read(&run(Some(late), 1), name) == read(&plain, name)));
    // The average moves on after step 10, e = d e + (1 - d) w with d = 0.9^5 / 8, and the weights with it; what they were after step 5 and
    // would be after step 10 are those of runs that never move.
    let got = run(Some(Lookahead { every: 5, decay: 0.9, steps: 20 }), 1);
    let d = 0.9f32.powi(5) / 8.0;
    let old = run(Some(Lookahead { every: 5, decay: 0.9, steps: 5 }), 1);
    for name in names {
        let (got, old, new) =
            (read(&got, name), read(&old, &format!("optimizer.lookahead.{name}")), read(&plain, name));
        for ((got, old), new) in got.iter().zip(old).zip(new) {
            let wanted = d * old + (1.0 - d) * new;
            assert!((got - wanted).abs() < 1e-6, "{name}: {got}, wanted {wanted}");
        }
    }
}

#[test]
fn first_weights_are_changed_once_before_training() {
    let device = device();
    let zero = |params: &mut Params, train: &Dataset| {
        assert_eq!(train.len(), 200);
        let mut weight = params.get("4.weight")?;
        weight.data.fill(0.0);
        Ok(params.set("4.weight", &weight)?)
    };
    let schedule = wgrad_trainer::Schedule::constant(0.0).expect("good");
    let trained = quiet(&device).schedule(schedule).first_weights(zero).run().expect("trains");
    assert!(trained.params.get("4.weight").expect("known").data.iter().all(|v| *v == 0.0));
    let bad = Airbench94 { batch_size: 201, ..Airbench94::default() };
    assert!(bad.trainer(splits()).is_err_and(|error| error.to_string().contains("batch")));
}
