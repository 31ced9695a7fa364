//! RAM policies of Alibaba Cloud for OSS, evaluated for requests of the S3 API.

use hyper::{Method, Request, header::HeaderMap};
use serde_json::Value;

/// A policy: a list of permissions.
#[derive(Debug)]
pub(crate) struct RamPolicy {
    statements: Vec<Value>,
}

/// An action on a resource, which is `bucket` or `bucket/key`, with the prefix that is listed.
#[derive(Debug)]
struct Access {
    action: &'static str,
    resource: String,
    prefix: Option<String>,
}

impl RamPolicy {
    /// Parses a policy.
    pub(crate) fn parse(text: &str) -> Self {
        let policy: Value = serde_json::from_str(text).unwrap();
        assert_eq!(policy["Version"], "1");
        Self { statements: policy["Statement"].as_array().unwrap().clone() }
    }

    /// Returns the names of all actions, in order of the statements.
    pub(crate) fn actions(&self) -> Vec<&str> {
        self.statements.iter().flat_map(|statement| texts(&statement["Action"])).collect()
    }

    /// Whether the policy permits a request to `bucket`.
    pub(crate) fn permits<B>(&self, bucket: &str, request: &Request<B>) -> bool {
        accesses(bucket, request).iter().all(|access| {
            let permitted = self.statements.iter().any(|statement| permits(statement, access));
            if !permitted {
                println!("refused by the policy: {access:?}");
            }
            permitted
        })
    }
}

/// Returns the texts of a list.
fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap())
}

/// Whether a statement permits an access.
fn permits(statement: &Value, access: &Access) -> bool {
    assert_eq!(statement["Effect"], "Allow");
    let resource = |pattern: &str| {
        let pattern = pattern.strip_prefix("acs:oss:*:*:").unwrap();
        matches(pattern, &access.resource)
    };
    let condition = &statement["Condition"]["StringLike"]["oss:Prefix"];
    texts(&statement["Action"]).any(|action| action == access.action)
        && texts(&statement["Resource"]).any(resource)
        && (condition.is_null()
            || texts(condition).any(|pattern| matches(pattern, access.prefix.as_deref().unwrap_or_default())))
}

/// Whether `text` matches a pattern, which may end in `*`.
fn matches(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(text == pattern, |prefix| text.starts_with(prefix))
}

/// Returns the accesses that a request makes.
fn accesses<B>(bucket: &str, request: &Request<B>) -> Vec<Access> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let key = decode(request.uri().path().trim_start_matches('/'));
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let parameter = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if key.is_empty() {
        assert_eq!(request.method(), Method::GET, "{:?}", request.uri());
        let prefix = Some(parameter("prefix").unwrap_or_default());
        return vec![Access { action: "oss:ListObjects", resource: bucket.to_owned(), prefix }];
    }
    let object = |action, key: &str| Access { action, resource: format!("{bucket}/{key}"), prefix: None };
    let is_upload = parameter("uploadId").is_some();
    let action = match *request.method() {
        Method::GET | Method::HEAD => "oss:GetObject",
        Method::PUT | Method::POST => "oss:PutObject",
        Method::DELETE if is_upload => "oss:AbortMultipartUpload",
        Method::DELETE => "oss:DeleteObject",
        ref other => panic!("{other} {:?}", request.uri()),
    };
    let mut all = vec![object(action, &key)];
    if let Some(source) = copy_source(request.headers()) {
        let source = decode(source.trim_start_matches('/'));
        all.push(object("oss:GetObject", source.strip_prefix(&format!("{bucket}/")).unwrap()));
    }
    all
}

/// Returns the object that a request copies, as its header names the object.
fn copy_source(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-amz-copy-source").map(|source| source.to_str().unwrap())
}
