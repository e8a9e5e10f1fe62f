//! The ways an update can be computed lead to the same losses, as a user trains with them.

use tests::Workspace;

/// 1,300 instances of 20 features out of 300: 51 steps in five epochs of the training split.
const DATA: &[&str] = &[
    "--quiet",
    "--backend",
    "flex",
    "--set",
    "data.generate.instances=1300",
    "--set",
    "data.generate.features=300",
    "--set",
    "data.generate.labels=37",
    "--set",
    "data.generate.active=20",
    "--set",
    "data.test=0.2",
    "--set",
    "data.validation=0",
    "--set",
    "train.epochs=6",
];

/// Losses of the epochs of a run with these settings.
fn losses(w: &Workspace, settings: &[&str]) -> Vec<f64> {
    let sets: Vec<&str> = settings.iter().flat_map(|s| ["--set", *s]).collect();
    w.ok(&[DATA, &sets, &["--out", "run", "--force"]].concat());
    w.timeless_events("run").iter().map(|e| e["loss"].as_f64().unwrap()).collect()
}

fn hold(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (epoch, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-5 * e.abs().max(1.0), "{what}, epoch {epoch}: {f}, reference {e}");
    }
}

#[test]
fn fused_and_composed_kernels_sparse_and_dense_input_train_alike() {
    let w = Workspace::default();
    let with = |more: &[&'static str]| [&["optimizer.rows=exact"], more].concat();
    let reference = losses(&w, &with(&["train.kernels=composed", "model.input=dense"]));
    assert!(reference[5] < 0.8 * reference[0], "{reference:?}");
    for more in [
        &["train.kernels=composed", "model.input=sparse"][..],
        &["train.kernels=fused", "model.input=dense"],
        &["train.kernels=fused", "model.input=sparse"],
    ] {
        hold(&more.join(" "), &losses(&w, &with(more)), &reference);
    }
    let lazy = losses(&w, &["model.input=sparse"]);
    assert!(lazy != reference && (lazy[5] - reference[5]).abs() < 0.1 * reference[5], "{lazy:?}, exact {reference:?}");
}

#[test]
fn every_kind_of_loss_model_and_optimizer_trains_alike_by_both_kernels() {
    let w = Workspace::default();
    // At pressure 1 a sampler draws evenly, whatever it is told: the last digits of a loss choose no other batch.
    for settings in [
        &["loss.kind=any_class"][..],
        &["loss.kind=asymmetric", "loss.reduction=sum", "optimizer.clip_norm=1.0"],
        &["loss.kind=two_way", "model.activation=leaky_relu", "model.hidden=[32, 16]"],
        &["loss.kind=zlpr", "model.hidden=[]"],
        &["model.activation=gelu", "model.hidden=[32, 16]", "model.dropout=0.2"],
        &["model.norm=layer", "model.activation=gelu", "loss.kind=focal"],
        &["model.norm=batch", "model.hidden=[32, 16]", "optimizer.kind=adamw"],
        &["loss.kind=distribution_balanced", "model.dropout=0.3", "optimizer.kind=sgd"],
        &["loss.kind=adaptive_threshold", "loss.margin=band", "optimizer.kind=adagrad"],
        &["loss.kind=adaptive_threshold", "loss.neighbours=embedding", "optimizer.kind=adamw"],
        &["loss.kind=adaptive_threshold", "loss.base=two_way"],
        &["sampler.kind=adaptive", "sampler.imbalance=false", "sampler.warmup=1", "sampler.pressure=1.0"],
        &["sampler.kind=uncertainty", "sampler.warmup=2", "sampler.pressure=1.0"],
    ] {
        for input in ["model.input=dense", "model.input=sparse"] {
            let with = |kernels| losses(&w, &[settings, &[input, kernels, "optimizer.rows=exact"]].concat());
            let (fused, composed) = (with("train.kernels=fused"), with("train.kernels=composed"));
            hold(&format!("{} {input}", settings.join(" ")), &fused, &composed);
        }
    }
}

#[test]
fn kernels_of_a_gpu_train_as_composed_operations_do() {
    let w = Workspace::default();
    let devices: serde_json::Value = serde_json::from_str(&w.ok(&["devices", "--json"]).out).unwrap();
    if devices["adapters"].as_array().unwrap().is_empty() {
        eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter, its kernels are not compared");
        return;
    }
    // Thresholds, presence, a margin, sparse input and rows of Adam: every kernel but two_way's.
    let trained = |kernels: &str| {
        let settings = [
            kernels,
            "model.input=sparse",
            "loss.kind=adaptive_threshold",
            "loss.base=any_class",
            "train.epochs=3",
            "data.generate.instances=700",
        ];
        let sets: Vec<&str> = settings.iter().flat_map(|s| ["--set", *s]).collect();
        let mut command =
            w.command(&[&["--backend", "wgpu", "--quiet"], &DATA[3..], &sets, &["--out", "run", "--force"]].concat());
        let ran = tests::Ran::of(command.env("CUBECL_AUTOTUNE_LEVEL", "minimal"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        w.timeless_events("run").iter().map(|e| e["loss"].as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let (fused, composed) = (trained("train.kernels=fused"), trained("train.kernels=composed"));
    hold("wgpu", &fused, &composed);
    assert!(fused[2] < 0.9 * fused[0], "{fused:?}");
}

#[test]
fn waiting_rows_survive_an_interrupt_bit_for_bit() {
    let w = Workspace::default();
    let args = [DATA, &["--set", "optimizer.rows=exact", "--set", "train.epochs=4000", "--out", "stopped"]].concat();
    let mut child = w.command(&args).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(900));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let done = w.timeless_events("stopped").len();
    assert!(done > 0, "it was stopped within the first epoch");
    let epochs = format!("train.epochs={}", done + 3);
    w.ok(&["--quiet", "--backend", "flex", "--out", "stopped", "--resume", "--set", &epochs]);
    w.ok(&[DATA, &["--set", "optimizer.rows=exact", "--set", &epochs, "--out", "whole"]].concat());
    assert_eq!(w.timeless_events("stopped"), w.timeless_events("whole"));
}

#[test]
fn a_sample_of_labels_trains_alike_by_both_kernels_and_as_all_labels_in_the_mean() {
    let w = Workspace::default();
    let all = losses(&w, &["train.epochs=12"]);
    for settings in [
        &["loss.negatives=8"][..],
        &["loss.negatives=8", "loss.kind=asymmetric", "loss.reduction=sum", "optimizer.kind=sgd"],
        &["loss.negatives=4", "loss.kind=focal", "model.hidden=[32, 16]", "model.dropout=0.2"],
    ] {
        let with = |kernels| losses(&w, &[settings, &["optimizer.rows=exact", kernels]].concat());
        let (fused, composed) = (with("train.kernels=fused"), with("train.kernels=composed"));
        hold(&settings.join(" "), &fused, &composed);
    }
    let some = losses(&w, &["train.epochs=12", "loss.negatives=8"]);
    for (epoch, (a, s)) in all.iter().zip(&some).enumerate() {
        assert!((a - s).abs() < 0.15 * a, "epoch {epoch}: {s} of a sample, {a} of all");
    }
    assert_eq!(losses(&w, &["loss.negatives=1000"]), losses(&w, &["loss.negatives=all"]));
}

#[test]
fn a_sample_of_labels_is_refused_where_it_makes_no_sense() {
    let w = Workspace::default();
    for (settings, message) in [
        (
            &["loss.kind=any_class", "loss.negatives=5"][..],
            "error: loss.negatives needs a loss whose labels do not depend on each other, alike for all of them: bce, focal \
             or asymmetric; or set loss.negatives = \"all\"",
        ),
        (
            &["model.hidden=[]", "loss.negatives=5"],
            "error: loss.negatives needs a hidden layer; set model.hidden, or loss.negatives = \"all\"",
        ),
        (
            &["sampler.kind=boundary", "loss.negatives=5"],
            "error: loss.negatives goes with samplers that look at losses: random, adaptive, chain, hardest",
        ),
    ] {
        let sets: Vec<&str> = settings.iter().flat_map(|s| ["--set", *s]).collect();
        let ran = w.run(&[DATA, &sets].concat());
        assert_eq!((ran.code, ran.error().as_str()), (2, message));
    }
    let ran = w.run(&[DATA, &["--set", "loss.negatives=0"]].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("loss.negatives is a number of labels, at least 1, or \"all\""), "{}", ran.err);
}

#[test]
fn sixteen_bits_train_within_tolerance_and_keep_weights_of_thirty_two() {
    let w = Workspace::default();
    for more in [
        &["model.input=dense"][..],
        &["model.input=sparse"],
        &["model.norm=layer"],
        &["model.norm=batch"],
        &["model.activation=gelu", "loss.kind=adaptive_threshold"],
        &["model={kind=\"c2ae\"}", "optimizer.learning_rate=0.001"],
        &["model={kind=\"mpvae\"}", "optimizer.learning_rate=0.001"],
        &["model={kind=\"clif\",hidden=64}", "optimizer.learning_rate=0.001"],
        &["model={kind=\"dela\",latent=32}", "optimizer.learning_rate=0.001"],
    ] {
        let more = [more, &["train.epochs=3"]].concat();
        let reference = losses(&w, &more);
        assert!(reference[2] < 0.97 * reference[0], "{more:?}: {reference:?}");
        for precision in ["train.precision=bf16", "train.precision=f16"] {
            let found = losses(&w, &[&more[..], &[precision]].concat());
            assert_ne!(found, reference, "{more:?}: {precision} changes nothing");
            for (f, e) in found.iter().zip(&reference) {
                assert!((f / e - 1.0).abs() < 0.02, "{more:?} {precision}: {found:?}, in 32 bits {reference:?}");
            }
            let header = std::fs::read(w.path("run/model/model.safetensors")).unwrap();
            assert!(!String::from_utf8_lossy(&header).contains("F16"));
        }
    }
}
