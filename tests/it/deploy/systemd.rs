//! Units for systemd, checked by `systemd-analyze`, with the commands and settings that they use.

use std::{path::PathBuf, process::Command};

use larder::config::env;

use super::file;
use crate::support::python::run;

/// Path of the binary in the units.
const INSTALLED: &str = "/usr/local/bin/larder";

/// Returns the units by their path.
fn units() -> Vec<(PathBuf, String)> {
    let files = std::fs::read_dir(file("deploy/systemd")).unwrap().map(|entry| entry.unwrap().path());
    let mut units: Vec<_> =
        files.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect();
    units.sort();
    units
}

/// Returns a unit with continued lines in one.
fn joined(unit: &str) -> String {
    unit.replace("\\\n", " ")
}

/// Returns the values of a setting of a unit.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_accepts_the_units_and_their_hardening() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |(path, unit): (PathBuf, String)| {
        let copy = folder.path().join(path.file_name().unwrap());
        std::fs::write(&copy, unit.replace(INSTALLED, env!("CARGO_BIN_EXE_larder"))).unwrap();
        copy
    };
    let copies: Vec<PathBuf> = units().into_iter().map(copy).collect();
    assert_eq!(copies.len(), 5);
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&copies));
    // An unknown setting is a message, but no failure.
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    for service in copies.iter().filter(|path| path.extension().is_some_and(|kind| kind == "service")) {
        let mut security = Command::new("systemd-analyze");
        run(security.args(["security", "--offline=true", "--threshold=15"]).arg(service));
    }
}

#[test]
fn units_use_existing_commands_options_and_settings() {
    let (known, mut commands) = (env::names(), Vec::new());
    for (path, unit) in units() {
        let unit = joined(&unit);
        let service = path.with_extension("service");
        if path.extension().is_some_and(|kind| kind == "timer") {
            assert!(service.exists(), "{}", path.display());
            let calendar = values(&unit, "OnCalendar")[0];
            run(Command::new("systemd-analyze").args(["calendar", calendar]));
            continue;
        }
        let command = values(&unit, "ExecStart")[0];
        let words: Vec<&str> = command.strip_prefix(INSTALLED).unwrap().split_whitespace().collect();
        let help = run(Command::new(env!("CARGO_BIN_EXE_larder")).args([words[0], "--help"]));
        let help = String::from_utf8(help.stdout).unwrap();
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{option} ")), "{command}: {option}");
        }
        commands.push(words[0].to_owned());
        let credentials = values(&unit, "LoadCredential");
        for variable in values(&unit, "Environment") {
            let (name, value) = variable.split_once('=').unwrap();
            assert!(known.iter().any(|known| known == name), "{name}");
            if let Some(credential) = value.strip_prefix("%d/") {
                let mut names = credentials.iter().map(|loaded| loaded.split(':').next().unwrap());
                assert!(names.any(|name| name == credential), "{}: {value}", path.display());
            }
        }
        assert_eq!(values(&unit, "DynamicUser"), ["yes"]);
        if words[0] == "serve" {
            // A service waits for its first snapshot as long as a build takes.
            assert_eq!(values(&unit, "Type"), ["notify"]);
            assert_eq!(values(&unit, "TimeoutStartSec"), ["infinity"]);
        }
    }
    assert_eq!(commands, ["build", "snapshots", "serve"]);
}
