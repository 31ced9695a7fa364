//! The text of `docs/configuration.md` and `larder.example.toml`.

use std::fmt::Write as _;

use super::{
    source::{DefaultValue, Section, SectionKind, Setting},
    variable,
};

/// Longest line of the generated documents.
const WIDTH: usize = 110;

/// Appends `text` in lines of at most `WIDTH` characters, each with `prefix`.
fn wrap(text: &str, prefix: &str, out: &mut String) {
    let mut line = prefix.to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > prefix.len() {
            out.push_str(line.trim_end());
            out.push('\n');
            prefix.clone_into(&mut line);
        }
        if line.len() > prefix.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Returns the content of `docs/configuration.md`.
pub(super) fn reference(sections: &[Section]) -> String {
    let mut out = String::from(
        "\
# Configuration

<!-- Generated from the doc comments in src/config: UPDATE_DOCS=1 cargo test --test it -- settings -->

Larder reads `larder.toml` in the current folder, or the file that `--config` or `LARDER_CONFIG` names. A
file needs only the settings that differ from the defaults. An environment variable overrides the file, and a
command-line flag overrides both. [larder.example.toml](../larder.example.toml) has every setting, to copy
from. `larder config` prints the settings in effect with the source of each.

- **Files**: `include = [\"keys.toml\", \"conf/audiences.toml\"]` in the first lines of a file adds the
  settings of further files, with paths relative to the file that includes; `LARDER_INCLUDE` names more
  files, separated by commas. The files may share a section, and their `[[keys]]` are joined. A setting
  with a value in two files is an error that names both. Relative paths in settings start from the folder
  of the first file.
- **Variables**: `LARDER_TAIR_URL` sets `url` in `[tair]`. With `_FILE` at the end, as in
  `LARDER_TAIR_URL_FILE=/run/secrets/tair-url`, a variable names a file that holds the value, read with the
  configuration; a line break at the end is not part of the value. Lists and tables have no variables; put
  these into an included file.
- **Reload**: SIGHUP makes `larder serve` read the files again;
  [operations.md](operations.md#changing-settings) lists the settings that change without a restart.
- **Traces** are set up by the variables of OpenTelemetry; see [operations.md](operations.md#traces).
- **Unknown** sections, keys and `LARDER_…` variables are errors. The variables that Kubernetes sets for a
  Service, such as `LARDER_SERVICE_HOST` and `LARDER_PORT=tcp://…`, are ignored.

| type | notation |
|---|---|
| size | number and unit: `\"512KiB\"`, `\"256MiB\"`, `\"2GiB\"`, `KB`, `MB`, `GB`; without a unit, bytes |
| duration | number and unit: `\"250ms\"`, `\"5s\"`, `\"10m\"`, `\"1h\"`, `\"30d\"` |
| path | relative paths start from the folder of the configuration file |
| table | `{ name = value }`, or a section of its own such as `[raw.transactions.columns]` |

",
    );
    for section in sections {
        let headers: Vec<String> =
            section.names.iter().map(|name| format!("`{}`", section.header(name))).collect();
        let _ = writeln!(out, "## {}\n", headers.join(", "));
        match &section.descriptions[..] {
            [description] => {
                let capitalized = description[..1].to_uppercase() + &description[1..];
                wrap(&capitalized, "", &mut out);
            }
            descriptions => {
                for (name, description) in headers.iter().zip(descriptions) {
                    wrap(&format!("- {name}: {description}"), "", &mut out);
                }
            }
        }
        for setting in &section.settings {
            let header = if section.names.len() == 1 {
                section.header(&section.names[0])
            } else {
                "[raw.…]".to_owned()
            };
            let _ = writeln!(out, "\n### `{header} {}`\n", setting.key);
            for paragraph in setting.description.split("\n\n") {
                wrap(paragraph, "", &mut out);
                out.push('\n');
            }
            wrap(&format!("- Type: {}", setting.value_type.name), "", &mut out);
            match &setting.default {
                DefaultValue::Toml(value) => wrap(&format!("- Default: `{value}`"), "", &mut out),
                DefaultValue::Words(words) => wrap(&format!("- Default: {words}"), "", &mut out),
                DefaultValue::Required => out.push_str("- Required\n"),
            }
            if let Some(unit) = &setting.unit {
                wrap(&format!("- Unit: {unit}"), "", &mut out);
            }
            if let Some(example) = &setting.example {
                wrap(&format!("- Example: `{example}`"), "", &mut out);
            }
            if let Some(variable) = variable(&section.names[0], &setting.key) {
                let _ = writeln!(out, "- Environment: `{}`", variable.name());
            }
        }
        out.push('\n');
    }
    out.trim_end().to_owned() + "\n"
}

/// Returns the content of `larder.example.toml`.
pub(super) fn example(sections: &[Section]) -> String {
    let mut out = String::from(
        "\
# Every setting of Larder with its default, or with an example if there is no default value. Copy the settings
# you need to larder.toml and remove the leading #. docs/configuration.md describes each setting in full.
#
# Generated from the doc comments in src/config: UPDATE_DOCS=1 cargo test --test it -- settings

# Further configuration files, relative to this file.
#include = []
",
    );
    for section in sections {
        for (at, name) in section.names.iter().enumerate() {
            let header = section.header(name).replace("NAME", "example");
            let mark = if section.kind == SectionKind::Table { "" } else { "#" };
            let _ = writeln!(out, "\n{mark}{header}");
            if at > 0 {
                let _ = writeln!(out, "# The settings are those of [{}].", section.names[0]);
                continue;
            }
            for setting in &section.settings {
                out.push_str(&summary(setting));
                let note = match (&setting.default, &setting.example) {
                    (DefaultValue::Required, _) => "  # required",
                    (_, Some(_)) => "  # example",
                    _ => "",
                };
                let _ = writeln!(out, "{}{note}", commented(&setting.key, setting.shown_value()));
            }
        }
    }
    out
}

/// Returns the comment line above a setting in the example file: the first sentence of its description.
fn summary(setting: &Setting) -> String {
    let description = setting.description.replace("\n\n", " ");
    let sentence = description.split_once(". ").map_or(description.trim_end_matches('.'), |(first, _)| first);
    let line = format!("# {sentence}.\n");
    let key = &setting.key;
    assert!(line.trim_end().chars().count() <= WIDTH, "the first sentence of `{key}` is too long: {line}");
    line
}

/// Returns `#key = value`, a long list on several lines.
fn commented(key: &str, value: &str) -> String {
    let line = format!("#{key} = {value}");
    if line.chars().count() <= WIDTH {
        return line;
    }
    let list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']')).unwrap();
    let mut lines = vec!["#  ".to_owned()];
    for item in list.split(", ") {
        let last = lines.last_mut().unwrap();
        if last.len() + item.len() + 2 > WIDTH {
            lines.push(format!("#  {item},"));
        } else {
            let _ = write!(last, "{}{item},", if last.ends_with(',') { " " } else { "" });
        }
    }
    format!("#{key} = [\n{}\n#]", lines.join("\n"))
}
