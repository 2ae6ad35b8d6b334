//! Choosing algorithms by measurement: who may win, what a table is good for, what a budget means.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wgrad_tensor::ops::{Candidate, Lower, OpDef, REGISTRY, Target, View, ViewMut};
use wgrad_tensor::tune::{Machine, Outcome, Table};
use wgrad_tensor::{CompileOptions, Device, DeviceOptions, Feed, Graph, Params, Plan, Shape, TensorDesc, Tuning};

fn device(options: &DeviceOptions) -> Device {
    Device::open(options).expect("device tests need an adapter; `cargo xtask test` installs the software driver")
}

/// `y = 2 x`, in several ways; most of them are no good.
#[derive(Clone, Copy, Debug)]
struct Doubled {
    way: Option<Way>,
    /// Whether the rules take the slow way.
    careless: bool,
    text: Text,
}

/// A kernel's text, which is no setting: the operation's key does not show it.
#[derive(Clone, Copy)]
struct Text(&'static str);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text")
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Slow,
    Nonsense,
    OneElementWrong,
    HalfMissing,
    DoesNotCompile,
    Greedy,
}

const WAYS: [(&str, Way); 7] = [
    ("plain", Way::Plain),
    ("slow", Way::Slow),
    // Behind right ones: what they have left in memory must not pass for its result.
    ("half-missing", Way::HalfMissing),
    ("nonsense", Way::Nonsense),
    ("one-element-wrong", Way::OneElementWrong),
    ("does-not-compile", Way::DoesNotCompile),
    ("greedy", Way::Greedy),
];

const HEAD: &str = "
struct Args { n: u32, loops: u32, odd: u32, count: u32 }
@group(0) @binding(0) var<uniform> args: Args;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.y * nwg.x + wid.x) * WG + lid.x;
  if (i >= args.count) { return; }
  var h = i;
  for (var k = 0u; k < args.loops; k++) { h = h * 1664525u + 1013904223u; }
  var v = 2.0 * x[i];
  if (i % args.n == args.odd || (args.loops > 0u && h == 1u)) { v += 1.0; }
  y[i] = v;
}
";

const BROKEN: &str = "override WG: u32 = 64u;\nfn main() { nothing of this is a kernel }";

impl OpDef for Doubled {
    fn name(&self) -> &'static str {
        "doubled"
    }

    fn infer(&self, x: &[TensorDesc]) -> Result<Vec<TensorDesc>, String> {
        Ok(vec![x[0]])
    }

    fn lower(&self, cx: &mut Lower<'_>) {
        let n = cx.x_desc(0).shape.numel();
        let (x, y) = (cx.x(0), cx.y(0));
        let way = self.way.unwrap_or(if self.careless { Way::Slow } else { Way::Plain });
        if way == Way::Greedy {
            let elements = cx.target().workspace_bytes as usize / 4 + 1;
            let _ = cx.workspace(elements);
        }
        let text = if way == Way::DoesNotCompile { BROKEN } else { self.text.0 };
        // So slow that a machine which is busy with other things too does not turn the two round.
        let loops = if way == Way::Slow { 1000 } else { 0 };
        // In all but two ways no element is odd.
        let (every, odd) = match way {
            Way::Nonsense => (2, 1),
            Way::OneElementWrong => (n, n / 2 + 3),
            _ => (n, n),
        };
        let count = if way == Way::HalfMissing { n / 2 } else { n };
        let kernel = cx.dispatch_source("doubled", text).bind("x", x).bind("y", y);
        kernel.args(&[("n", every), ("loops", loops), ("odd", odd), ("count", count)]).invocations(n);
    }

    fn reference(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
        y[0].data.iter_mut().zip(x[0].data).for_each(|(y, x)| *y = 2.0 * x);
    }

    fn candidates(&self, _: &[TensorDesc], _: &Target) -> Vec<Candidate> {
        let rule = if self.careless { Way::Slow } else { Way::Plain };
        let mut ways = WAYS.to_vec();
        ways.sort_by_key(|(_, way)| *way != rule);
        ways.retain(|(_, way)| self.way.is_none_or(|fixed| fixed == *way));
        let fixed = |(name, way)| Candidate { name, op: Rc::new(Doubled { way: Some(way), ..*self }) };
        ways.into_iter().map(fixed).collect()
    }
}

const SHAPE: [usize; 2] = [300, 333];

fn graph(careless: bool) -> Graph {
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32(SHAPE));
    graph.output("y", graph.apply1(Doubled { way: None, careless, text: Text(HEAD) }, &[x]));
    graph
}

fn compile(device: &Device, graph: &Graph, budget: Duration, table: &Table) -> Plan {
    let tuning = Tuning { budget, table: Arc::new(table.clone()) };
    let options = CompileOptions { tuning, ..CompileOptions::default() };
    Plan::compile(device, graph, &mut Params::new(device, 0), &options).expect("compiles")
}

const LONG: Duration = Duration::from_secs(60);

/// The device's clock, then the wall's: the fast and right way wins over a slow rule, and each of the others is named.
#[test]
fn only_right_candidates_win_by_either_clock() {
    for no_timestamps in [false, true] {
        let device = device(&DeviceOptions { no_timestamps, ..DeviceOptions::default() });
        assert!(!(no_timestamps && device.has_timestamps()));
        let mut plan = compile(&device, &graph(true), LONG, &Table::default());
        let report = plan.tuned().clone();
        assert_eq!((report.contests.len(), report.from_table, report.untimed), (1, 0, 0));
        let contest = &report.contests[0];
        let text = contest.to_string();
        assert_eq!(contest.winner.map(|i| contest.trials[i].name), Some("plain"), "{text}");
        assert!(contest.gain() > 1.0, "{text}");
        let skipped = |name: &str| {
            contest.trials.iter().find_map(|trial| match &trial.outcome {
                Outcome::Skipped(why) if trial.name == name => Some(why.clone()),
                _ => None,
            })
        };
        for (name, why) in [
            ("nonsense", "wrong: element"),
            ("half-missing", "wrong: element"),
            ("one-element-wrong", "as a whole"),
            ("does-not-compile", "kernel doubled"),
            ("greedy", "above the limit"),
        ] {
            assert!(skipped(name).is_some_and(|found| found.contains(why)), "{name}: {:?}\n{text}", skipped(name));
            assert!(text.contains(name) && text.contains(why), "{text}");
        }
        let dump = plan.dump();
        assert!(dump.contains("{plain: measured, ") && dump.contains(", slow "), "{dump}");
        let x: Vec<f32> = (0..SHAPE[0] * SHAPE[1]).map(|i| i as f32).collect();
        let ticket = plan.run(&[("x", Feed::F32(&x))]).expect("runs");
        let y = plan.read(ticket, "y").expect("reads");
        assert!(y.iter().zip(&x).all(|(y, x)| *y == 2.0 * x));
    }
}

#[test]
fn with_its_table_a_second_compile_times_nothing() {
    let device = device(&DeviceOptions::default());
    let first = compile(&device, &graph(true), LONG, &Table::default());
    let table = first.tuned().table(&device);
    assert_eq!(table.len(), 1);
    // What is tested here is that the choice is kept, whatever it was.
    let contest = &first.tuned().contests[0];
    let kept = contest.winner.map(|winner| format!("{{{}: table, ", contest.trials[winner].name)).expect("a winner");
    let table = Table::parse(table.to_json().as_bytes()).expect("survives the disk");
    for budget in [LONG, Duration::ZERO] {
        let second = compile(&device, &graph(true), budget, &table);
        assert_eq!((second.tuned().contests.len(), second.tuned().from_table), (0, 1));
        assert!(second.dump().contains(&kept), "{}", second.dump());
        let kernels = |plan: &Plan| format!("{:?}", plan.desc().dispatches);
        assert_eq!(kernels(&first), kernels(&second));
    }
    // The other operation has another key; the same one in a form that lowers otherwise would have another hash.
    let other = compile(&device, &graph(false), Duration::ZERO, &table);
    assert!(other.tuned().from_table == 0 && other.dump().contains("{plain: by rule}"), "{}", other.dump());
}

#[test]
fn an_entry_for_another_machine_or_lowering_decides_nothing() {
    let device = device(&DeviceOptions::default());
    let own = compile(&device, &graph(true), LONG, &Table::default()).tuned().table(&device);
    let machine = Machine::of(&device);
    let (op, entry) = own.entries(&machine).and_then(|entries| entries.iter().next()).expect("one entry");
    let by_rule = |machine: Machine, entry| {
        let mut table = Table::default();
        table.insert(machine, [(op.clone(), entry)]);
        compile(&device, &graph(true), Duration::ZERO, &table).dump().contains("{slow: by rule}")
    };
    assert!(!by_rule(machine.clone(), entry.clone()), "its own");
    assert!(by_rule(Machine { kernels: "0".repeat(16), ..machine.clone() }, entry.clone()), "other kernels");
    assert!(by_rule(Machine { checked: !machine.checked, ..machine.clone() }, entry.clone()), "other checks");
    assert!(by_rule(Machine { driver: "another".to_string(), ..machine.clone() }, entry.clone()), "another driver");
    let mut lowered = entry.clone();
    lowered.lowering = "0".repeat(16);
    assert!(by_rule(machine, lowered), "lowered otherwise");
}

/// An operation's own kernel may be edited while everything in Rust stays as it is.
#[test]
fn an_entry_for_another_text_of_the_kernel_decides_nothing() {
    let device = device(&DeviceOptions::default());
    let table = compile(&device, &graph(true), LONG, &Table::default()).tuned().table(&device);
    let edited = format!("// Edited.\n{HEAD}").leak();
    for (text, known) in [(HEAD, 1), (edited, 0)] {
        let graph = Graph::new();
        let x = graph.feed("x", TensorDesc::f32(SHAPE));
        graph.output("y", graph.apply1(Doubled { way: None, careless: true, text: Text(text) }, &[x]));
        let plan = compile(&device, &graph, Duration::ZERO, &table);
        assert_eq!(plan.tuned().from_table, known, "{}", plan.dump());
    }
}

/// Two plans that share a budget: the second one has what the first one left.
#[test]
fn what_is_left_of_a_budget_is_never_more_than_it_was() {
    let report = wgrad_tensor::tune::TuneReport { seconds: 3.0, ..Default::default() };
    let rest = |seconds| report.rest(Duration::from_secs(seconds));
    assert_eq!((rest(0), rest(2), rest(5)), (Duration::ZERO, Duration::ZERO, Duration::from_secs(2)));
}

#[test]
fn without_a_budget_nothing_is_timed_and_no_buffer_is_made_for_it() {
    let device = device(&DeviceOptions::default());
    let plan = compile(&device, &graph(true), Duration::ZERO, &Table::default());
    assert!(plan.tuned().contests.is_empty() && plan.tuned().untimed == 0);
    assert_eq!(device.buffers_created(), plan.created(), "of the plan, and no other");
    assert!(plan.dump().contains("{slow: by rule}"), "{}", plan.dump());
}

#[test]
fn a_budget_that_is_used_up_leaves_the_rules() {
    let device = device(&DeviceOptions::default());
    let graph = Graph::new();
    for i in 0..400 {
        let x = graph.feed(&format!("x{i}"), TensorDesc::f32([1000, i + 1]));
        graph.output(&format!("y{i}"), graph.apply1(Doubled { way: None, careless: true, text: Text(HEAD) }, &[x]));
    }
    let begun = Instant::now();
    let plan = compile(&device, &graph, Duration::from_millis(200), &Table::default());
    let report = plan.tuned();
    assert!(report.untimed > 0 && report.contests.len() + report.untimed == 400, "{}", report.summary());
    assert!(report.summary().contains("keep their rule"), "{}", report.summary());
    assert!(plan.dump().contains("{slow: by rule}"));
    // One candidate may be under way when the time is up.
    assert!(report.seconds < 5.0 && report.seconds <= begun.elapsed().as_secs_f64(), "{}", report.seconds);
}

/// Single elements of a result as the whole reference has them, for every case that offers them.
#[test]
fn single_elements_agree_with_the_reference() {
    let mut checked = 0;
    for case in REGISTRY.iter().flat_map(|entry| (entry.cases)()) {
        let label = format!("{} {}", case.op.name(), case.name);
        let descs: Vec<TensorDesc> = case.inputs.iter().map(|input| input.desc).collect();
        let data: Vec<Vec<f64>> = case.inputs.iter().enumerate().map(|(i, x)| x.generate(i as u64)).collect();
        let value = |operand: usize, element: usize| data[operand][element];
        if case.op.reference_at(&descs, &value, 0).is_none() {
            assert!(case.op.candidates(&descs, &Target::default()).is_empty(), "{label}: large shapes need it");
            continue;
        }
        let shape: Shape = case.op.infer(&descs).expect("a good case")[0].shape;
        let views: Vec<View<'_>> =
            data.iter().zip(&descs).map(|(data, desc)| View { shape: desc.shape, data }).collect();
        let mut whole = vec![0.0; shape.numel()];
        case.op.reference(&views, &mut [ViewMut { shape, data: &mut whole }]);
        for at in (0..whole.len()).step_by((whole.len() / 97).max(1)).chain([whole.len() - 1]) {
            let single = case.op.reference_at(&descs, &value, at).expect("as for the first");
            assert!((single - whole[at]).abs() <= 1e-9 * whole[at].abs().max(1.0), "{label} element {at}");
        }
        checked += 1;
    }
    assert!(checked > 100, "{checked} cases");
}

/// Every candidate of a convolution is named and either timed or skipped with its reason; none is wrong.
#[test]
fn all_algorithms_of_a_convolution_are_seen() {
    let device = device(&DeviceOptions::default());
    let graph = Graph::new();
    let x = graph.feed("x", TensorDesc::f32([2, 8, 9, 10]));
    let w = graph.feed("w", TensorDesc::f32([12, 8, 3, 3]));
    let config = wgrad_tensor::ops::conv2d::Conv2dConfig { padding: [1, 1], ..Default::default() };
    graph.output("y", x.conv2d(w, config).relu());
    let plan = compile(&device, &graph, LONG, &Table::default());
    let contest = &plan.tuned().contests[0];
    assert!(contest.trials.len() >= 3, "{contest}");
    for trial in &contest.trials {
        let wrong = matches!(&trial.outcome, Outcome::Skipped(why) if why.starts_with("wrong"));
        assert!(!wrong, "{contest}");
    }
    let algorithm = contest.winner.map(|i| contest.trials[i].name).expect("one is right");
    assert!(plan.dump().contains(&format!("{{{algorithm}: measured, ")), "{}", plan.dump());
    assert!(contest.key.contains("Relu"), "an epilogue has a key of its own: {}", contest.key);
}
