//! Snapshots of a parameter store: what they hold, when they may be taken, and that they make no buffers.

use wgrad_tensor::{
    CompileOptions, Device, DeviceOptions, Feed, Graph, Init, Mode, Params, Plan, Scope, Snapshots, Storage, TensorDesc,
};

fn device() -> Device {
    Device::open(&DeviceOptions::default())
        .expect("device tests need an adapter; `cargo xtask test` installs the software driver")
}

/// A plan that adds 1 to a filter and 2 to a vector of odd length in every run.
fn counting(device: &Device, params: &mut Params) -> Plan {
    let graph = Graph::new();
    let scope = Scope::new(&graph, Mode::Train);
    let one = graph.feed("one", TensorDesc::f32([3, 2, 3, 3]));
    let two = graph.feed("two", TensorDesc::f32([5]));
    let filter = scope.weight("filter", [3, 2, 3, 3], Init::Uniform { bound: 1.0 });
    let state = scope.buffer("state", [5], Init::Constant(0.5));
    graph.write_back(filter, filter + one);
    graph.write_back(state, state + two);
    Plan::compile(device, &graph, params, &CompileOptions::default()).expect("compiles")
}

fn run(plan: &mut Plan) {
    plan.run(&[("one", Feed::F32(&[1.0; 54])), ("two", Feed::F32(&[2.0; 5]))]).expect("runs");
}

#[test]
fn a_snapshot_is_of_its_moment_whatever_runs_behind_it() {
    let device = device();
    for storage in [Storage::F32, Storage::Bf16] {
        let mut params = Params::with_weights(&device, 3, storage);
        let mut plan = counting(&device, &mut params);
        let mut snapshots = Snapshots::new(&params).expect("fits");
        run(&mut plan);
        let then: Vec<_> = params.decls().map(|decl| params.get(&decl.name).expect("known")).collect();
        snapshots.begin(&params).expect("none is under way");
        (0..3).for_each(|_| run(&mut plan));
        let snapshot = snapshots.take().expect("it was begun");
        let decls: Vec<_> = snapshot.decls().collect();
        assert_eq!(decls.len(), 2);
        for (decl, then) in decls.iter().zip(then) {
            assert_eq!(snapshot.get(decl), then, "{} in {storage:?}", decl.name);
            assert_ne!(params.get(&decl.name).expect("known"), then, "{}: steps went on", decl.name);
        }
    }
}

#[test]
fn one_at_a_time_of_the_store_it_was_made_for_and_no_buffer_for_any() {
    let device = device();
    let mut params = Params::new(&device, 3);
    let mut plan = counting(&device, &mut params);
    let mut snapshots = Snapshots::new(&params).expect("fits");
    assert_eq!(snapshots.created(), (params.bytes(), params.buffer_count()));
    assert!(snapshots.take().is_err() && !snapshots.is_pending() && !snapshots.is_ready(), "none was begun");
    let created = device.buffers_created();
    for _ in 0..50 {
        run(&mut plan);
        snapshots.begin(&params).expect("the last one was taken");
        assert!(snapshots.is_pending());
        snapshots.take().expect("begun");
    }
    assert_eq!(device.buffers_created(), created);
    snapshots.begin(&params).expect("the last one was taken");
    assert!(snapshots.begin(&params).is_err_and(|error| error.to_string().contains("not taken yet")));
    snapshots.take().expect("that one still stands");
    let mut other = Params::new(&device, 3);
    assert!(snapshots.begin(&other).is_err_and(|error| error.to_string().contains("other buffers")));
    counting(&device, &mut other);
}
