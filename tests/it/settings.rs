//! Configuration documents: generated from the doc comments in `src/config`, compared with the committed
//! files.
//!
//! `UPDATE_DOCS=1 cargo test --test it -- settings` rewrites `docs/configuration.md` and
//! `larder.example.toml`.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use larder::{
    config::{
        Config, RawConfig,
        env::{VARIABLES, Variable},
    },
    pipeline::raw::{Table, TableSpec},
};

use source::{DefaultValue, Section, SectionKind, Setting, Source};

mod documents;
mod source;

/// Returns the environment variable of a setting, if it has one.
fn variable(section: &str, key: &str) -> Option<Variable> {
    VARIABLES.iter().copied().find(|variable| variable.setting() == format!("{section}.{key}"))
}

/// Returns the TOML text with the values that `value` chooses, all sections included.
fn toml_of(sections: &[Section], value: impl Fn(&Setting) -> Option<String>) -> String {
    let mut out = String::new();
    for section in sections {
        for name in &section.names {
            let _ = writeln!(out, "{}", section.header(name));
            for setting in &section.settings {
                if let Some(value) = value(setting) {
                    let _ = writeln!(out, "{} = {value}", setting.key);
                }
            }
        }
    }
    out
}

fn parse(text: &str) -> Config {
    Config::parse(text, "generated", []).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// Compares a generated document with the committed file, or writes the file if `UPDATE_DOCS` is set.
fn assert_committed(path: &str, generated: &str) {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == generated,
        "{path} does not match src/config; run `UPDATE_DOCS=1 cargo test --test it -- settings`"
    );
}

#[test]
fn configuration_documents_match_the_settings() {
    let sections = Source::read().sections();
    assert_committed("docs/configuration.md", &documents::reference(&sections));
    assert_committed("larder.example.toml", &documents::example(&sections));
}

#[test]
fn documented_defaults_are_the_defaults_of_the_code() {
    let has_defaults = |section: &Section| section.kind == SectionKind::Table || section.names == ["tair"];
    let sections: Vec<Section> = Source::read().sections().into_iter().filter(has_defaults).collect();
    let defaults = toml_of(&sections, |setting| match &setting.default {
        DefaultValue::Toml(value) if !setting.is_optional => Some(value.clone()),
        _ => None,
    });
    let mut expected = Config::default();
    expected.tair.get_or_insert_default();
    assert_eq!(format!("{:#?}", parse(&defaults)), format!("{expected:#?}"));
}

#[test]
fn documented_defaults_of_optional_settings_have_no_effect() {
    let optional_default = |setting: &Setting| match &setting.default {
        DefaultValue::Toml(value) if setting.is_optional => Some(value.clone()),
        _ => None,
    };
    let sections: Vec<Section> = Source::read()
        .sections()
        .into_iter()
        .filter(|section| section.settings.iter().any(|setting| optional_default(setting).is_some()))
        .collect();
    assert!(sections.iter().all(|section| section.names[0].starts_with("raw")), "only [raw] is compared");
    let spec = |text: &str| {
        // The default of `newest` depends on the clock.
        let raw = RawConfig { newest: Some("2030-01-01".to_owned()), ..parse(text).raw };
        format!("{:#?}", TableSpec::new(Table::Transactions, &raw).unwrap())
    };
    assert_eq!(spec(&toml_of(&sections, optional_default)), spec(""));
}

#[test]
fn example_file_parses_with_and_without_its_comments() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("larder.example.toml");
    let committed = std::fs::read_to_string(file).unwrap();
    assert_eq!(format!("{:#?}", parse(&committed)), format!("{:#?}", Config::default()));
    let uncommented: Vec<&str> = committed
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting)
                if !setting.is_empty() && (!setting.starts_with(' ') || setting.starts_with("  ")) =>
            {
                setting
            }
            _ => line,
        })
        .collect();
    let config = parse(&uncommented.join("\n"));
    assert!(config.tair.is_some() && config.http.tls.is_some() && config.keys.len() == 1);
    assert_eq!(config.audiences.keys().collect::<Vec<_>>(), ["example"]);
}

#[test]
fn environment_variables_are_the_single_value_settings_of_the_sections() {
    let sections = Source::read().sections();
    let plain = |section: &&Section| {
        matches!(section.kind, SectionKind::Table | SectionKind::OptionalTable)
            && !section.names[0].contains('.')
    };
    let mut expected = Vec::new();
    for section in sections.iter().filter(plain) {
        for setting in section.settings.iter().filter(|setting| setting.value_type.is_single) {
            let name = format!("{}.{}", section.names[0], setting.key);
            let variable = variable(&section.names[0], &setting.key)
                .unwrap_or_else(|| panic!("`{name}` has no environment variable"));
            assert_eq!(matches!(variable, Variable::Typed(_)), setting.value_type.is_typed, "{name}");
            let value = setting.shown_value().trim_matches('"').to_owned();
            let parsed = Config::parse("", "nothing", [(variable.name(), value)]);
            assert!(parsed.is_ok(), "{}: {parsed:?}", variable.name());
            expected.push(name);
        }
    }
    let known: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.setting()).collect();
    assert_eq!(known.len(), VARIABLES.len(), "a variable is listed twice");
    assert_eq!(known, expected.iter().map(String::as_str).collect(), "a variable without a setting");
}
