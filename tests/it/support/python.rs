//! Programs from PyPI, installed once per set of pinned versions into a virtual environment in the target
//! folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sha2::{Digest, Sha256};

/// Runs `command`, which must succeed, and returns its output.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}\n{out}\n{err}", output.status);
    output
}

/// Returns the folder of programs of a virtual environment with the packages of
/// `tests/<name>/requirements.txt` and with what they depend on.
pub(crate) fn installed(name: &str) -> PathBuf {
    installed_with(name, &[])
}

/// Returns the folder of programs of a virtual environment with the packages of
/// `tests/<name>/requirements.txt` alone, which has all that is needed.
pub(crate) fn installed_without_dependencies(name: &str) -> PathBuf {
    installed_with(name, &["--no-deps"])
}

fn installed_with(name: &str, options: &[&str]) -> PathBuf {
    let requirements =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name).join("requirements.txt");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let pins = format!("{:x}", Sha256::digest(fs::read(&requirements).unwrap()));
    let folder = target.join(format!("{name}-{}", &pins[..12]));
    // One process installs; the others wait for the lock.
    let lock = File::create(target.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !folder.join("ready").exists() {
        let _ = fs::remove_dir_all(&folder);
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let mut pip = Command::new(folder.join("bin/pip"));
        run(pip
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(options)
            .arg("--requirement")
            .arg(&requirements));
        fs::write(folder.join("ready"), "").unwrap();
    }
    folder.join("bin")
}
