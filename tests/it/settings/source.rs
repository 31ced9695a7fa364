//! The settings with their documentation, parsed from the doc comments in `src/config`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use syn::{Attribute, Field, Fields, GenericArgument, Item, PathArguments, Type};

/// A section of the configuration, or several sections with the same settings.
pub(super) struct Section {
    /// Names such as `http.tls`, in the order of the configuration.
    pub(super) names: Vec<String>,
    pub(super) kind: SectionKind,
    /// One description for each name.
    pub(super) descriptions: Vec<String>,
    pub(super) settings: Vec<Setting>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum SectionKind {
    /// `[http]`
    Table,
    /// `[tair]`: its presence has a meaning of its own.
    OptionalTable,
    /// `[[keys]]`
    ArrayOfTables,
    /// `[audiences.NAME]`
    NamedTables,
}

/// A single setting.
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value_type: ValueType,
    /// Whether the field is an `Option`, whose default is `None` in `Config`.
    pub(super) is_optional: bool,
    pub(super) description: String,
    pub(super) default: DefaultValue,
    pub(super) unit: Option<String>,
    /// Example as TOML.
    pub(super) example: Option<String>,
}

pub(super) enum DefaultValue {
    /// A value as TOML.
    Toml(String),
    /// A description of the default.
    Words(String),
    /// No default: the setting must be present.
    Required,
}

/// The type of a setting's value in TOML.
pub(super) struct ValueType {
    pub(super) name: String,
    /// Whether the value is a number or a boolean in TOML.
    pub(super) is_typed: bool,
    /// Whether the value is a single value, not a list or a table.
    pub(super) is_single: bool,
}

impl Section {
    /// Returns the header line of the section called `name`.
    pub(super) fn header(&self, name: &str) -> String {
        match self.kind {
            SectionKind::ArrayOfTables => format!("[[{name}]]"),
            SectionKind::NamedTables => format!("[{name}.NAME]"),
            SectionKind::Table | SectionKind::OptionalTable => format!("[{name}]"),
        }
    }
}

impl Setting {
    /// Returns the value to show in the example file, as TOML.
    pub(super) fn shown_value(&self) -> &str {
        match (&self.default, &self.example) {
            (_, Some(example)) => example,
            (DefaultValue::Toml(value), None) => value,
            _ => panic!("`{}` needs a default or an example", self.key),
        }
    }
}

/// The parsed structs and enums of `src/config`.
pub(super) struct Source {
    structs: BTreeMap<String, (Vec<Attribute>, Vec<Field>)>,
    enums: BTreeMap<String, Vec<String>>,
}

impl Source {
    /// Parses `src/config.rs`, `src/config/*.rs` and the files of folders in there.
    pub(super) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let list = |folder: &Path| {
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let (folders, mut files): (Vec<_>, Vec<_>) =
            list(&root.join("config")).into_iter().partition(|path| path.is_dir());
        files.push(root.join("config.rs"));
        files.extend(folders.iter().flat_map(|folder| list(folder)));
        let mut source = Self { structs: BTreeMap::new(), enums: BTreeMap::new() };
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for item in syn::parse_file(&text).unwrap().items {
                match item {
                    Item::Struct(item) => {
                        if let Fields::Named(fields) = item.fields {
                            let fields = fields.named.into_iter().collect();
                            source.structs.insert(item.ident.to_string(), (item.attrs, fields));
                        }
                    }
                    Item::Enum(item) => {
                        let variants = item.variants.iter().map(|variant| variant.ident.to_string());
                        source.enums.insert(item.ident.to_string(), variants.collect());
                    }
                    _ => {}
                }
            }
        }
        source
    }

    /// Returns all sections in the order of `Config`.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        self.collect("Config", "", &mut sections);
        sections
    }

    /// Appends the sections below the struct `name`, which is the section `path`.
    fn collect(&self, name: &str, path: &str, sections: &mut Vec<Section>) {
        for field in &self.structs[name].1 {
            let Some(inner) = self.section_type(field) else { continue };
            let key = key_of(field);
            let section_name = if path.is_empty() { key } else { format!("{path}.{key}") };
            let doc = doc_of(&field.attrs);
            let (header, description) = doc.split_once(": ").unwrap();
            assert!(header.contains(&section_name), "`{section_name}` is documented as {header}");
            let settings = self.settings(&inner);
            let keys = |settings: &[Setting]| settings.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
            match sections.last_mut() {
                Some(last) if keys(&last.settings) == keys(&settings) => {
                    last.names.push(section_name.clone());
                    last.descriptions.push(description.to_owned());
                }
                _ => sections.push(Section {
                    names: vec![section_name.clone()],
                    kind: section_kind(&field.ty),
                    descriptions: vec![description.to_owned()],
                    settings,
                }),
            }
            self.collect(&inner, &section_name, sections);
        }
    }

    /// Returns the settings that are direct fields of the struct `name`.
    fn settings(&self, name: &str) -> Vec<Setting> {
        let (attrs, fields) = &self.structs[name];
        let all_have_defaults =
            serde_words(attrs).contains("default") || serde_words(attrs).contains("try_from");
        let fields = fields.iter().filter(|field| self.section_type(field).is_none());
        let fields = fields.filter(|field| !serde_words(&field.attrs).contains("skip"));
        fields.map(|field| self.setting(field, all_have_defaults)).collect()
    }

    /// Reads a setting from the type, attributes and doc comment of its field.
    fn setting(&self, field: &Field, has_default: bool) -> Setting {
        let key = key_of(field);
        let doc = doc_of(&field.attrs);
        let (description, facts) =
            doc.rsplit_once("\n\n").unwrap_or_else(|| panic!("`{key}` states no default:\n{doc}"));
        let (facts, example) = split_fact(facts, " Example: ");
        let (facts, unit) = split_fact(facts, " Unit: ");
        let value = facts.strip_prefix("Default: ").map(|value| value.strip_suffix('.').unwrap());
        let default = match value {
            Some(value) => match value.strip_prefix('`').and_then(|value| value.strip_suffix('`')) {
                Some(toml) => DefaultValue::Toml(toml.to_owned()),
                None => DefaultValue::Words(value.to_owned()),
            },
            None if facts == "Required." => DefaultValue::Required,
            None => panic!("`{key}` states no default: {facts}"),
        };
        let is_optional = generic_argument(&field.ty, "Option").is_some();
        let may_be_left_out = has_default || is_optional || serde_words(&field.attrs).contains("default");
        assert_eq!(may_be_left_out, !matches!(default, DefaultValue::Required), "default of `{key}`");
        assert!(is_optional || !matches!(default, DefaultValue::Words(_)), "`{key}` has a default");
        Setting {
            value_type: self.value_type(field),
            description: description.to_owned(),
            unit: unit.map(str::to_owned),
            example: example.map(|example| example.trim_matches('`').to_owned()),
            key,
            is_optional,
            default,
        }
    }

    /// Returns the name of the struct if the field is a section, not a setting. A struct whose field states a
    /// default is an inline table.
    fn section_type(&self, field: &Field) -> Option<String> {
        let inner =
            ["Option", "Vec", "BTreeMap"].into_iter().find_map(|outer| generic_argument(&field.ty, outer));
        let name = type_name(inner.unwrap_or(&field.ty));
        let (attrs, _) = self.structs.get(&name)?;
        let is_text = attrs.iter().any(|attr| tokens(attr).contains("try_from = \"String\""));
        let hand_written = !attrs.iter().any(|attr| tokens(attr).contains("Deserialize"));
        let has_default = doc_of(&field.attrs).contains("\n\nDefault: ");
        (!is_text && !hand_written && !has_default).then_some(name)
    }

    /// Returns the TOML type of a setting.
    fn value_type(&self, field: &Field) -> ValueType {
        let serde = serde_words(&field.attrs);
        let single = |name: &str, is_typed| ValueType { name: name.to_owned(), is_typed, is_single: true };
        let multiple = |name: String| ValueType { name, is_typed: false, is_single: false };
        if serde.contains("bytes") {
            return single("size", false);
        }
        if serde.contains("one_or_many") {
            return multiple("string or list of strings".to_owned());
        }
        if serde.contains("names") {
            return multiple("table of strings or lists of strings".to_owned());
        }
        if serde.contains("values") {
            return multiple("table of strings, numbers or booleans".to_owned());
        }
        if let Some(inner) = generic_argument(&field.ty, "BTreeMap") {
            return multiple(format!("table of {}", plural(inner)));
        }
        let plain = generic_argument(&field.ty, "Option").unwrap_or(&field.ty);
        if let Some(inner) = generic_argument(plain, "Vec") {
            return multiple(format!("list of {}", plural(inner)));
        }
        let name = type_name(plain);
        match name.as_str() {
            "bool" => single("boolean", true),
            "u32" | "u64" | "usize" | "i64" | "NonZeroU32" | "NonZeroUsize" => single("integer", true),
            "f64" => single("number", true),
            "Duration" => single("duration", false),
            "PathBuf" => single("path", false),
            "SocketAddr" => single("address and port", false),
            "DateTime" => single("time or date", false),
            "IpAddr" => single("IP address", false),
            "char" => single("character", false),
            "String" => single("string", false),
            "CustomerShare" => multiple("integer or percentage".to_owned()),
            _ if self.enums.contains_key(&name) => {
                let variants =
                    self.enums[&name].iter().map(|variant| format!("`\"{}\"`", variant.to_lowercase()));
                single(&variants.collect::<Vec<_>>().join(" or "), false)
            }
            _ => {
                let keys = self.structs[&name].1.iter().map(|field| format!("`{}`", key_of(field)));
                multiple(format!("table with {}", keys.collect::<Vec<_>>().join(", ")))
            }
        }
    }
}

/// Returns the plural name of the elements of a list or table.
fn plural(inner: &Type) -> String {
    match generic_argument(inner, "Vec") {
        Some(inner) => format!("lists of {}", plural(inner)),
        None if type_name(inner) == "Duration" => "durations".to_owned(),
        None if type_name(inner).ends_with("Config") => "tables".to_owned(),
        None => "strings".to_owned(),
    }
}

/// Splits a trailing fact such as ` Unit: reads.` from a paragraph.
fn split_fact<'a>(text: &'a str, name: &str) -> (&'a str, Option<&'a str>) {
    match text.rsplit_once(name) {
        Some((rest, fact)) => (rest, Some(fact.strip_suffix('.').unwrap())),
        None => (text, None),
    }
}

/// Returns the text of doc comments: paragraphs separated by an empty line, each on one line.
fn doc_of(attrs: &[Attribute]) -> String {
    let mut text = String::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("doc")) {
        let syn::Meta::NameValue(meta) = &attr.meta else { continue };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &meta.value else { continue };
        let line = line.value();
        match line.trim() {
            "" => text.push_str("\n\n"),
            line if text.is_empty() || text.ends_with('\n') => text.push_str(line),
            line => {
                text.push(' ');
                text.push_str(line);
            }
        }
    }
    text
}

/// Returns the words in the `serde` attributes.
fn serde_words(attrs: &[Attribute]) -> BTreeSet<String> {
    let serde = attrs.iter().filter(|attr| attr.path().is_ident("serde")).map(tokens);
    let words = |text: String| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
    };
    serde.flat_map(words).collect()
}

/// Returns the arguments of an attribute as text.
fn tokens(attr: &Attribute) -> String {
    attr.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default()
}

fn key_of(field: &Field) -> String {
    field.ident.as_ref().unwrap().to_string().trim_start_matches("r#").to_owned()
}

/// Returns the last segment of a type's path.
fn type_name(ty: &Type) -> String {
    let Type::Path(path) = ty else { panic!("not a path") };
    path.path.segments.last().unwrap().ident.to_string()
}

/// Returns the last generic argument of `ty` if its name is `outer`: the element of a `Vec`, the value of a
/// map.
fn generic_argument<'a>(ty: &'a Type, outer: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.last()? {
        GenericArgument::Type(inner) if segment.ident == outer => Some(inner),
        _ => None,
    }
}

fn section_kind(ty: &Type) -> SectionKind {
    match type_name(ty).as_str() {
        "Option" => SectionKind::OptionalTable,
        "Vec" => SectionKind::ArrayOfTables,
        "BTreeMap" => SectionKind::NamedTables,
        _ => SectionKind::Table,
    }
}
