//! The binary as a user runs it: exit codes, messages, and the state after a kill.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use crate::support::shop::{CORNERS, CORNERS_TOML, NO_MODELS, PATIENCE, Shop, corners};

/// Returns standard output and standard error.
fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Asserts success and returns standard output.
fn ok(output: &Output) -> String {
    let (out, err) = text(output);
    assert!(output.status.success(), "{out}\n{err}");
    out
}

#[test]
fn upload_build_snapshots_and_rollback_work() {
    let shop = Shop::new(CORNERS_TOML);
    let file = shop.path().join("all.csv");
    std::fs::write(&file, CORNERS).unwrap();
    let path = file.to_str().unwrap();
    assert!(ok(&shop.larder(&["upload", "transactions", path])).contains("raw/transactions/all.csv"));
    assert!(ok(&shop.larder(&["upload", "transactions", path])).contains("unchanged"));
    std::fs::write(&file, CORNERS.replace("Lamp", "Light")).unwrap();
    let refused = shop.larder(&["upload", "transactions", path]);
    assert!(!refused.status.success() && text(&refused).1.contains("--force"), "{refused:?}");
    assert!(ok(&shop.larder(&["upload", "--force", "transactions", path])).contains("overwritten"));
    let built = ok(&shop.larder(&["build"]));
    assert!(
        built.contains("no_customer") && built.contains("published") && built.contains("champions"),
        "{built}"
    );
    // No progress bars in a pipe.
    assert!(text(&shop.larder(&["build"])).1.is_empty());
    let listed = ok(&shop.larder(&["snapshots"]));
    assert!(
        listed.contains("current") && listed.contains("previous") && listed.contains("2024-03-10T11:30:00Z"),
        "{listed}"
    );
    let older = shop.larder(&["build", "--as-of", "2024-02-01T00:00:00Z"]);
    assert!(!older.status.success() && text(&older).1.contains("--force"), "{older:?}");
    assert_eq!(
        shop.snapshot_folders().len(),
        2,
        "an as-of time that cannot be published must not start a build"
    );
    ok(&shop.larder(&["build", "--as-of", "2024-02-01", "--no-publish"]));
    for (as_of, word) in [("2124-02-01T00:00:00Z", "is in the future"), ("yesterday", "2011-09-09T00:00:00Z")]
    {
        let refused = shop.larder(&["build", "--as-of", as_of]);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && message.contains(word), "{message}");
    }
    ok(&shop.larder(&["rollback"]));
    let listed = ok(&shop.larder(&["snapshots", "--keep", "1"]));
    assert_eq!(listed.lines().filter(|line| line.contains("2024-0")).count(), 3, "{listed}");
}

#[test]
fn errors_name_the_cause_and_set_the_exit_code() {
    let shop = Shop::new("");
    for (args, word) in [
        (&["build"][..], "no transactions"),
        (&["upload", "transactions", "/nowhere.csv"], "/nowhere.csv"),
        (&["upload", "orders", "x.csv"], "expected transactions, customers or interactions"),
        (&["publish"], "no current snapshot"),
        (&["publish", "latest"], "no snapshot id"),
        (&["publish", "20111209T125000Z-5f0c2a9e"], "there is no snapshot"),
        (&["rollback"], "no current snapshot"),
        (&["serve", "--listen", "0.0.0.0:0"], "anonymous"),
        (&["--lake", "gopher://x", "snapshots"], "gopher"),
    ] {
        let output = shop.larder(args);
        let (out, err) = text(&output);
        assert!(!output.status.success(), "{args:?}: {out}");
        assert!(err.contains(word), "{args:?} does not say `{word}`: {err}");
    }
    std::fs::remove_file(shop.path().join("larder.toml")).unwrap();
    assert!(text(&shop.larder(&["snapshots"])).1.contains("cannot read the configuration"));
    std::fs::write(shop.path().join("larder.toml"), "[lake]\nurll = \"x\"\n").unwrap();
    let (_, err) = text(&shop.larder(&["snapshots"]));
    assert!(err.contains("urll") && err.contains("larder.toml") && err.contains("line 2"), "{err}");
}

#[test]
fn every_subcommand_shows_an_example() {
    let shop = Shop::new("");
    for command in [
        "demo",
        "inspect",
        "init",
        "upload",
        "build",
        "publish",
        "rollback",
        "verify",
        "snapshots",
        "serve",
        "key",
        "feast-repo",
        "subject",
        "openapi",
    ] {
        let help = ok(&shop.larder(&[command, "--help"]));
        assert!(help.contains("Example:") && help.contains(&format!("larder {command}")), "{help}");
    }
}

#[test]
fn killed_build_leaves_no_partial_snapshot() {
    let shop = Shop::new("");
    let made = tempfile::tempdir().unwrap();
    let retail = larder::demo::Retail { customers: 300, lines: 3_000, seed: 3, compress: false };
    for file in larder::demo::generate(&retail, made.path(), &|_, _| {}).unwrap() {
        let inside = file.path.strip_prefix(made.path()).unwrap().display().to_string();
        shop.raw(&inside, std::fs::read(&file.path).unwrap());
    }
    let since = Instant::now();
    ok(&shop.larder(&["build"]));
    let whole = since.elapsed();
    let current = std::fs::read(shop.path().join("lake/CURRENT")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let before = runtime.block_on(larder::snapshot::list(&shop.lake())).unwrap();
    for step in 1..10 {
        let mut child = shop
            .command(&["build", "--no-publish"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * step / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(std::fs::read(shop.path().join("lake/CURRENT")).unwrap(), current, "step {step}");
        // Every snapshot with a manifest is complete, and every file has the hash in the manifest.
        for manifest in runtime.block_on(larder::snapshot::list(&shop.lake())).unwrap() {
            for file in &manifest.files {
                use sha2::Digest;
                let path = shop.path().join("lake/snapshots").join(manifest.id.as_str()).join(&file.path);
                let hash = larder::snapshot::hex(&sha2::Sha256::digest(std::fs::read(path).unwrap()));
                assert_eq!(hash, file.sha256, "step {step}: {}", file.path);
            }
            assert_eq!(manifest.fingerprint, before[0].fingerprint, "step {step}");
        }
    }
    // The next build removes the temporary folders of killed builds.
    ok(&shop.larder(&["build"]));
    assert_eq!(std::fs::read_dir(shop.path().join("staging")).unwrap().count(), 0);
}

#[test]
fn upload_of_two_files_with_one_name_is_rejected() {
    let shop = Shop::new("");
    let lines =
        "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n1,1,p,1,2.50,2024-03-01 10:00:00\n";
    for folder in ["one", "two"] {
        std::fs::create_dir_all(shop.path().join(folder)).unwrap();
        std::fs::write(shop.path().join(folder).join("x.csv"), lines).unwrap();
    }
    let paths = ["one/x.csv", "two/x.csv"].map(|file| shop.path().join(file).display().to_string());
    let refused = shop.larder(&["upload", "transactions", &paths[0], &paths[1]]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && paths.iter().all(|path| message.contains(path.as_str())),
        "{message}"
    );
    assert!(!std::fs::exists(shop.path().join("lake/raw/transactions/x.csv")).unwrap());
    // The same file given twice is uploaded once.
    ok(&shop.larder(&["upload", "transactions", &paths[0], &paths[0]]));
}

#[test]
fn concurrent_builds_do_not_interfere() {
    let shop = corners();
    let children: Vec<Child> = (0..3)
        .map(|_| shop.command(&["build"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in children {
        ok(&child.wait_with_output().unwrap());
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let current = runtime.block_on(larder::snapshot::read_current(&shop.lake())).unwrap().unwrap();
    assert_eq!(current.publish, 3);
    let fingerprints: std::collections::BTreeSet<String> = runtime
        .block_on(larder::snapshot::list(&shop.lake()))
        .unwrap()
        .into_iter()
        .map(|manifest| manifest.fingerprint)
        .collect();
    assert_eq!(fingerprints.len(), 1);
}

/// A child process that is killed when the test ends.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn demo_serves_its_examples_and_shuts_down() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let dir = dir.to_str().unwrap();
    let shop = Shop::new("");
    let first = ok(&shop.larder(&["demo", "--customers", "300", "--dir", dir, "--no-serve"]));
    assert!(first.contains("champions") && first.contains("larder --config"), "{first}");
    // Another demo does not replace it without --force.
    let note = format!("{dir}/lake/note.txt");
    std::fs::write(&note, "mine").unwrap();
    let refused = shop.larder(&["demo", "--customers", "400", "--dir", dir, "--no-serve"]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && message.contains("--customers 300") && message.contains("--force"),
        "{message}"
    );
    assert!(std::fs::exists(&note).unwrap());
    let mut command = shop.command(&["demo", "--customers", "300", "--dir", dir, "--listen", "127.0.0.1:0"]);
    let mut running = KillOnDrop(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let mut curls = Vec::new();
    let mut reused = false;
    for line in lines.by_ref() {
        let line = line.unwrap();
        reused |= line.contains("reusing the demo in");
        if let Some(at) = line.find("curl -s") {
            curls.push(line[at..].to_owned());
        }
        if line.contains("Ctrl-C") {
            break;
        }
    }
    assert!(reused && curls.len() >= 7, "{curls:?}");
    let deadline = Instant::now() + PATIENCE;
    for curl in curls {
        // Runs the printed lines in a shell.
        loop {
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("{curl} --fail-with-body"))
                .output()
                .unwrap();
            if output.status.success() && !output.stdout.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{curl}: {output:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let stopped = std::process::Command::new("kill").arg(running.0.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert!(running.0.wait().unwrap().success());
    let mut rest = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
}

/// Runs `larder` with a standard output whose reader is gone, as that of `larder … | head`.
fn unread(shop: &Shop, args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    shop.command(args).stdout(writer).output().unwrap()
}

/// Asserts that the command ended quietly, as if by SIGPIPE.
fn assert_unread(shop: &Shop, args: &[&str]) {
    let output = unread(shop, args);
    assert_eq!((output.status.code(), text(&output).1.as_str()), (Some(141), ""), "{args:?}");
}

#[tokio::test]
async fn commands_do_all_of_their_work_if_nobody_reads_the_output() {
    let settings = "[serving]\npoll = \"20ms\"\n[raw]\nmax_bad_share = 1.0\n";
    let shop = Shop::new(&format!("{CORNERS_TOML}{settings}{NO_MODELS}"));
    let file = shop.path().join("all.csv");
    // The upload reports the bad line before it copies the file.
    let bad = "bad,X1,p1,Lamp,many,1.00,2024-03-01 10:00:00,UK\n";
    std::fs::write(&file, format!("{CORNERS}{bad}")).unwrap();
    assert_unread(&shop, &["upload", "transactions", file.to_str().unwrap()]);
    assert!(std::fs::exists(shop.path().join("lake/raw/transactions/all.csv")).unwrap());

    assert_unread(&shop, &["build"]);
    let current = larder::snapshot::read_current(&shop.lake()).await.unwrap().expect("a published snapshot");
    assert_eq!(current.publish, 1);
    assert_unread(&shop, &["build", "--as-of", "2024-02-01", "--force"]);
    assert_unread(&shop, &["rollback"]);

    assert_unread(&shop, &["forget", "whale"]);
    let all = larder::snapshot::list(&shop.lake()).await.unwrap();
    assert!(
        all.iter().any(|manifest| manifest.rewritten_from.as_ref() == Some(&current.snapshot)),
        "{all:?}"
    );
    assert!(all.iter().all(|manifest| manifest.id != current.snapshot), "{all:?}");
    assert_unread(&shop, &["snapshots", "--keep", "1"]);

    // Errors keep their message and exit code.
    let failed = unread(&shop, &["publish", "20111209T125000Z-5f0c2a9e"]);
    assert!(text(&failed).1.contains("there is no snapshot"), "{failed:?}");
    assert_eq!(failed.status.code(), Some(1));
    let demo = shop.path().join("demo").display().to_string();
    assert_unread(&shop, &["demo", "--customers", "100", "--dir", &demo, "--no-serve"]);
    assert!(std::fs::exists(format!("{demo}/lake/CURRENT")).unwrap());
}

#[test]
fn commands_that_only_print_stop_quietly_if_nobody_reads() {
    let shop = corners();
    let file = shop.path().join("lake/raw/transactions/all.csv");
    ok(&shop.larder(&["build"]));
    for args in [
        &["config"][..],
        &["config", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["evaluate"],
        &["inspect", file.to_str().unwrap()],
        &["key", "dashboard"],
        &["openapi"],
        &["snapshots"],
    ] {
        assert_unread(&shop, args);
    }
    // Standard error has the line of the audit log.
    let subject = unread(&shop, &["subject", "whale"]);
    assert_eq!(subject.status.code(), Some(141), "{subject:?}");
    assert!(!text(&subject).1.contains("error"), "{subject:?}");
    std::fs::write(shop.path().join("larder.toml"), "[http]\nlisen = 1\n").unwrap();
    assert_unread(&shop, &["doctor"]);
}

#[test]
fn error_that_nobody_reads_keeps_its_exit_code() {
    let shop = Shop::new("");
    for (args, code) in [(&["rollback"][..], 1), (&["redis://:s3cret@x"], 2), (&["bild"], 2)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = shop.command(args).stderr(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn equal_lines_are_said_to_count() {
    let shop = corners();
    let built = ok(&shop.larder(&["build"]));
    let line = built.lines().find(|line| line.contains("equal to an earlier line, and counted above"));
    assert!(line.is_some_and(|line| line.contains(" 2")) && !built.contains("(duplicates)"), "{built}");
}
