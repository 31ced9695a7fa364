//! Settings of traces, by the environment variables that all programs with OpenTelemetry share.
//!
//! Traces are off unless one of the variables for the endpoint is set. A value that is invalid is reported
//! and taken as not set, as OpenTelemetry's specification demands.

use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use url::Url;

/// Path of the traces below the endpoint of a collector.
const TRACES_PATH: &str = "v1/traces";
/// Default number of spans that may wait.
const QUEUE: NonZeroUsize = NonZeroUsize::new(2_048).unwrap();
/// Default number of spans in a batch.
const BATCH: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// Settings of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceConfig {
    /// URL that batches of spans are sent to.
    pub endpoint: Url,
    /// Headers of each request to the collector. Values may be secrets.
    pub headers: Vec<(String, String)>,
    /// Longest time of one request to the collector.
    pub timeout: Duration,
    /// Attributes of this process, such as `service.name`.
    pub resource: BTreeMap<String, String>,
    /// Choice of the traces that are recorded.
    pub sampler: Sampler,
    /// Time between two batches.
    pub delay: Duration,
    /// Largest number of spans that wait for the collector.
    pub queue: usize,
    /// Largest number of spans in a batch.
    pub batch: usize,
    /// Longest time for a batch with all attempts.
    pub batch_timeout: Duration,
}

/// Choice of the traces that are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Share of the traces, 0 to 1.
    pub share: f64,
    /// Whether the decision of a caller that sends `traceparent` counts instead of the share.
    pub follows_parent: bool,
}

/// Settings of traces, and the values that were not taken.
#[derive(Debug, Default, PartialEq)]
pub struct LoadedTraceConfig {
    /// The settings; `None` if traces are off.
    pub config: Option<TraceConfig>,
    /// Messages about invalid values.
    pub warnings: Vec<String>,
}

impl TraceConfig {
    /// Reads the settings from the environment variables `vars`.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> LoadedTraceConfig {
        let vars = vars.into_iter().filter(|(name, value)| name.starts_with("OTEL_") && !value.is_empty());
        let mut variables = Variables { vars: vars.collect(), warnings: Vec::new() };
        let config = variables.config();
        LoadedTraceConfig { config, warnings: variables.warnings }
    }
}

/// Environment variables of OpenTelemetry.
struct Variables {
    vars: BTreeMap<String, String>,
    warnings: Vec<String>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|value| value.trim())
    }

    /// Returns the name of the variable for traces alone if it is set, else the name for all signals.
    fn of_traces(&self, rest: &str) -> String {
        let own = format!("OTEL_EXPORTER_OTLP_TRACES_{rest}");
        if self.vars.contains_key(&own) { own } else { format!("OTEL_EXPORTER_OTLP_{rest}") }
    }

    fn warn(&mut self, name: &str, why: &str) {
        self.warnings.push(format!("{name}: {why}"));
    }

    /// Returns the value of `name`, and `default` if it is not set or `parse` refuses it.
    fn parsed<T>(&mut self, name: &str, default: T, parse: impl FnOnce(&str) -> Option<T>, form: &str) -> T {
        let Some(value) = self.get(name) else { return default };
        parse(value).unwrap_or_else(|| {
            self.warnings.push(format!("{name}: expected {form}"));
            default
        })
    }

    fn millis(&mut self, name: &str, default: u64) -> Duration {
        let millis = self.parsed(name, default, |text| text.parse().ok(), "a number of milliseconds");
        Duration::from_millis(millis)
    }

    fn count(&mut self, name: &str, default: NonZeroUsize) -> usize {
        self.parsed(name, default, |text| text.parse().ok(), "a number above 0").get()
    }

    fn config(&mut self) -> Option<TraceConfig> {
        let flag = |text: &str| Some(text.eq_ignore_ascii_case("true"));
        if self.parsed("OTEL_SDK_DISABLED", false, flag, "")
            || self.get("OTEL_TRACES_EXPORTER") == Some("none")
        {
            return None;
        }
        let endpoint = self.endpoint()?;
        for (name, only) in
            [("OTEL_TRACES_EXPORTER".to_owned(), "otlp"), (self.of_traces("PROTOCOL"), "http/protobuf")]
        {
            if self.get(&name).is_some_and(|value| value != only) {
                self.warn(&name, &format!("traces are off, since only `{only}` is supported"));
                return None;
            }
        }
        let queue = self.count("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE);
        Some(TraceConfig {
            endpoint,
            headers: self.pairs(&self.of_traces("HEADERS")),
            timeout: self.millis(&self.of_traces("TIMEOUT"), 10_000),
            resource: self.resource(),
            sampler: self.sampler(),
            delay: self.millis("OTEL_BSP_SCHEDULE_DELAY", 5_000),
            queue,
            batch: self.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH).min(queue),
            batch_timeout: self.millis("OTEL_BSP_EXPORT_TIMEOUT", 30_000),
        })
    }

    /// Returns the URL of the collector; `None` if no variable has one.
    fn endpoint(&mut self) -> Option<Url> {
        let name = self.of_traces("ENDPOINT");
        let mut url = match Url::parse(self.get(&name)?) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => {
                self.warn(&name, "traces are off, since the value is no http:// or https:// URL");
                return None;
            }
        };
        // The endpoint for all signals has no path of a signal.
        if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
            url.set_path(&format!("{}/{TRACES_PATH}", url.path().trim_end_matches('/')));
        }
        Some(url)
    }

    fn sampler(&mut self) -> Sampler {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let name = self.get(NAME).unwrap_or("parentbased_always_on").to_owned();
        let (follows_parent, own) = match name.strip_prefix("parentbased_") {
            Some(own) => (true, own),
            None => (false, &*name),
        };
        let share = match own {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => {
                self.parsed("OTEL_TRACES_SAMPLER_ARG", 1.0, parse_share, "a number from 0 to 1")
            }
            _ => {
                let form = "expected always_on, always_off or traceidratio, also after parentbased_";
                self.warn(NAME, form);
                return Sampler { share: 1.0, follows_parent: true };
            }
        };
        Sampler { share, follows_parent }
    }

    /// Returns the attributes of the process.
    fn resource(&mut self) -> BTreeMap<String, String> {
        let version = env!("CARGO_PKG_VERSION");
        let own = [
            ("service.name", "larder"),
            ("service.version", version),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.name", "larder"),
            ("telemetry.sdk.version", version),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let given = self.pairs("OTEL_RESOURCE_ATTRIBUTES");
        let name = self.get("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name.to_owned()));
        own.into_iter().chain(given).chain(name).collect()
    }

    /// Returns the pairs in a list such as `key=value,key=value`, whose values are percent-encoded.
    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(list) = self.get(name) else { return Vec::new() };
        let pair = |item: &str| {
            let (key, value) = item.split_once('=')?;
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
            if key.trim().is_empty() { None } else { Some((key.trim().to_owned(), value.into_owned())) }
        };
        let items = list.split(',').filter(|item| !item.trim().is_empty());
        let pairs: Option<Vec<_>> = items.map(pair).collect();
        pairs.unwrap_or_else(|| {
            // The value may be a secret.
            self.warn(name, "expected a list such as key=value,key=value");
            Vec::new()
        })
    }
}

fn parse_share(text: &str) -> Option<f64> {
    let share = text.parse().ok()?;
    if (0.0..=1.0).contains(&share) { Some(share) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(vars: &[(&str, &str)]) -> LoadedTraceConfig {
        TraceConfig::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn traces_are_off_without_an_endpoint_or_if_disabled() {
        assert_eq!(load(&[("OTEL_SERVICE_NAME", "shop"), ("PATH", "x")]), LoadedTraceConfig::default());
        assert_eq!(load(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), LoadedTraceConfig::default());
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(load(&[ENDPOINT, off]), LoadedTraceConfig::default());
        }
        for wrong in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            let loaded = load(&[ENDPOINT, wrong]);
            let [warning] = &loaded.warnings[..] else { panic!("{loaded:?}") };
            assert!(loaded.config.is_none() && warning.contains("traces are off"), "{loaded:?}");
        }
    }

    #[test]
    fn variables_of_traces_come_before_those_of_all_signals() {
        let loaded = load(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, a = b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=one,zone=a%2Cb"),
            ("OTEL_SERVICE_NAME", "two"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ]);
        let config = loaded.config.expect("on");
        assert_eq!(config.endpoint.as_str(), "http://collector:4318/v1/traces");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(config.headers, [pair("authorization", "Bearer x"), pair("a", "b")]);
        assert_eq!(
            (config.resource["service.name"].as_str(), config.resource["zone"].as_str()),
            ("two", "a,b")
        );
        assert_eq!((config.queue, config.batch, config.delay), (100, 100, Duration::from_secs(5)));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector/in");
        let config = load(&[ENDPOINT, own]).config.expect("on");
        assert_eq!(config.endpoint.as_str(), "https://collector/in");
        assert_eq!(config.resource["service.name"], "larder");
    }

    #[test]
    fn sampler_is_a_share_with_or_without_the_decision_of_the_parent() {
        let sampler = |name: &str, arg: &str| {
            let loaded = load(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)]);
            let Sampler { share, follows_parent } = loaded.config.expect("on").sampler;
            (share, follows_parent, loaded.warnings.len())
        };
        for (name, arg, expected) in [
            ("", "", (1.0, true, 0)),
            ("always_on", "", (1.0, false, 0)),
            ("parentbased_always_off", "", (0.0, true, 0)),
            ("traceidratio", "0.25", (0.25, false, 0)),
            ("parentbased_traceidratio", "1.5", (1.0, true, 1)),
            ("jaeger_remote", "", (1.0, true, 1)),
        ] {
            assert_eq!(sampler(name, arg), expected, "{name} {arg}");
        }
    }

    #[test]
    fn invalid_values_are_reported_without_the_value() {
        let loaded = load(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ]);
        assert_eq!(loaded.warnings.len(), 3, "{loaded:?}");
        assert!(!loaded.warnings.concat().contains("s3cret"), "{loaded:?}");
        let config = loaded.config.expect("on");
        assert_eq!((config.queue, config.delay), (2_048, Duration::from_secs(5)));
    }
}
