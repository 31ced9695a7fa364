//! The fuzz targets over their corpus, and over random changes of it.
//!
//! `bash fuzz/run.sh NAME` searches for more. A crash that it finds is kept as a file of the corpus.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use larder::fuzzing::{TARGETS, run};

use crate::support::dice::Dice;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

/// Returns the names of the files in a folder of `fuzz/`, in order.
fn names(path: &str) -> Vec<String> {
    let entries = fs::read_dir(folder(path)).unwrap();
    let names: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.into_iter().collect()
}

#[test]
fn corpus_passes() {
    for (target, _) in TARGETS {
        let files = names(&format!("corpus/{target}"));
        assert!(files.len() >= 5, "{target} has a corpus of {} files", files.len());
        for file in files {
            println!("{target}/{file}");
            run(target, &fs::read(folder(&format!("corpus/{target}/{file}"))).unwrap());
        }
    }
}

/// Changes each file of the corpus at random places, the same in every run.
#[test]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small"
)]
fn changed_corpus_passes() {
    let mut dice = Dice(1);
    let mut below = |limit: usize| (dice.next() * limit as f64) as usize % limit.max(1);
    for (target, _) in TARGETS {
        for file in names(&format!("corpus/{target}")) {
            let original = fs::read(folder(&format!("corpus/{target}/{file}"))).unwrap();
            for _ in 0..200 {
                let mut data = original.clone();
                for _ in 0..=below(4) {
                    let at = below(data.len() + 1);
                    let byte = [b' ', b'"', b',', b'\n', b'\r', b'0', b'-', 0xff, below(256) as u8][below(9)];
                    match below(4) {
                        0 => data.truncate(at),
                        1 => data.insert(at, byte),
                        2 if at < data.len() => data[at] = byte,
                        _ => data.extend_from_within(at.min(below(data.len() + 1))..at),
                    }
                }
                println!("{target}/{file}: {data:?}");
                run(target, &data);
            }
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_an_entry() {
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names("corpus"), targets);
    let files: Vec<String> = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names("fuzz_targets"), files);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in targets {
        assert!(
            manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")),
            "{name} is not in fuzz/Cargo.toml"
        );
        let body = fs::read_to_string(folder(&format!("fuzz_targets/{name}.rs"))).unwrap();
        // A target that is built without the crate calls its check directly.
        let calls = [format!("run(\"{name}\", data)"), format!("{name}::{name}(data)")];
        assert!(calls.iter().any(|call| body.contains(call)), "{name}.rs runs another target");
    }
}
