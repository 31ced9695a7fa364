//! Gives the crate hashes of its code and of the versions of all libraries. Staged lines are kept from build
//! to build as long as the hash of the code that reads raw files stays the same, and models as long as that
//! of the code of models and views, too, stays the same. Processes of one build have the same hash of all its
//! code.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const READER: [&str; 3] = ["Cargo.lock", "src/pipeline/raw", "src/pipeline/staging"];
const MODELS: [&str; 7] = [
    "src/pipeline/churn.rs",
    "src/pipeline/churn",
    "src/pipeline/exclude_patterns.rs",
    "src/pipeline/learning",
    "src/pipeline/recommend.rs",
    "src/pipeline/recommend",
    "src/views",
];

fn main() -> io::Result<()> {
    let mut hash = Fnv::default();
    hash_places(&READER, &mut hash)?;
    println!("cargo::rustc-env=READER_HASH={:016x}", hash.0);
    hash_places(&MODELS, &mut hash)?;
    println!("cargo::rustc-env=MODELS_HASH={:016x}", hash.0);
    hash_places(&["src/pipeline"], &mut hash)?;
    println!("cargo::rustc-env=PIPELINE_HASH={:016x}", hash.0);
    Ok(())
}

/// Adds the files and folders at `places` to the hash.
fn hash_places(places: &[&str], hash: &mut Fnv) -> io::Result<()> {
    for place in places {
        println!("cargo::rerun-if-changed={place}");
        add(Path::new(place), hash)?;
    }
    Ok(())
}

/// Adds the file at `path`, or all files in the folder, to the hash.
fn add(path: &Path, hash: &mut Fnv) -> io::Result<()> {
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        let mut entries: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(entry, hash));
    }
    // A package without a lock file has the versions of its manifest.
    let content = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    hash.add(path.to_string_lossy().as_bytes());
    hash.add(&content);
    Ok(())
}

/// FNV-1a of 64 bits, which is the same for every compiler.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
