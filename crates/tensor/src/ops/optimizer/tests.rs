//! Five steps of every optimiser against PyTorch's, and what all of them share.

use super::*;
use crate::graph::Init;
use crate::ops::sgd::Sgd;
use crate::precision::Storage;
use crate::{CompileOptions, Device, DeviceOptions, Feed, Graph, Mode, Params, Plan, Scope, Tier};

/// What tests/optimizers.py prints, which says what is computed.
const PYTORCH: [(&str, [f64; 7]); 8] = [
    ("sgd", [1.109403848, 1.158952623, 0.167294995, -0.898287558, -1.030534319, -0.018662398, 0.714276382]),
    ("adamw", [0.865616376, 1.126406704, 0.222479436, -0.952249842, -0.984639220, 0.123983821, 0.516557241]),
    ("adam", [0.886244218, 1.119107685, 0.211466285, -0.938215749, -0.980644531, 0.106043049, 0.553380660]),
    ("rmsprop", [1.008917557, 1.451386309, 0.166961840, -0.972400022, -0.779530482, -0.000067222, 0.842684490]),
    (
        "rmsprop_momentum",
        [-7.330522048, 6.823120587, 1.784191024, -4.854058393, 3.658293347, -0.917613871, -7.920479089],
    ),
    ("rmsprop_centered", [1.007412606, 1.458545686, 0.126654968, -0.973816523, -0.799040281, 0.000041555, 0.829764693]),
    ("adagrad", [0.904627461, 1.079431163, 0.182732662, -0.831679743, -0.916718654, -0.084997577, 0.718584905]),
    ("sgd_clipped", [0.903481210, 1.043669465, 0.152186679, -0.869152298, -1.021685689, -0.167819011, 0.633038770]),
];

fn device(tier: Tier) -> Device {
    Device::open(&DeviceOptions { tier: Some(tier), ..DeviceOptions::default() }).expect("adapter")
}

/// The two weights of optimizers.py, how a step moves them, and what a run of five steps leaves.
struct Trial {
    params: Params,
    plan: Plan,
}

impl Trial {
    /// `close` is handed the group of both weights and the learning rate, and traces the update.
    fn new(device: &Device, storage: Storage, close: impl for<'g> Fn(&'g Graph, ParamGroup<'g>, Value<'g>)) -> Trial {
        let graph = Graph::new();
        let scope = Scope::new(&graph, Mode::Train);
        let shapes = [Shape::from([2, 2]), Shape::from([3])];
        let members = shapes.iter().enumerate().map(|(i, &shape)| {
            let w = scope.weight(&format!("w{i}"), shape, Init::Constant(0.0));
            (w, w * graph.feed(&format!("x{i}"), TensorDesc::f32(shape)))
        });
        let group = ParamGroup { lr_scale: 1.0, weight_decay: 0.0, members: members.collect() };
        close(&graph, group, graph.feed("lr", TensorDesc::f32([])));
        let mut params = Params::with_weights(device, 1, storage);
        let options = CompileOptions { poison_memory: true, ..CompileOptions::default() };
        let plan = Plan::compile(device, &graph, &mut params, &options).expect("compiles");
        let start: Vec<f32> = (1..8).map(|i| f64::from(i).sin() as f32).collect();
        for (i, &shape) in shapes.iter().enumerate() {
            let data = if i == 0 { start[..4].to_vec() } else { start[4..].to_vec() };
            params.set(&format!("w{i}"), &crate::Array { shape, data }).expect("known");
        }
        Trial { params, plan }
    }

    fn step(&mut self, step: usize, extra: &[(&str, Feed<'_>)]) {
        let x: Vec<f32> = (1..8).map(|i| f64::from(i * (step as i32 + 1)).cos() as f32).collect();
        let mut feeds = vec![("x0", Feed::F32(&x[..4])), ("x1", Feed::F32(&x[4..])), ("lr", Feed::F32(&[0.1]))];
        feeds.extend_from_slice(extra);
        self.plan.run(&feeds).expect("runs");
    }

    fn read(&self, prefix: &str) -> Vec<f32> {
        let read = |name: &str| self.params.get(&format!("{prefix}{name}")).expect("known").data;
        [read("w0"), read("w1")].concat()
    }
}

fn assert_close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let most = got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
    assert!(most <= tolerance, "{name}: differs by {most}: {got:?} {want:?}");
}

fn optimize<R: UpdateRule>(rule: R, weight_decay: f32) -> impl for<'g> Fn(&'g Graph, ParamGroup<'g>, Value<'g>) {
    move |graph, group, lr| {
        graph.optimize(&rule, &[ParamGroup { weight_decay, ..group }], lr, None).expect("sound settings");
    }
}

#[test]
fn five_steps_are_pytorch_s() {
    for tier in [Tier::Base, Tier::Cpu] {
        let device = device(tier);
        for (name, want) in PYTORCH {
            let trial =
                |close: &dyn for<'g> Fn(&'g Graph, ParamGroup<'g>, Value<'g>)| Trial::new(&device, Storage::F32, close);
            let mut trial = match name {
                "sgd" => trial(&|graph, group, lr| {
                    let sgd = Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() };
                    graph.sgd(&sgd, &[ParamGroup { weight_decay: 0.01, ..group }], lr).expect("sound");
                }),
                "sgd_clipped" => trial(&|graph, group, lr| {
                    let groups = [group];
                    let factor = graph.gradient_factor(&groups, None, Some(0.5)).expect("sound").factor;
                    let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
                    graph.sgd_with_factor(&sgd, &groups, lr, factor).expect("sound");
                }),
                "adamw" => trial(&optimize(AdamW::default(), 0.01)),
                "adam" => trial(&optimize(AdamW { beta1: 0.8, beta2: 0.95, eps: 1e-6, decoupled: false }, 0.01)),
                "rmsprop" => trial(&optimize(RmsProp { alpha: 0.9, ..RmsProp::default() }, 0.01)),
                "rmsprop_momentum" => trial(&optimize(RmsProp { momentum: 0.9, ..RmsProp::default() }, 0.0)),
                "rmsprop_centered" => {
                    trial(&optimize(RmsProp { alpha: 0.9, eps: 1e-2, centered: true, ..RmsProp::default() }, 0.01))
                }
                _ => trial(&optimize(Adagrad::default(), 0.01)),
            };
            (0..5).for_each(|step| trial.step(step, &[]));
            // RMSProp divides a gradient by its own magnitude, which magnifies what is lost where that is small.
            let tolerance = if name == "rmsprop_momentum" { 1e-4 } else { 1e-5 };
            assert_close(name, &trial.read(""), &want, tolerance);
            let updates = trial.plan.desc().dispatches.iter().filter(|d| !d.label.contains("mul")).count();
            assert!(trial.plan.desc().copies.is_empty() && updates <= 6, "{name}:\n{}", trial.plan.dump());
        }
    }
}

#[test]
fn weights_in_16_bits_are_updated_too() {
    let device = device(Tier::Base);
    let (_, want) = PYTORCH[1];
    let mut trial = Trial::new(&device, Storage::Bf16, optimize(AdamW::default(), 0.01));
    (0..5).for_each(|step| trial.step(step, &[]));
    assert_close("adamw", &trial.read(""), &want, 0.02);
}

#[test]
fn a_factor_of_0_skips_the_step_and_its_count() {
    let device = device(Tier::Base);
    let close = |graph: &Graph, group: ParamGroup<'_>, lr: Value<'_>| {
        let factor = graph.feed("factor", TensorDesc::f32([]));
        // The graph and the group are of one trace.
        let group = ParamGroup {
            members: group.members.iter().map(|(p, g)| (graph.value(p.id()), graph.value(g.id()))).collect(),
            ..group
        };
        let lr = graph.value(lr.id());
        graph
            .optimize(&AdamW::default(), &[ParamGroup { weight_decay: 0.01, ..group }], lr, Some(factor))
            .expect("sound");
    };
    let mut trial = Trial::new(&device, Storage::F32, close);
    for step in 0..5 {
        trial.step(9, &[("factor", Feed::F32(&[0.0]))]);
        trial.step(step, &[("factor", Feed::F32(&[1.0]))]);
    }
    assert_close("adamw", &trial.read(""), &PYTORCH[1].1, 1e-5);
}

#[test]
fn clipping_skips_and_counts_what_is_not_finite() {
    for storage in [Storage::F32, Storage::Bf16] {
        let close = |graph: &Graph, group: ParamGroup<'_>, lr: Value<'_>| {
            // The graph and the group are of one trace.
            let values = group.members.iter().map(|(p, g)| (graph.value(p.id()), graph.value(g.id())));
            let groups = [ParamGroup { members: values.collect(), ..group }];
            let factor = graph.gradient_factor(&groups, None, Some(0.5)).expect("sound").factor;
            let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
            graph.sgd_with_factor(&sgd, &groups, graph.value(lr.id()), factor).expect("sound");
        };
        let mut trial = Trial::new(&device(Tier::Base), storage, close);
        for step in 0..5 {
            for bad in [f32::INFINITY, f32::NAN] {
                let x = [1.0, bad, 1.0, 1.0];
                trial
                    .plan
                    .run(&[("x0", Feed::F32(&x)), ("x1", Feed::F32(&x[2..][..1].repeat(3))), ("lr", Feed::F32(&[0.1]))])
                    .expect("runs");
            }
            trial.step(step, &[]);
        }
        let (_, want) = PYTORCH[PYTORCH.len() - 1];
        assert_close("sgd_clipped", &trial.read(""), &want, if storage == Storage::F32 { 1e-5 } else { 0.03 });
        let skipped = trial.params.get(crate::ops::clip::CLIP_SKIPPED_STEPS).expect("counted");
        assert_eq!(skipped.data, [10.0]);
    }
}

#[test]
fn averages_of_weights_follow_the_new_ones() {
    let device = device(Tier::Cpu);
    let close = |graph: &Graph, group: ParamGroup<'_>, lr: Value<'_>| {
        let members: Vec<_> = group.members.iter().map(|(p, g)| (graph.value(p.id()), graph.value(g.id()))).collect();
        let group = ParamGroup { members: members.clone(), ..group };
        graph.optimize(&Adagrad::default(), &[group], graph.value(lr.id()), None).expect("sound");
        let pairs: Vec<_> =
            members.iter().map(|(param, _)| (*param, graph.new_value(*param).expect("updated"))).collect();
        graph.blend_states("ema", &pairs, graph.feed("ema", TensorDesc::f32([2])));
    };
    let mut trial = Trial::new(&device, Storage::F32, close);
    let mut want = vec![0.0f64; 7];
    for step in 0..4 {
        let factors = if step == 0 { [0.0, 1.0] } else { [0.75f32, 0.25] };
        trial.step(step, &[("ema", Feed::F32(&factors))]);
        for (want, new) in want.iter_mut().zip(trial.read("")) {
            *want = f64::from(factors[0]) * *want + f64::from(factors[1]) * f64::from(new);
        }
    }
    assert_close("ema", &trial.read("optimizer.ema."), &want, 1e-6);
}

#[test]
fn senseless_settings_are_refused() {
    let graph = Graph::new();
    let lr = graph.feed("lr", TensorDesc::f32([]));
    let sound = AdamW::default();
    assert!(graph.optimize(&sound, &[], lr, None).is_ok());
    let adamw = [
        AdamW { beta1: 1.0, ..sound },
        AdamW { beta2: -0.1, ..sound },
        AdamW { eps: 0.0, ..sound },
        AdamW { beta1: f32::NAN, ..sound },
    ];
    assert!(adamw.iter().all(|rule| graph.optimize(rule, &[], lr, None).is_err()));
    let sound = RmsProp::default();
    let both = RmsProp { centered: true, momentum: 0.5, ..sound };
    let rmsprop =
        [both, RmsProp { alpha: 1.0, ..sound }, RmsProp { momentum: 1.0, ..sound }, RmsProp { eps: -1.0, ..sound }];
    assert!(rmsprop.iter().all(|rule| graph.optimize(rule, &[], lr, None).is_err()));
    assert!(graph.optimize(&Adagrad { eps: 0.0 }, &[], lr, None).is_err());
    let lars = [Lars { trust: 0.0, momentum: 0.9 }, Lars { momentum: 0.0, trust: 0.1 }];
    assert!(lars.iter().all(|rule| graph.lars(rule, &[], lr, None).is_err()));
    let sound = Muon::default();
    let muon = [Muon { steps: 0, ..sound }, Muon { momentum: 1.0, ..sound }, Muon { others_lr: -1.0, ..sound }];
    assert!(muon.iter().all(|rule| graph.muon(rule, &[], lr, None).is_err()));
    let group = ParamGroup { lr_scale: -1.0, weight_decay: 0.0, members: Vec::new() };
    assert!(graph.optimize(&Adagrad::default(), &[group], lr, None).is_err());
    assert!([0.0, -1.0, f32::NAN].iter().all(|&norm| graph.gradient_factor(&[], None, Some(norm)).is_err()));
}
